<?php
/**
 * What the shop has written down carries its address of today.
 *
 * WordPress writes whole addresses into posts, settings and what plugins keep. When the address changes (a domain of the
 * shop's own, https, a restore into another store), each of them is rewritten, as rewriting.php says. It needs no
 * WordPress, and costs one query when nothing changed.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';
require __DIR__ . '/rewriting.php';

$db = connect_once();
if ($db->connect_errno !== 0) {
    refuse("MariaDB: {$db->connect_error}", 'look at the log of its pod');
}
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
try {
    $db->set_charset('utf8mb4');
    $now = settings()['url'];
    $before = option($db, ADDRESS_OPTION);
    if ($before === null) {
        // An install that is older than this step has told its address to WordPress alone.
        $before = option($db, 'siteurl') ?? $now;
        set_option($db, ADDRESS_OPTION, $before);
    }
    if ($before !== $now) {
        $changed = array_sum(move_shop($db, [$before], $now, $kept));
        say("the address was $before and is now $now: $changed values rewritten");
        if ($kept !== []) {
            say(told_of_kept($kept));
        }
    }
} catch (mysqli_sql_exception $error) {
    refuse("MariaDB refuses: {$error->getMessage()}", 'nothing is lost, the next start goes on; see the log of its pod');
}
done();
