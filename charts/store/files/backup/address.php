<?php
/**
 * A restored database belongs to the store that it was restored into: every address in it is that store's, and
 * `stores credentials` tells the truth again.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/rewriting.php';
require __DIR__ . '/server.php';

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
    $row = executed($db, 'SELECT ID, user_pass FROM wp_users WHERE user_login = ?', [$user])->get_result()->fetch_row();
    if ($row === null) {
        return "there is no user $user";
    }
    [$hash, $told] = settled_password($row[1], $then, $now, $foreign);
    if ($hash !== null) {
        executed($db, 'UPDATE wp_users SET user_pass = ? WHERE ID = ?', [$hash, $row[0]]);
    }
    return $told;
}

/**
 * The address of the shop is `$new`. Returns what was done, in lines of the log.
 *
 * Its texts have the address that the database itself tells. `$declared` is what the shop was meant to have when the
 * snapshot was taken: another one if the change had yet to reach the texts, or had reached some.
 *
 * @return list<string>
 */
function settle_address(mysqli $db, string $declared, string $new): array
{
    // As the address step asks: an older shop has told its address to WordPress alone.
    $own = option($db, ADDRESS_OPTION) ?? option($db, 'siteurl') ?? $declared;
    $olds = array_diff(array_unique([$own, $declared]), [$new]);
    if ($olds === []) {
        return [];
    }
    $written = move_shop($db, $olds, $new, $kept);
    $told = [implode(' and ', $olds) . " is $new now: " . (counted($written) ?: 'nowhere')];
    return $kept === [] ? $told : [...$told, told_of_kept($kept)];
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
    // The pod's environment may be an older chart's, whose scripts changed under it.
    $address = getenv('DATABASE_ADDRESS') ?: getenv('DATABASE_HOST');
    $db = connect_to($address, getenv('DATABASE_USER'), $password, getenv('DATABASE_NAME'));
    $db->set_charset('utf8mb4');
    foreach (settle_address($db, $about['url'], getenv('STORE_URL')) as $line) {
        echo "address: $line\n";
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
