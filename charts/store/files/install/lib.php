<?php
/**
 * What all steps share. Nothing here, or in a step, may print a secret.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require_once __DIR__ . '/server.php';

const INSTALL_DIR = __DIR__;
const INSTALL_LOCK = 'store-install';
const CREDENTIALS_DIR = '/etc/store/credentials';
const ADMIN_DIR = '/etc/store/admin';
// EX_CONFIG of sysexits.h; stacks/explanation.py knows it.
const NEVER = 78;

/** One line of the pod's log, with the name of the script that says it. */
function say(string $line): void
{
    fwrite(STDERR, basename($_SERVER['SCRIPT_FILENAME'], '.php') . ": $line\n");
}

/** Ends the process as failed. `$cure` tells what to do about `$what`. */
function refuse(string $what, string $cure): never
{
    say("$what; $cure");
    succeed_or_fail(1);
}

/**
 * Like refuse(), for what is declared and cannot be, so that no further try makes it better: an archive with another
 * checksum. Who waits for the pod knows it by the code, and waits no longer.
 */
function refuse_for_good(string $what, string $cure): never
{
    say("$what; $cure");
    succeed_or_fail(NEVER);
}

/** Ends the process as done. */
function done(): never
{
    succeed_or_fail(0);
}

/**
 * Ends the process with the given code.
 *
 * WordPress ends a process that it cannot serve, for example without a database, by printing a page, with code 0.
 * So an end that did not come through this function is a failure.
 */
function succeed_or_fail(int $code): never
{
    $GLOBALS['store_exit_is_ours'] = true;
    exit($code);
}

register_shutdown_function(static function (): void {
    if (empty($GLOBALS['store_exit_is_ours'])) {
        say('ended before its last line; the lines above tell why');
        exit(1);
    }
});

/** The chart's values that the install needs, as plugin-install-cm.yaml writes them. */
function settings(): array
{
    return json_decode(file_get_contents(INSTALL_DIR . '/settings.json'), true, 8, JSON_THROW_ON_ERROR);
}

/** The content of a mounted secret, without the newline that editors put at its end. */
function secret(string $path): string
{
    $value = @file_get_contents($path);
    if ($value === false || rtrim($value, "\r\n") === '') {
        refuse("$path is missing or empty", 'add the key ' . basename($path) . ' to the credentials Secret');
    }
    return rtrim($value, "\r\n");
}

/** One try to connect to the shop's database. The result's connect_errno is 0 if it went well. */
function connect_once(): mysqli
{
    mysqli_report(MYSQLI_REPORT_OFF);
    return connect_to(
        getenv('WORDPRESS_DB_HOST'),
        getenv('WORDPRESS_DB_USER'),
        secret(CREDENTIALS_DIR . '/mariadb-password'),
        getenv('WORDPRESS_DB_NAME'),
    );
}

/** Makes WordPress believe that it is asked for its own address, which it needs before it loads. */
function pretend_request(): void
{
    $url = parse_url(settings()['url']);
    $port = isset($url['port']) ? ":{$url['port']}" : '';
    $_SERVER['HTTP_HOST'] = $url['host'] . $port;
    $_SERVER['SERVER_NAME'] = $url['host'];
    $_SERVER['REQUEST_URI'] = '/';
    $_SERVER['REQUEST_METHOD'] = 'GET';
    $_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
    $_SERVER['REMOTE_ADDR'] = '127.0.0.1';
    if ($url['scheme'] === 'https') {
        $_SERVER['HTTPS'] = 'on';
    }
}
