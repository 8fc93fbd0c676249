<?php
/**
 * The shop is what the values say, or this process fails and the pod starts it again.
 *
 * Waits for the database, takes a lock so that only one pod installs at a time, and runs each step-*.php in a process
 * of its own (WordPress can load only once per process). Every step may run any number of times.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';

/**
 * What files.sh writes after the last file of the code. Empty in a pod of a chart that had no files.sh, where nobody writes
 * it: the scripts change under such a pod while its successor starts.
 */
define('CODE_MARK', (string) getenv('STORE_CODE_MARK'));

/** Code, uploads and settings are there; a shop without them would start and be broken. */
function check_files(): void
{
    $marked = CODE_MARK === '' || is_file(CODE_MARK);
    if (!$marked || !is_file('/var/www/html/wp-config.php') || !is_file('/var/www/html/wp-load.php')) {
        refuse('/var/www/html holds no whole WordPress', 'see the log of the init container wordpress-files');
    }
    $probe = '/var/www/html/wp-content/uploads/.store-writable';
    if (@file_put_contents($probe, '') === false) {
        refuse(
            'wp-content/uploads is not writable for user ' . posix_getuid(),
            'the volume must honour fsGroup, or be writable for all',
        );
    }
    unlink($probe);
}

/** A connection to the shop's database, as soon as there is one. */
function connect(int $deadline_s): mysqli
{
    $host = getenv('WORDPRESS_DB_HOST');
    $started = hrtime(true);
    $said_s = -15;
    while (true) {
        $db = connect_once();
        if ($db->connect_errno === 0) {
            return $db;
        }
        // The server knows its users before it listens, so these never heal by waiting: access denied, no database.
        if (in_array($db->connect_errno, [1044, 1045, 1049], true)) {
            refuse(
                "MariaDB on $host refuses: {$db->connect_error}",
                settings()['ownDatabase']
                    ? 'its volume was made with other credentials; put back the mariadb-password of that time into the'
                    . ' credentials Secret, and database.name and database.user into the values'
                    : 'make the database ' . getenv('WORDPRESS_DB_NAME') . ' there, and the user '
                    . getenv('WORDPRESS_DB_USER') . ' with the mariadb-password of the credentials Secret;'
                    . ' docs/database.md has the words',
            );
        }
        $waited_s = intdiv(hrtime(true) - $started, 1_000_000_000);
        if ($waited_s >= $deadline_s) {
            refuse(
                "MariaDB on $host did not answer for $waited_s s: {$db->connect_error}",
                'look at the log of its pod; install.waitSeconds is the time that it may take',
            );
        }
        if ($waited_s - $said_s >= 15) {
            $said_s = $waited_s;
            say("waiting for MariaDB on $host: {$db->connect_error}");
        }
        sleep(1);
    }
}

/** No other pod of this shop is installing, until this process ends or the connection does. */
function lock(mysqli $db, int $deadline_s): void
{
    $taken = take_lock($db, INSTALL_LOCK, $deadline_s);
    if (is_string($taken)) {
        refuse(
            'MariaDB on ' . getenv('WORDPRESS_DB_HOST') . " gives no lock: $taken",
            'the pod tries again by itself; docs/database.md says which servers cannot',
        );
    }
    if (!$taken) {
        refuse(
            "another pod has held the install lock for $deadline_s s",
            'look for a pod of this shop whose init container install does not end, and delete it',
        );
    }
}

/** The step is done, in a process of its own, without a shell in between. */
function run_step(string $path): void
{
    $started = hrtime(true);
    $process = proc_open([PHP_BINARY, $path], [0 => ['file', '/dev/null', 'r'], 1 => STDERR, 2 => STDERR], $pipes);
    $code = $process === false ? -1 : proc_close($process);
    if ($code === NEVER) {
        refuse_for_good(basename($path) . " failed for good", 'correct what the lines above name');
    }
    if ($code !== 0) {
        refuse(basename($path) . " failed with code $code", 'the lines above tell why; the pod tries again by itself');
    }
    say(sprintf('%s done in %.1f s', basename($path), (hrtime(true) - $started) / 1e9));
}

check_files();
$wait_s = settings()['waitSeconds'];
$db = connect($wait_s);
lock($db, $wait_s);
foreach (glob(INSTALL_DIR . '/step-*.php') as $step) {
    run_step($step);
}
say('the shop is set up: ' . settings()['url']);
done();
