<?php
/**
 * What does not work right now, told once: when it begins, when it becomes another, and when it is over.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

final class Problems
{
    /** A problem that lasts is told again after so long. */
    private const REPEAT_S = 3600;

    /** @var array<string, array{what: string, since: int, said: int}> by topic */
    private array $current = [];

    /** @param Closure(string): mixed $say takes one line */
    public function __construct(private readonly Closure $say)
    {
    }

    /** The topic has this problem now, or none (null). */
    public function report(string $topic, ?string $what, ?int $now_s = null): void
    {
        $now_s ??= time();
        $before = $this->current[$topic] ?? null;
        if ($what === null) {
            if ($before !== null) {
                unset($this->current[$topic]);
                ($this->say)("$topic: well again after " . ($now_s - $before['since']) . ' s');
            }
            return;
        }
        $what = mb_substr(trim(preg_replace('/\s+/', ' ', $what)), 0, 500);
        // Times, process ids and milliseconds differ each time, and make no other problem of it.
        $kind = static fn (string $text): string => preg_replace('/\d+|\b[A-Z][a-z]{2}-/', '#', $text);
        if ($before === null || $kind($before['what']) !== $kind($what) || $now_s - $before['said'] >= self::REPEAT_S) {
            ($this->say)("$topic: $what");
            $before = ['what' => $what, 'since' => $before['since'] ?? $now_s, 'said' => $now_s];
        }
        $this->current[$topic] = $before;
    }

    /** @return string[] */
    public function current(): array
    {
        return array_values(array_map(
            static fn (string $topic, array $problem): string => "$topic: {$problem['what']}",
            array_keys($this->current),
            $this->current,
        ));
    }
}
