<?php
/**
 * How every script of the chart that speaks to the database connects to it, and what its locks are named there; WordPress
 * itself connects by its settings.
 *
 * Where DATABASE_CA names a file, by TLS alone, to a server with a certificate of that authority and its own name.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

/** One try. The result's connect_errno is 0 if it went well, unless mysqli is told to throw. `$address` is `host[:port]`. */
function connect_to(string $address, string $user, string $password, string $database, int $read_timeout_s = 0): mysqli
{
    [$host, $port] = explode(':', $address) + [1 => '3306'];
    $db = mysqli_init();
    $db->options(MYSQLI_OPT_CONNECT_TIMEOUT, 5);
    if ($read_timeout_s > 0) {
        $db->options(MYSQLI_OPT_READ_TIMEOUT, $read_timeout_s);
    }
    $flags = 0;
    $authority = getenv('DATABASE_CA');
    if ($authority !== false && $authority !== '') {
        $db->ssl_set(null, null, $authority, null, null);
        $flags = MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_VERIFY_SERVER_CERT;
    }
    @$db->real_connect($host, $user, $password, $database, (int) $port, null, $flags);
    return $db;
}

/**
 * In SQL, what a lock of this store is named at its server: with the database's name where other stores share that.
 *
 * Not where the store has a server of its own: pods of a chart that knew no other server say the bare name, and must be
 * kept out while they are replaced.
 */
function lock_name(string $name): string
{
    $settings = json_decode((string) file_get_contents(__DIR__ . '/settings.json'), true, 8, JSON_THROW_ON_ERROR);
    return $settings['ownDatabase'] ? "'$name'" : "CONCAT('$name.', DATABASE())";
}

/** Whether this connection has the lock now, `$wait_s` later at most; or, as a text, why the server gives no locks. */
function take_lock(mysqli $db, string $name, int $wait_s = 0): bool|string
{
    $result = $db->query('SELECT GET_LOCK(' . lock_name($name) . ", $wait_s)");
    $taken = $result instanceof mysqli_result ? $result->fetch_row()[0] : null;
    if ($taken === null) {
        return $db->error !== '' ? $db->error : 'the wait for it was ended there';
    }
    return $taken === '1';
}
