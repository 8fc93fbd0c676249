<?php
/**
 * Settings that are declared in the chart's values and kept in WordPress.
 *
 * One is written when its declared value is another than the one that was last written, so that both a change of the
 * values and, in between, a change that the merchant makes in the admin page last. Needs WordPress to be loaded.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

const APPLIED_OPTION = 'store_applied_settings';

/** `$write` has run with the declared value, unless it had run with the same value before. */
function declare_setting(string $name, string $value, callable $write, bool $quietly = false): void
{
    $applied = get_option(APPLIED_OPTION, []);
    if (($applied[$name] ?? null) === $value) {
        return;
    }
    $write($value);
    $applied[$name] = $value;
    update_option(APPLIED_OPTION, $applied, false);
    if (!$quietly) {
        say("$name is now: $value");
    }
}

/** An option of WordPress or WooCommerce has the declared value. */
function declare_option(string $name, string $option, mixed $value): void
{
    $text = is_string($value) ? $value : json_encode($value, JSON_THROW_ON_ERROR);
    declare_setting($name, $text, static function () use ($option, $value): void {
        update_option($option, $value);
    });
}

/** The names of declared settings that begin with `$prefix`, without it. @return list<string> */
function declared_names(string $prefix): array
{
    $found = array_filter(
        array_keys(get_option(APPLIED_OPTION, [])),
        static fn (string $name): bool => str_starts_with($name, $prefix),
    );
    return array_values(array_map(static fn (string $name): string => substr($name, strlen($prefix)), $found));
}

/** A setting that is no longer declared is forgotten, so that it is written anew if it comes back. */
function forget_setting(string $name): void
{
    $applied = get_option(APPLIED_OPTION, []);
    unset($applied[$name]);
    update_option(APPLIED_OPTION, $applied, false);
}
