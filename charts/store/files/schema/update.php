<?php
/**
 * The database is what this pod's code needs, or it is on record why not.
 *
 * Runs under the lock of the install, so that no pod sets itself up meanwhile, and when it is its turn in this container;
 * then looks once more whether it may.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';
require '/etc/store/cron/turn.php';

/** The script has run, in a process of its own: WordPress can load only once per process. What it said last, if it failed. */
function run(string $script): ?string
{
    $process = proc_open(Turn::command($script), [0 => ['file', '/dev/null', 'r'], 1 => STDERR, 2 => ['pipe', 'w']], $pipes);
    if ($process === false) {
        return "$script could not be started";
    }
    $last = '';
    while (($line = fgets($pipes[2])) !== false) {
        fwrite(STDERR, $line);
        $last = trim($line) !== '' ? trim($line) : $last;
    }
    return proc_close($process) === 0 ? null : $last;
}

$db = connected();
$locked = take_lock($db, INSTALL_LOCK);
if (is_string($locked)) {
    refuse("MariaDB gives no lock: $locked", 'docs/database.md says which servers cannot');
}
if (!$locked) {
    say('another pod sets itself up; the update waits for it');
    done();
}
Turn::want(true);
$turn = Turn::take();
if ($turn === null) {
    say('scheduled tasks run; the update waits for their end');
    done();
}
$code = code_versions();
$pending = pending($code, database_versions($db));
if ($pending === [] || others($db, $code) !== []) {
    Turn::want(false);
    done();
}
say('updating the database: ' . implode(', ', $pending));
$failure = run(__DIR__ . '/update-wordpress.php') ?? run(__DIR__ . '/update-woocommerce.php');
Turn::want(false);
// A long update may have outlived the connection; a new one tells the truth either way.
$db = connected();
$left = pending($code, database_versions($db));
if ($failure === null && $left !== []) {
    $failure = 'still to be updated: ' . implode(', ', $left);
}
prepared(
    $db,
    'UPDATE ' . IMAGES_TABLE . ' SET failure = ? WHERE image = ?',
    [$failure === null ? null : substr($failure, 0, 2000), getenv('STORE_IMAGE')],
);
if ($failure !== null) {
    refuse("the database could not be updated: $failure", 'the shop serves; the next heartbeat tries again');
}
say('the database is updated: ' . implode(', ', $pending));
done();
