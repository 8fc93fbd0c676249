<?php
/**
 * What the shop has written down carries its address of today.
 *
 * WordPress writes whole addresses into posts, settings and what plugins keep. When the address changes (a domain of the
 * shop's own, https, a restore into another store), each of them is rewritten; serialized values stay readable. Only the
 * `guid` of posts stays: feed readers know them by it. It needs no WordPress, and costs one query when nothing changed.
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';
require __DIR__ . '/address.php';

const ADDRESS_OPTION = 'store_address';
const KEPT_COLUMNS = ['guid', 'user_pass'];

mysqli_report(MYSQLI_REPORT_OFF);
$db = connect_once();
if ($db->connect_errno !== 0) {
    refuse("MariaDB: {$db->connect_error}", 'look at the log of its pod');
}
$db->set_charset('utf8mb4');

$now = settings()['url'];
$before = option($db, ADDRESS_OPTION);
if ($before === null) {
    // An install that is older than this step has told its address to WordPress alone.
    $before = option($db, 'siteurl') ?? $now;
    set_option($db, ADDRESS_OPTION, $before);
}
if ($before !== $now) {
    $changed = rewrite_tables($db, $before, $now);
    set_option($db, 'siteurl', $now);
    set_option($db, 'home', $now);
    // Last: a pod that is killed before begins anew, and what is rewritten already does not match again.
    set_option($db, ADDRESS_OPTION, $now);
    say("the address was $before and is now $now: $changed values rewritten");
}
done();

/** The result of a query with values; ends the process where the database refuses it. */
function ask(mysqli $db, string $query, string ...$values): mysqli_result|bool
{
    $statement = $db->prepare($query);
    if ($statement === false || !$statement->execute($values)) {
        refuse("MariaDB refuses: {$db->error}", 'nothing is lost, the next start goes on; see the log of its pod');
    }
    return $statement->get_result() ?: true;
}

function option(mysqli $db, string $name): ?string
{
    return ask($db, 'SELECT option_value FROM wp_options WHERE option_name = ?', $name)->fetch_row()[0] ?? null;
}

function set_option(mysqli $db, string $name, string $value): void
{
    // `no` is read as "not loaded with every page" by every version of WordPress; a row that is there keeps its own.
    ask(
        $db,
        "INSERT INTO wp_options (option_name, option_value, autoload) VALUES (?, ?, 'no')
         ON DUPLICATE KEY UPDATE option_value = VALUES(option_value)",
        $name,
        $value,
    );
}

/** Rewrites every text of every table of the shop; returns how many values have changed. */
function rewrite_tables(mysqli $db, string $before, string $now): int
{
    $rewrite = address_rewriter($before, $now);
    $host = (string) parse_url($before, PHP_URL_HOST);
    $changed = 0;
    foreach (ask($db, "SHOW TABLES LIKE 'wp\\_%'")->fetch_all() as [$table]) {
        [$keys, $texts] = columns_of($db, $table);
        if ($keys === [] && $texts !== []) {
            say("$table has no primary key; its texts keep the address of before");
            continue;
        }
        foreach ($texts as $column) {
            $changed += rewrite_column($db, $table, $keys, $column, $rewrite, $host);
        }
    }
    return $changed;
}

/** The names of the columns that make the primary key, and of those that hold text and are no part of it. */
function columns_of(mysqli $db, string $table): array
{
    $keys = $texts = [];
    foreach (ask($db, "SHOW COLUMNS FROM `$table`")->fetch_all(MYSQLI_ASSOC) as $column) {
        if ($column['Key'] === 'PRI') {
            $keys[] = $column['Field'];
        } elseif (preg_match('/char|text|json/i', $column['Type']) && !in_array($column['Field'], KEPT_COLUMNS, true)) {
            $texts[] = $column['Field'];
        }
    }
    return [$keys, $texts];
}

function rewrite_column(mysqli $db, string $table, array $keys, string $column, callable $rewrite, string $host): int
{
    $selected = '`' . implode('`, `', [...$keys, $column]) . '`';
    $where = implode(' AND ', array_map(static fn (string $key): string => "`$key` = ?", $keys));
    // How far this step is stands in the options too, and must change last.
    $not_ours = $table === 'wp_options' ? " AND option_name <> '" . ADDRESS_OPTION . "'" : '';
    $pattern = '%' . addcslashes($host, '%_\\') . '%';
    $rows = ask($db, "SELECT $selected FROM `$table` WHERE `$column` LIKE ?$not_ours", $pattern);
    $changed = 0;
    foreach ($rows->fetch_all() as $row) {
        $old = array_pop($row);
        $new = rewrite_value($old, $rewrite);
        if ($new !== $old) {
            // A value that has changed since it was read is left to whoever changed it: the shop is open meanwhile.
            ask($db, "UPDATE `$table` SET `$column` = ? WHERE $where AND `$column` = ?", $new, ...array_map('strval', $row), ...[$old]);
            $changed += $db->affected_rows;
        }
    }
    return $changed;
}
