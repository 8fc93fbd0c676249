<?php
/**
 * Runs a script that loads WordPress, in a process of its own that always ends, and everything with it that it started.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

final class Child
{
    /** What a script that was asked to end, or to stop with the pod, still gets. */
    private const GRACE_S = 10;
    private const STOPPING_S = 20;
    private const OUTPUT_BYTES = 4000;

    /**
     * @param Closure(): void $beat called while a script runs
     * @param Closure(): bool $stopping whether the pod is to stop
     */
    public function __construct(
        private readonly Problems $problems,
        private readonly Closure $beat,
        private readonly Closure $stopping,
    ) {
    }

    /** The script has run. Whether it reached its last line; if not, that is a problem of `$topic`, with its last words. */
    public function run(string $topic, string $script, int $limit_s): bool
    {
        $process = proc_open(
            Turn::command($script),
            [0 => ['file', '/dev/null', 'r'], 1 => ['pipe', 'w'], 2 => ['pipe', 'w']],
            $pipes,
        );
        if ($process === false) {
            $this->problems->report($topic, basename($script) . ' could not be started');
            return false;
        }
        // WordPress tells visitors of an error in a page, and the log what it was.
        $output = [1 => '', 2 => ''];
        foreach (array_keys($output) as $number) {
            stream_set_blocking($pipes[$number], false);
        }
        $read = static function () use (&$output, $pipes): void {
            foreach ($output as $number => $text) {
                $output[$number] = substr($text . stream_get_contents($pipes[$number]), -self::OUTPUT_BYTES);
            }
        };
        $deadline_s = hrtime(true) / 1e9 + $limit_s;
        $ended = null;
        while (true) {
            $read();
            $status = proc_get_status($process);
            if (!$status['running']) {
                break;
            }
            ($this->beat)();
            $now_s = hrtime(true) / 1e9;
            if ($ended === null && ($this->stopping)()) {
                $deadline_s = min($deadline_s, $now_s + self::STOPPING_S);
                $ended = 'the pod stops';
            }
            if ($now_s >= $deadline_s) {
                proc_terminate($process, $now_s >= $deadline_s + self::GRACE_S ? 9 : 15);
                $ended ??= "it took longer than $limit_s s";
            }
            usleep(50_000);
        }
        // What it leaves behind would keep this container's turn, and its memory, for as long as it likes. It is of the
        // group that wordpress.php made.
        $left = posix_kill(-$status['pid'], 9);
        $read();
        array_map(fclose(...), array_slice($pipes, 0));
        proc_close($process);
        if ($status['exitcode'] === 0) {
            $this->problems->report(
                $topic,
                $left ? basename($script) . ' left programs running, which were ended; look for the plugin that starts them' : null,
            );
            return true;
        }
        $how = $status['signaled'] ? "was ended by signal {$status['termsig']}" : "ended with code {$status['exitcode']}";
        $page = strip_tags(preg_replace('#<(style|script)\b.*?(</\1>|$)#si', '', $output[1]));
        $words = mb_substr(trim(mb_scrub(trim($output[2]) !== '' ? $output[2] : $page)), -400);
        $this->problems->report(
            $topic,
            basename($script) . " $how" . ($ended === null ? '' : ", because $ended") . ($words === '' ? '' : ": $words"),
        );
        return false;
    }
}
