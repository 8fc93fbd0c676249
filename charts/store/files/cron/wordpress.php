<?php
/**
 * Makes the end of a process that loads WordPress honest.
 *
 * WordPress ends a process that it cannot serve by a page and exit code 0, and so may any plugin's task. An end before
 * done() is a failure, and says which hook it happened in.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

// What a plugin starts is of this process' group, and ends with it: see child.php.
posix_setpgid(0, 0);

$GLOBALS['store_done'] = false;

/** Marks this process as one that did what it was for. */
function done(): void
{
    $GLOBALS['store_done'] = true;
}

register_shutdown_function(static function (): void {
    if ($GLOBALS['store_done']) {
        return;
    }
    $error = error_get_last();
    $hooks = array_diff($GLOBALS['wp_current_filter'] ?? [], ['shutdown']);
    fwrite(STDERR, 'ended early' . ($hooks === [] ? '' : ' in ' . implode(' > ', $hooks))
        . ($error === null ? '' : ": {$error['message']}") . "\n");
    // A later shutdown function must not make it a success again.
    register_shutdown_function(static fn () => exit(1));
});

/** WordPress believes that it is asked for its own address. */
function pretend_request(string $path): void
{
    $settings = json_decode((string) file_get_contents('/etc/store/platform/settings.json'), true, 8, JSON_THROW_ON_ERROR);
    $url = parse_url($settings['url']);
    $_SERVER['HTTP_HOST'] = $url['host'] . (isset($url['port']) ? ":{$url['port']}" : '');
    $_SERVER['SERVER_NAME'] = $url['host'];
    $_SERVER['REQUEST_URI'] = $path;
    $_SERVER['REQUEST_METHOD'] = 'GET';
    $_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
    if ($url['scheme'] === 'https') {
        $_SERVER['HTTPS'] = 'on';
    }
}
