<?php
// License: GPL-2.0-or-later
// The tests' receiver of webhooks: keeps every request, and answers what it was told to. Runs under `php -S`.
const KEPT = '/tmp/deliveries';
const STATUS = '/tmp/status';

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if ($path === '/deliveries') {
    header('Content-Type: application/json');
    echo '[' . implode(',', is_file(KEPT) ? file(KEPT, FILE_IGNORE_NEW_LINES) : []) . ']';
    return;
}
$status = is_file(STATUS) ? (int) file_get_contents(STATUS) : 200;
if ($status === 200) {
    $delivery = ['path' => $path, 'headers' => getallheaders(), 'body' => base64_encode(file_get_contents('php://input'))];
    file_put_contents(KEPT, json_encode($delivery) . "\n", FILE_APPEND | LOCK_EX);
}
http_response_code($status);
