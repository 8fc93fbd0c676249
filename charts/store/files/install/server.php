<?php
/**
 * How every script of the chart that speaks to the database connects to it; WordPress itself does so by its settings.
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
