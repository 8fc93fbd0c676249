<?php
/**
 * A restored database belongs to the store that it was restored into: every address in it is that store's, and
 * `stores credentials` tells the truth again.
 *
 * WordPress keeps addresses in all kinds of text, serialized PHP included, where each string carries its length in bytes.
 * Serialized text is walked and written anew without ever making an object of it: what lies in a database is not trusted.
 */

declare(strict_types=1);

require __DIR__ . '/server.php';

const MAX_DEPTH = 400;
const ROWS_AT_ONCE = 200;

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
        $this->pattern = '~(?:(?<scheme>https?)(?<colon>:|%3A))?(?<slashes>(?:\\\\*/|%2F){2})' . preg_quote($host, '~')
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

/** Every text of the database has the new address. Returns how many values were written, by table. */
function rewrite_database(mysqli $db, Address $address): array
{
    $written = [];
    foreach ($db->query("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'")->fetch_all() as [$table]) {
        $count = rewrite_table($db, $table, $address);
        if ($count > 0) {
            $written[$table] = $count;
        }
    }
    return $written;
}

/** Every text of one table has the new address, in one transaction. */
function rewrite_table(mysqli $db, string $table, Address $address): int
{
    $texts = $keys = [];
    foreach ($db->query('SHOW COLUMNS FROM ' . quoted($table))->fetch_all(MYSQLI_ASSOC) as $column) {
        if (preg_match('/^(?:var)?char|text$/', preg_replace('/\(.*/', '', $column['Type'])) === 1) {
            $texts[] = $column['Field'];
        }
        if ($column['Key'] === 'PRI') {
            $keys[] = $column['Field'];
        }
    }
    $texts = array_values(array_diff($texts, $keys));
    if ($texts === []) {
        return 0;
    }
    $db->begin_transaction();
    $count = $keys === [] ? rewrite_keyless($db, $table, $texts, $address)
        : rewrite_keyed($db, $table, $keys, $texts, $address);
    $db->commit();
    return $count;
}

/** As rewrite_table, page by page along the primary key, so that a table of any size takes little memory. */
function rewrite_keyed(mysqli $db, string $table, array $keys, array $texts, Address $address): int
{
    $key = '(' . implode(', ', array_map('quoted', $keys)) . ')';
    $here = '(' . implode(', ', array_fill(0, count($keys), '?')) . ')';
    $like = '%' . addcslashes($address->needle, '%_\\') . '%';
    $match = implode(' OR ', array_map(static fn (string $text): string => quoted($text) . ' LIKE ?', $texts));
    $columns = implode(', ', array_map('quoted', [...$keys, ...$texts]));
    $order = implode(', ', array_map('quoted', $keys));
    $behind = null;
    $count = 0;
    do {
        $where = $behind === null ? '' : "$key > $here AND ";
        $select = "SELECT $columns FROM " . quoted($table) . " WHERE $where($match) ORDER BY $order LIMIT " . ROWS_AT_ONCE;
        $rows = $db->execute_query($select, [...($behind ?? []), ...array_fill(0, count($texts), $like)])->fetch_all();
        foreach ($rows as $row) {
            $behind = array_slice($row, 0, count($keys));
            $set = $values = [];
            foreach ($texts as $index => $text) {
                $old = $row[count($keys) + $index];
                $new = $old === null ? null : rewritten($old, $address);
                if ($new !== $old) {
                    $set[] = quoted($text) . ' = ?';
                    $values[] = $new;
                }
            }
            if ($set !== []) {
                $update = 'UPDATE ' . quoted($table) . ' SET ' . implode(', ', $set) . " WHERE $key = $here";
                $db->execute_query($update, [...$values, ...$behind]);
                $count += count($set);
            }
        }
    } while (count($rows) === ROWS_AT_ONCE);
    return $count;
}

/** As rewrite_table, by value, where no key tells rows apart. */
function rewrite_keyless(mysqli $db, string $table, array $texts, Address $address): int
{
    $like = '%' . addcslashes($address->needle, '%_\\') . '%';
    $count = 0;
    foreach ($texts as $text) {
        $column = quoted($text);
        $select = "SELECT DISTINCT BINARY $column FROM " . quoted($table) . " WHERE $column LIKE ?";
        foreach ($db->execute_query($select, [$like])->fetch_all() as [$old]) {
            $new = rewritten($old, $address);
            if ($new !== $old) {
                $db->execute_query('UPDATE ' . quoted($table) . " SET $column = ? WHERE BINARY $column = BINARY ?", [$new, $old]);
                $count += $db->affected_rows;
            }
        }
    }
    return $count;
}

/** A name as SQL writes it. */
function quoted(string $name): string
{
    return '`' . str_replace('`', '``', $name) . '`';
}

/** Whether WordPress would take this password for this hash, in any form that it has used. */
function is_password(string $password, string $hash): bool
{
    if (str_starts_with($hash, '$wp')) {
        return password_verify(base64_encode(hash_hmac('sha384', trim($password), 'wp-sha384', true)), substr($hash, 3));
    }
    if (str_starts_with($hash, '$P$')) {
        require_once '/usr/src/wordpress/wp-includes/class-phpass.php';
        return (new PasswordHash(8, true))->CheckPassword($password, $hash);
    }
    return str_starts_with($hash, '$') ? password_verify($password, $hash) : hash_equals($hash, md5($password));
}

/** A password as WordPress keeps it since 6.8. */
function hash_of(string $password): string
{
    return '$wp' . password_hash(base64_encode(hash_hmac('sha384', trim($password), 'wp-sha384', true)), PASSWORD_BCRYPT);
}

/**
 * What the administrator's password becomes: a new hash, or null where it stays, and why.
 *
 * It is the one that `stores credentials` shows, if it was so when the snapshot was taken. One that the merchant has
 * chosen since stays, unless the data went into another store (`$foreign`).
 *
 * @return array{?string, string}
 */
function settled_password(string $hash, string $then, string $now, bool $foreign): array
{
    if (is_password($now, $hash)) {
        return [null, 'as the credentials say'];
    }
    if (!$foreign && !is_password($then, $hash)) {
        return [null, "the merchant's own, kept"];
    }
    return [hash_of($now), "set to this store's credentials"];
}

/** The administrator has the password of `settled_password`. Returns what was done. */
function settle_password(mysqli $db, string $user, string $then, string $now, bool $foreign): string
{
    $row = $db->execute_query('SELECT ID, user_pass FROM wp_users WHERE user_login = ?', [$user])->fetch_row();
    if ($row === null) {
        return "there is no user $user";
    }
    [$hash, $told] = settled_password($row[1], $then, $now, $foreign);
    if ($hash !== null) {
        $db->execute_query('UPDATE wp_users SET user_pass = ? WHERE ID = ?', [$hash, $row[0]]);
    }
    return $told;
}

/** The content of a mounted secret. */
function secret(string $path): string
{
    $value = @file_get_contents($path);
    if ($value === false || rtrim($value, "\r\n") === '') {
        throw new RuntimeException("$path is missing or empty");
    }
    return rtrim($value, "\r\n");
}

function main(): void
{
    $about = json_decode(file_get_contents('/restore/data/store.json'), true, 8, JSON_THROW_ON_ERROR);
    mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
    $password = secret('/etc/store/credentials/mariadb-password');
    $db = connect_to(getenv('DATABASE_ADDRESS'), getenv('DATABASE_USER'), $password, getenv('DATABASE_NAME'));
    $db->set_charset('utf8mb4');
    $new = getenv('STORE_URL');
    if ($about['url'] !== $new) {
        $written = rewrite_database($db, new Address($about['url'], $new));
        $told = array_map(static fn (string $table): string => "$table {$written[$table]}", array_keys($written));
        echo "address: {$about['url']} is $new now: ", implode(', ', $told) ?: 'nowhere', "\n";
    }
    $then = secret('/run/store/credentials/wordpress-password');
    $now = secret('/etc/store/admin/wordpress-password');
    $foreign = getenv('FOREIGN') !== false && getenv('FOREIGN') !== '';
    echo 'address: password of the administrator: ', settle_password($db, getenv('ADMIN_USER'), $then, $now, $foreign), "\n";
}

if (realpath($_SERVER['SCRIPT_FILENAME']) === __FILE__) {
    try {
        main();
    } catch (Throwable $error) {
        fwrite(STDERR, 'address: ' . $error->getMessage() . "; the shop stays closed until a restore succeeds\n");
        exit(1);
    }
}
