<?php
/**
 * Addresses inside texts: pure functions, without WordPress and without a database.
 */

declare(strict_types=1);

/**
 * A function that replaces the address `$before` by `$now` in a plain text.
 *
 * Both are like `https://host:port`. Whatever the scheme says, and also without one, inside of JSON and percent-encoded.
 * Another host that only begins alike, or the same host at another port, is another address.
 */
function address_rewriter(string $before, string $now): callable
{
    [$old, $new] = array_map(static fn (string $url): string => explode('://', $url, 2)[1], [$before, $now]);
    // What must not follow: more of a host's name, or a port.
    $end = '(?![A-Za-z0-9_-]|\.[A-Za-z0-9]|:[0-9])';
    $encoded = rawurlencode("//$old");
    $patterns = [
        '~https?://' . preg_quote($old, '~') . $end . '~i' => $now,
        '~(?<!:)//' . preg_quote($old, '~') . $end . '~i' => "//$new",
        '~https?:\\\\/\\\\/' . preg_quote($old, '~') . $end . '~i' => str_replace('/', '\/', $now),
        '~https?%3A' . preg_quote($encoded, '~') . '(?![A-Za-z0-9_-]|\.[A-Za-z0-9]|%3A[0-9])~i' => rawurlencode($now),
    ];
    return static function (string $text) use ($patterns): string {
        foreach ($patterns as $pattern => $replacement) {
            // A callback: a replacement string would give `$` and `\` a meaning.
            $text = preg_replace_callback($pattern, static fn (): string => $replacement, $text) ?? $text;
        }
        return $text;
    };
}

/** `$value` with every text in it rewritten: as a whole, or, where PHP has serialized it, inside, with its new lengths. */
function rewrite_value(string $value, callable $rewrite): string
{
    return preg_match('/^(?:[aOC]:\d+:|s:\d+:")/', $value) === 1 && @unserialize($value, ['allowed_classes' => false]) !== false
        ? rewrite_serialized($value, $rewrite)
        : $rewrite($value);
}

/** Reads the format itself: unserializing would need the classes of plugins, and would run their code. */
function rewrite_serialized(string $value, callable $rewrite): string
{
    $result = '';
    $at = 0;
    $size = strlen($value);
    while ($at < $size) {
        if (preg_match('/\Gs:(\d+):"/', $value, $found, 0, $at)) {
            $begin = $at + strlen($found[0]);
            $text = rewrite_value(substr($value, $begin, (int) $found[1]), $rewrite);
            $result .= 's:' . strlen($text) . ":\"$text\";";
            $at = $begin + (int) $found[1] + 2;
        } elseif (preg_match('/\GC:\d+:"[^"]*":(\d+):\{/', $value, $found, 0, $at)) {
            // A class with a format of its own, whose lengths nobody else knows.
            $whole = strlen($found[0]) + (int) $found[1];
            $result .= substr($value, $at, $whole);
            $at += $whole;
        } elseif (preg_match('/\GO:\d+:"[^"]*":\d+:\{/', $value, $found, 0, $at)) {
            $result .= $found[0];
            $at += strlen($found[0]);
        } else {
            $result .= $value[$at++];
        }
    }
    return $result;
}
