<?php
/**
 * An address of a shop in whatever its database holds, and what it becomes: one set of rules for a shop that gets another
 * address (install/step-25-address.php) and for data that went into another store (backup/address.php).
 *
 * WordPress keeps addresses in all kinds of text, serialized PHP included, where each string carries its length in bytes.
 * Serialized text is walked and written anew without ever making an object of it: what lies in a database is not trusted.
 * Needs no WordPress. Every failure of the database is an exception, so whoever uses this sets mysqli_report.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

const MAX_DEPTH = 400;
/** What one page of a table may be: PHP has each text of it a few times in its memory. */
const ROWS_AT_ONCE = 200;
const BYTES_AT_ONCE = 4 * 1024 * 1024;
/** The address that all of the database was brought to; written last, so that what breaks off begins anew. */
const ADDRESS_OPTION = 'store_address';
/** Events that were written already are history, and the receiver may have had them: what they say stays. */
const KEPT_TABLES = ['wp_store_outbox'];
/** Feed readers know a post by its `guid`, which only looks like an address. */
const KEPT_COLUMNS = ['wp_posts.guid'];

/** Keys that cannot be followed page by page: what was read of them is, sent back, not compared as they are ordered. */
const UNORDERED_KEYS = ['enum', 'set', 'bit', 'float', 'double'];
/** MariaDB's errors that are about one value: too long, there already in a UNIQUE column, against a CHECK. */
const REFUSED_VALUES = [1406, 1062, 4025];

/** A text that looked like serialized PHP is none. */
class NotSerialized extends RuntimeException
{
}

/** One address as it stands in texts, and what it becomes. */
final class Address
{
    private string $pattern;
    public readonly string $needle;

    public function __construct(private readonly string $old, private readonly string $new)
    {
        [, $host, $port] = self::parts($old);
        $this->needle = $host;
        $colon = $port === '' ? '' : '(?::|%3A)' . $port;
        // Slashes as they are, escaped for JSON (also twice), or encoded for a query. Behind it nothing that would make
        // it another host: `example.com` is no part of `example.com.au`, and `host:80` none of `host:8080`.
        $this->pattern = '~(?:(?<scheme>https?)(?<colon>:|%3A)|(?<!:)(?<!%3A))(?<slashes>(?:\\\\*/|%2F){2})' . preg_quote($host, '~')
            . $colon . '(?![\w-]|\.[\w-]|:\d|%3A\d)~i';
    }

    /** The text with the new address. */
    public function replaced(string $text): string
    {
        [$scheme, $host, $port] = self::parts($this->new);
        $result = preg_replace_callback($this->pattern, static function (array $found) use ($scheme, $host, $port): string {
            $encoded = stripos($found['slashes'], '%2F') === 0;
            $begin = $found['scheme'] === '' ? '' : $scheme . $found['colon'];
            return $begin . $found['slashes'] . $host . ($port === '' ? '' : ($encoded ? '%3A' : ':') . $port);
        }, $text);
        if ($result === null) {
            throw new RuntimeException('a text could not be searched: ' . preg_last_error_msg());
        }
        return $result;
    }

    /** Whether a text can hold the address at all. */
    public function concerns(string $text): bool
    {
        return stripos($text, $this->needle) !== false;
    }

    /** The pattern of SQL that finds every text which `concerns` would. */
    public function like(): string
    {
        return '%' . addcslashes($this->needle, '%_\\') . '%';
    }

    /** @return array{string, string, string} scheme, host and port; the port is '' where the scheme's own is meant */
    private static function parts(string $url): array
    {
        $parts = parse_url($url);
        if (!isset($parts['scheme'], $parts['host'])) {
            throw new InvalidArgumentException("'$url' is no address of a store");
        }
        return [$parts['scheme'], $parts['host'], isset($parts['port']) ? (string) $parts['port'] : ''];
    }
}

/** Any value of a column with the new address: text, JSON, or serialized PHP with lengths that are right again. */
function rewritten(string $value, Address $address, int $depth = 0): string
{
    if (!$address->concerns($value)) {
        return $value;
    }
    if (preg_match('/^\s*(?:[sCO]:\d+:|a:\d+:\{)/', $value) === 1) {
        try {
            $at = strspn($value, " \t\r\n");
            $result = substr($value, 0, $at) . walked($value, $at, $address, $depth);
            $rest = substr($value, $at);
            if (trim($rest) === '') {
                return $result . $rest;
            }
        } catch (NotSerialized) {
            // Nothing can read it as serialized PHP, so there is no length to keep right.
        }
    }
    return $address->replaced($value);
}

/** One serialized value that begins at `$at`, rewritten; `$at` is behind it then. */
function walked(string $text, int &$at, Address $address, int $depth): string
{
    if ($depth > MAX_DEPTH) {
        throw new NotSerialized('nested too deeply');
    }
    switch ($text[$at] ?? '') {
        case 'N':
        case 'b':
        case 'i':
        case 'd':
        case 'r':
        case 'R':
            return matched('/\G(?:N|[bidrR]:[-+.\w]+);/', $text, $at)[0];
        case 'E':
            matched('/\GE:(\d+):"/', $text, $at, $length);
            $case = taken($text, $at, (int) $length, '";');
            return "E:$length:\"$case\";";
        case 's':
            matched('/\Gs:(\d+):"/', $text, $at, $length);
            $new = rewritten(taken($text, $at, (int) $length, '";'), $address, $depth + 1);
            return 's:' . strlen($new) . ":\"$new\";";
        case 'a':
            matched('/\Ga:(\d+):\{/', $text, $at, $count);
            return "a:$count:{" . members($text, $at, (int) $count, $address, $depth);
        case 'O':
            matched('/\GO:(\d+):"/', $text, $at, $length);
            $class = taken($text, $at, (int) $length, '":');
            matched('/\G(\d+):\{/', $text, $at, $count);
            return "O:$length:\"$class\":$count:{" . members($text, $at, (int) $count, $address, $depth);
        case 'C':
            matched('/\GC:(\d+):"/', $text, $at, $length);
            $class = taken($text, $at, (int) $length, '":');
            matched('/\G(\d+):\{/', $text, $at, $size);
            // The class alone knows what this is; it stays, unless it is serialized in its turn.
            $own = taken($text, $at, (int) $size, '}');
            $new = preg_match('/^[sCOa]:\d+:/', $own) === 1 ? rewritten($own, $address, $depth + 1) : $own;
            return "C:$length:\"$class\":" . strlen($new) . ":{{$new}}";
        default:
            throw new NotSerialized("no type at $at");
    }
}

/** The keys, as they are, and the values, rewritten, of an array or an object, up to and with its closing brace. */
function members(string $text, int &$at, int $count, Address $address, int $depth): string
{
    $result = '';
    for ($member = 0; $member < $count; $member++) {
        if (($text[$at] ?? '') === 's') {
            matched('/\Gs:(\d+):"/', $text, $at, $length);
            $result .= "s:$length:\"" . taken($text, $at, (int) $length, '";') . '";';
        } else {
            $result .= matched('/\Gi:-?\d+;/', $text, $at)[0];
        }
        $result .= walked($text, $at, $address, $depth + 1);
    }
    taken($text, $at, 0, '}');
    return $result . '}';
}

/** @return array<int, string> what the pattern finds at `$at`, which is behind it then; `$first` is its first group */
function matched(string $pattern, string $text, int &$at, ?string &$first = null): array
{
    if (preg_match($pattern, $text, $found, 0, $at) !== 1) {
        throw new NotSerialized("not as it should be at $at");
    }
    $at += strlen($found[0]);
    $first = $found[1] ?? null;
    return $found;
}

/** `$length` bytes from `$at`, behind which `$end` must stand; `$at` is behind that then. */
function taken(string $text, int &$at, int $length, string $end): string
{
    if (substr_compare($text, $end, min($at + $length, strlen($text)), strlen($end)) !== 0) {
        throw new NotSerialized("a length is wrong at $at");
    }
    $result = substr($text, $at, $length);
    $at += $length + strlen($end);
    return $result;
}

/**
 * The shop in this database has the address `$new` and no longer any of `$olds`: in every text, and for WordPress.
 *
 * May run while the shop is open, and again after it broke off. Returns how many values were written, by table; `$kept`
 * is how many stay as they are, by column, since it cannot take the new address.
 */
function move_shop(mysqli $db, array $olds, string $new, ?array &$kept = null): array
{
    $written = $kept = [];
    foreach ($olds as $old) {
        foreach (rewrite_database($db, new Address($old, $new), $kept) as $table => $count) {
            $written[$table] = ($written[$table] ?? 0) + $count;
        }
    }
    foreach (['siteurl', 'home', ADDRESS_OPTION] as $option) {
        set_option($db, $option, $new);
    }
    return $written;
}

/** A statement that ran with its values. As PHP 8.1 can do it too, which an image may have. */
function executed(mysqli $db, string $sql, array $values): mysqli_stmt
{
    $statement = $db->prepare($sql);
    $statement->execute($values);
    return $statement;
}

/** What an option of WordPress has as its value; null if there is none. */
function option(mysqli $db, string $name): ?string
{
    $found = executed($db, 'SELECT option_value FROM wp_options WHERE option_name = ?', [$name])->get_result();
    return $found->fetch_row()[0] ?? null;
}

/** An option of WordPress has this value. */
function set_option(mysqli $db, string $name, string $value): void
{
    // `no` is read as "not loaded with every page" by every version of WordPress; a row that is there keeps its own.
    executed(
        $db,
        "INSERT INTO wp_options (option_name, option_value, autoload) VALUES (?, ?, 'no')"
        . ' ON DUPLICATE KEY UPDATE option_value = VALUES(option_value)',
        [$name, $value],
    );
}

/** Every text of the database that may change has the new address. Returns, and adds to `$kept`, as move_shop does. */
function rewrite_database(mysqli $db, Address $address, ?array &$kept = null): array
{
    // Whatever the server's own mode is: nothing may be cut off to make it fit.
    $db->query("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')");
    $written = [];
    $kept ??= [];
    foreach ($db->query("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'")->fetch_all() as [$table]) {
        $count = in_array($table, KEPT_TABLES, true) ? 0 : rewrite_table($db, $table, $address, $kept);
        if ($count > 0) {
            $written[$table] = $count;
        }
    }
    return $written;
}

/** Every text of one table has the new address. */
function rewrite_table(mysqli $db, string $table, Address $address, array &$kept): int
{
    $texts = $keys = [];
    $along = true;
    foreach ($db->query('SHOW COLUMNS FROM ' . quoted($table))->fetch_all(MYSQLI_ASSOC) as $column) {
        // Behind the type may stand its length, and in a comment what is MariaDB's own.
        $type = trim(preg_replace('~\(.*|/\*.*?\*/~', '', $column['Type']));
        if ($column['Key'] === 'PRI') {
            $keys[] = $column['Field'];
            $along = $along && !in_array(strtok($type, ' '), UNORDERED_KEYS, true);
        } elseif (
            preg_match('/^(?:var)?char|text$|^json$/', $type) === 1
            && !in_array("$table.{$column['Field']}", KEPT_COLUMNS, true)
            // It follows the columns that it is made of, and cannot be written.
            && !str_contains($column['Extra'], 'GENERATED')
        ) {
            $texts[] = $column['Field'];
        }
    }
    if ($texts === []) {
        return 0;
    }
    return $keys === [] || !$along ? rewrite_keyless($db, $table, $texts, $address, $kept)
        : rewrite_keyed($db, $table, $keys, $texts, $address, $kept);
}

/** As rewrite_table, page by page along the primary key, so that a table of any size takes little memory. */
function rewrite_keyed(mysqli $db, string $table, array $keys, array $texts, Address $address, array &$kept): int
{
    $key = '(' . implode(', ', array_map('quoted', $keys)) . ')';
    $here = '(' . implode(', ', array_fill(0, count($keys), '?')) . ')';
    $match = '(' . implode(' OR ', array_map(static fn (string $text): string => as_searched($text) . ' LIKE ?', $texts)) . ')'
        . ($table === 'wp_options' ? " AND option_name <> '" . ADDRESS_OPTION . "'" : '');
    $likes = array_fill(0, count($texts), $address->like());
    $length = implode(' + ', array_map(static fn (string $text): string => 'COALESCE(LENGTH(' . quoted($text) . '), 0)', $texts));
    $page = page_rows($db, "SELECT MAX($length) FROM " . quoted($table) . " WHERE $match", $likes);
    $columns = implode(', ', [...array_map('quoted', $keys), ...array_map('as_text', $texts)]);
    $order = implode(', ', array_map('quoted', $keys));
    $behind = null;
    $count = 0;
    while ($page > 0) {
        $where = $behind === null ? '' : "$key > $here AND ";
        $select = "SELECT $columns FROM " . quoted($table) . " WHERE $where$match ORDER BY $order LIMIT $page";
        $rows = executed($db, $select, [...($behind ?? []), ...$likes])->get_result()->fetch_all();
        $db->begin_transaction();
        foreach ($rows as $row) {
            $behind = array_slice($row, 0, count($keys));
            foreach ($texts as $index => $text) {
                $old = $row[count($keys) + $index];
                $new = $old === null ? null : rewritten($old, $address);
                if ($new !== $old) {
                    // What has changed since it was read is left to whoever changed it: the shop may be open.
                    $update = 'UPDATE ' . quoted($table) . ' SET ' . quoted($text) . " = ? WHERE $key = $here AND "
                        . digest_of($text) . ' = ?';
                    $count += replaced_rows($db, $update, [$new, ...$behind, hash('sha256', $old)], "$table.$text", $kept);
                }
            }
        }
        $db->commit();
        if (count($rows) < $page) {
            break;
        }
        // Before the next page is read.
        unset($rows, $row, $old, $new);
    }
    return $count;
}

/**
 * As rewrite_table, by value, where no key tells rows apart or none can be followed; page by page along the values' digests.
 *
 * Each value takes a look through the whole table, so 8000 of them take minutes.
 */
function rewrite_keyless(mysqli $db, string $table, array $texts, Address $address, array &$kept): int
{
    $count = 0;
    foreach ($texts as $text) {
        $value = as_text($text);
        $from = 'FROM ' . quoted($table) . ' WHERE ' . as_searched($text) . ' LIKE ?';
        $page = page_rows($db, "SELECT MAX(LENGTH($value)) $from", [$address->like()]);
        $behind = '';
        while ($page > 0) {
            // Not along the values themselves: what is sorted is cut off after 1024 bytes.
            $select = 'SELECT ' . digest_of($text) . " AS digest, MIN($value) $from GROUP BY digest HAVING digest > ?"
                . " ORDER BY digest LIMIT $page";
            $rows = executed($db, $select, [$address->like(), $behind])->get_result()->fetch_all();
            $db->begin_transaction();
            foreach ($rows as [$behind, $old]) {
                $new = rewritten($old, $address);
                if ($new !== $old) {
                    $update = 'UPDATE ' . quoted($table) . ' SET ' . quoted($text) . ' = ? WHERE ' . digest_of($text) . ' = ?';
                    $count += replaced_rows($db, $update, [$new, $behind], "$table.$text", $kept);
                }
            }
            $db->commit();
            if (count($rows) < $page) {
                break;
            }
            unset($rows, $old, $new);
        }
    }
    return $count;
}

/**
 * How many rows the update of one value has written: none where the column cannot take it, which is counted in `$kept`.
 *
 * It would be too long, be there twice, or break a rule of the table. Any visitor can write such a text, in a comment for
 * one, so it may stop nobody; the transaction goes on behind a statement that was refused.
 */
function replaced_rows(mysqli $db, string $update, array $values, string $column, array &$kept): int
{
    try {
        return executed($db, $update, $values)->affected_rows;
    } catch (mysqli_sql_exception $error) {
        if (!in_array($error->getCode(), REFUSED_VALUES, true)) {
            throw $error;
        }
        $kept[$column] = ($kept[$column] ?? 0) + 1;
        return 0;
    }
}

/** Numbers by table or column, as a log says them. */
function counted(array $counts): string
{
    return implode(', ', array_map(static fn (string $name): string => "$name {$counts[$name]}", array_keys($counts)));
}

/** What a log says of values that stay. */
function told_of_kept(array $kept): string
{
    return 'the old address stays where its column cannot take the new one: ' . counted($kept);
}

/** How many rows make a page, by the size of the largest that matches, which the query gives; 0 if none does. */
function page_rows(mysqli $db, string $largest, array $values): int
{
    $bytes = executed($db, $largest, $values)->get_result()->fetch_row()[0];
    return $bytes === null ? 0 : max(1, min(ROWS_AT_ONCE, intdiv(BYTES_AT_ONCE, max(1, (int) $bytes))));
}

/** A column as SQL compares and orders it byte by byte, in the connection's character set and not in its own. */
function as_text(string $column): string
{
    return 'CONVERT(' . quoted($column) . ' USING utf8mb4) COLLATE utf8mb4_nopad_bin';
}

/** A column as SQL looks for an address in it: capitals do not matter, whatever its own collation says. */
function as_searched(string $column): string
{
    return 'CONVERT(' . quoted($column) . ' USING utf8mb4) COLLATE utf8mb4_general_ci';
}

/** What tells a column's text from any other, in SQL: PHP need not send a text back to have it compared. */
function digest_of(string $column): string
{
    return 'SHA2(' . as_text($column) . ', 256)';
}

/** A name as SQL writes it. */
function quoted(string $name): string
{
    return '`' . str_replace('`', '``', $name) . '`';
}
