<?php
/**
 * The shop's background work: events to the platform's receiver, WooCommerce's queue, WordPress' scheduled tasks.
 *
 * WordPress itself runs in processes of its own, which end, so that nothing of its memory stays; and only when there is
 * something to do, because loading it is the costly part. Each problem is one line in the log when it begins, when it
 * changes, and when it is over. Says in the file `heartbeat` that it lives, and once a minute in the database what it did.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/problems.php';
require __DIR__ . '/sender.php';
require __DIR__ . '/child.php';
require __DIR__ . '/turn.php';
require '/etc/store/install/server.php';

const SETTINGS_FILE = '/etc/store/platform/settings.json';
const PASSWORD_FILE = '/etc/store/credentials/mariadb-password';
const SECRET_FILE = '/etc/store/webhook/webhook-secret';
const HEARTBEAT_FILE = '/tmp/heartbeat';
const STOPPING_FILE = '/tmp/stopping';

/** WordPress' tables, as the image names them unless it is told otherwise. */
const PREFIX = 'wp_';

/** What one run of WordPress may take. A pod that stops gives it less: see child.php. */
const TASKS_LIMIT_S = 300;
const QUEUE_LIMIT_S = 120;
/** What an update of the database may take, as schema/run.sh has it, and its end. */
const UPDATE_LIMIT_S = 1860;
const STATE_INTERVAL_S = 60;
const DISK_SAID_S = 60;
const READ_TIMEOUT_S = 20;
const UPLOADS_DIR = '/var/www/html/wp-content/uploads';
const PURGE_INTERVAL_S = 3600;
const NO_SUCH_TABLE = 1146;

mysqli_report(MYSQLI_REPORT_OFF);

function beat(): void
{
    touch(HEARTBEAT_FILE);
}

function stopping(): bool
{
    clearstatcache(true, STOPPING_FILE);
    return file_exists(STOPPING_FILE);
}

function now_s(): float
{
    return hrtime(true) / 1e9;
}

/** A connection to the shop's database, or null, which is a problem that is told. */
function connect(Problems $problems): ?mysqli
{
    $password = rtrim((string) @file_get_contents(PASSWORD_FILE), "\r\n");
    [$address, $user, $name] = array_map(getenv(...), ['WORDPRESS_DB_HOST', 'WORDPRESS_DB_USER', 'WORDPRESS_DB_NAME']);
    // A database that hangs must not hang this loop as well.
    $db = connect_to($address, $user, $password, $name, READ_TIMEOUT_S);
    if ($db->connect_errno !== 0) {
        $problems->report('database', "MariaDB does not answer: {$db->connect_error}");
        return null;
    }
    $db->set_charset('utf8mb4');
    $problems->report('database', null);
    return $db;
}

/** Whether WooCommerce's queue has something to do now. False where there is no such queue. */
function queue_is_due(mysqli $db): bool
{
    $result = $db->query(
        'SELECT 1 FROM ' . PREFIX . "actionscheduler_actions WHERE status = 'pending' AND claim_id = 0"
        . ' AND scheduled_date_gmt <= UTC_TIMESTAMP() LIMIT 1',
    );
    return $result instanceof mysqli_result && $result->num_rows === 1;
}

/** What this loop did is in the database, where the admin page finds it. */
function write_state(mysqli $db, array $state): void
{
    $statement = $db->prepare(
        'INSERT INTO ' . PREFIX . "options (option_name, option_value, autoload) VALUES ('store_cron_state', ?, 'off')"
        . ' ON DUPLICATE KEY UPDATE option_value = VALUES(option_value)',
    );
    if ($statement !== false) {
        $statement->execute([json_encode($state, JSON_UNESCAPED_SLASHES)]);
    }
}

/** A full volume of the uploads is in the log once a minute, as that of the database is. */
function watch_disk(): void
{
    static $said_s = null;
    $total = (float) @disk_total_space(UPLOADS_DIR);
    $free = (float) @disk_free_space(UPLOADS_DIR);
    if ($free * 50 >= $total) {
        if ($said_s !== null) {
            fwrite(STDERR, "disk: the volume of the uploads has room again\n");
        }
        $said_s = null;
    } elseif ($said_s === null || now_s() - $said_s >= DISK_SAID_S) {
        $mib = static fn (float $bytes): int => intdiv((int) $bytes, 1024 * 1024);
        fwrite(STDERR, "disk: the volume of the uploads is full: {$mib($free)} of {$mib($total)} MiB are free\n");
        $said_s = now_s();
    }
}

/** A turn that is not to be had any more is told: a process that nobody waits for has it. */
function watch_turn(Problems $problems, bool $had): void
{
    static $since_s = null;
    $since_s = $had ? null : $since_s ?? now_s();
    if ($had) {
        $problems->report('turn', null);
    } elseif (now_s() - $since_s > (Turn::updating() ? UPDATE_LIMIT_S : TASKS_LIMIT_S)) {
        $problems->report(
            'turn',
            'a program that a task has left running keeps queue, tasks and updates of the database waiting; delete the pod,'
            . ' and look for the plugin that starts it',
        );
    }
}

$settings = json_decode((string) file_get_contents(SETTINGS_FILE), true, 8, JSON_THROW_ON_ERROR);
$interval_s = (int) getenv('CRON_INTERVAL_SECONDS');
$queue_s = (int) getenv('CRON_QUEUE_SECONDS');
// Only for tests: ends after so many rounds.
$rounds = (int) (getenv('CRON_ROUNDS') ?: PHP_INT_MAX);

$problems = new Problems(static fn (string $line) => fwrite(STDERR, "cron: $line\n"));
$sender = new Sender($settings, SECRET_FILE, PREFIX, $problems);
$child = new Child($problems, beat(...), stopping(...));
$next = ['tasks' => 0.0, 'queue' => 0.0, 'state' => 0.0, 'purge' => 0.0];

for ($round = 0; $round < $rounds && !stopping(); $round++) {
    beat();
    $started_s = now_s();
    watch_disk();
    $db = connect($problems);
    if ($db !== null) {
        $sender->send_due($db, beat(...), stopping(...));
        if (now_s() >= $next['purge']) {
            $sender->purge($db);
            $next['purge'] = now_s() + PURGE_INTERVAL_S;
        }
        $due = now_s() >= $next['queue'] && queue_is_due($db);
        if (now_s() >= $next['state']) {
            write_state($db, ['at' => time(), 'problems' => $problems->current()]);
            $next['state'] = now_s() + STATE_INTERVAL_S;
        }
        // WordPress may take minutes, and MariaDB has few connections.
        $db->close();
        // While the database is updated nothing of this is done; the next rounds do it.
        $turn = Turn::wanted() ? null : Turn::take();
        watch_turn($problems, $turn !== null);
        if ($turn !== null && $due && !stopping()) {
            $well = $child->run('queue', __DIR__ . '/queue.php', QUEUE_LIMIT_S);
            // A queue that does not get shorter is not tried all the time.
            $next['queue'] = now_s() + ($well ? 0 : $interval_s);
        }
        if ($turn !== null && now_s() >= $next['tasks'] && !stopping()) {
            $next['tasks'] = now_s() + $interval_s;
            $child->run('tasks', __DIR__ . '/tasks.php', TASKS_LIMIT_S);
        }
        $turn?->end();
    }
    beat();
    while (!stopping() && now_s() < $started_s + $queue_s && $round + 1 < $rounds) {
        usleep(200_000);
    }
}
