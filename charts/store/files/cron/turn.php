<?php
/**
 * WordPress is loaded by one process of this container at a time, and that one takes no more memory than there is for it.
 *
 * Where a container goes over its memory, the kernel ends all of its processes at once: the pod would be out of service,
 * and the shop with it, because of one task. So PHP's limit is the container's less what the others take, WordPress and
 * plugins that raise PHP's limit meet the system's, and scheduled tasks and the update of the database take turns.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

final class Turn
{
    private const LOCK_FILE = '/tmp/wordpress.lock';
    private const WANTED_FILE = '/tmp/wordpress.wanted';
    /** A wish is repeated with each heartbeat; one that is older was left by a process that is gone. */
    private const WANTED_S = 120;
    /** What PHP, curl and libxml take beside what PHP's limit counts. */
    private const BESIDE_MIB = 48;

    /** @param resource $file open as long as it is this process' turn, and in its children as long as they live */
    private function __construct(private $file)
    {
    }

    /** This process' turn, or null while it is another's. */
    public static function take(): ?self
    {
        $file = fopen(self::LOCK_FILE, 'c');
        return $file !== false && flock($file, LOCK_EX | LOCK_NB) ? new self($file) : null;
    }

    public function end(): void
    {
        fclose($this->file);
    }

    /** Nobody who asks whether it is wanted begins anything new, until the wish is taken back. */
    public static function want(bool $wanted): void
    {
        $wanted ? touch(self::WANTED_FILE) : @unlink(self::WANTED_FILE);
    }

    /** Whether another waits for its turn, for what is more urgent. */
    public static function wanted(): bool
    {
        clearstatcache(true, self::WANTED_FILE);
        return time() - (int) @filemtime(self::WANTED_FILE) < self::WANTED_S;
    }

    /** Whether an update of the database waits, runs, or was cut off: it takes its wish back when it is done. */
    public static function updating(): bool
    {
        clearstatcache(true, self::WANTED_FILE);
        return file_exists(self::WANTED_FILE);
    }

    /** @return list<string> the command of a script that loads WordPress, within its memory */
    public static function command(string $script): array
    {
        $mib = (int) getenv('CRON_PHP_MEMORY_MIB');
        if ($mib === 0) {
            // A pod of a chart that did not say it: these files change under it while its successor starts.
            return [PHP_BINARY, $script];
        }
        $system_kib = ($mib + self::BESIDE_MIB) * 1024;
        $limited = 'ulimit -d "$1" && shift && exec "$@"';
        return ['bash', '-c', $limited, 'bash', (string) $system_kib, PHP_BINARY, '-d', "memory_limit={$mib}M", $script];
    }
}
