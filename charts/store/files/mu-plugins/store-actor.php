<?php
/**
 * Plugin Name: Store platform: actor
 * Description: Who makes the current request, from where, and by which way.
 * License:     GPL-2.0-or-later
 */

declare(strict_types=1);

namespace StorePlatform;

require_once __DIR__ . '/store-platform.php';

final class Actor
{
    private static ?array $application_password = null;

    public static function listen(): void
    {
        add_action('application_password_did_authenticate', static function ($user, $item): void {
            self::$application_password = [
                'uuid' => (string) ($item['uuid'] ?? ''),
                'name' => mb_substr((string) ($item['name'] ?? ''), 0, 200),
            ];
        }, 10, 2);
    }

    /** The actor as events carry it. Nobody and nothing that is not known is made up: it is null or empty. */
    public static function describe(): array
    {
        $user = function_exists('wp_get_current_user') ? wp_get_current_user() : null;
        $web = self::is_web_request();
        return [
            'user_id' => (int) ($user->ID ?? 0),
            'login' => (string) ($user->user_login ?? ''),
            'application_password' => self::$application_password,
            // The web server has put the visitor's address here if, and only if, a trusted proxy told it.
            'ip' => $web ? (filter_var($_SERVER['REMOTE_ADDR'] ?? '', FILTER_VALIDATE_IP) ?: null) : null,
            'user_agent' => $web ? mb_substr(self::text($_SERVER['HTTP_USER_AGENT'] ?? ''), 0, 200) : null,
            'via' => self::via(),
            'method' => $web ? mb_substr(self::text($_SERVER['REQUEST_METHOD'] ?? ''), 0, 10) : null,
            // Without the query, which may hold keys.
            'path' => $web ? mb_substr(self::text(strtok((string) ($_SERVER['REQUEST_URI'] ?? ''), '?')), 0, 300) : null,
            'request_id' => self::request_id(),
        ];
    }

    private static function via(): string
    {
        $path = strtok((string) ($_SERVER['REQUEST_URI'] ?? ''), '?');
        $route = (string) ($_GET['rest_route'] ?? '');
        return match (true) {
            defined('WP_INSTALLING') && WP_INSTALLING => 'install',
            defined('DOING_CRON') && DOING_CRON => 'cron',
            !self::is_web_request() => 'cli',
            defined('XMLRPC_REQUEST') && XMLRPC_REQUEST => 'xmlrpc',
            defined('REST_REQUEST') && REST_REQUEST =>
                str_contains("$path$route", '/wc/store') ? 'store-api' : 'rest',
            function_exists('wp_doing_ajax') && wp_doing_ajax() => 'ajax',
            function_exists('is_admin') && is_admin() => 'admin',
            default => 'web',
        };
    }

    private static function is_web_request(): bool
    {
        return PHP_SAPI !== 'cli' && !(defined('DOING_CRON') && DOING_CRON);
    }

    /** The same for all events of one request. */
    private static function request_id(): string
    {
        static $id = null;
        return $id ??= bin2hex(random_bytes(8));
    }

    private static function text(mixed $value): string
    {
        return preg_replace('/[[:cntrl:]]+/', ' ', wp_check_invalid_utf8((string) $value, true));
    }
}

Actor::listen();
