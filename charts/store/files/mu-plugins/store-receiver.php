<?php
/**
 * Plugin Name: Store platform: webhook receiver
 * Description: WooCommerce's webhooks reach the platform's one receiver, and are not given up.
 * License:     GPL-2.0-or-later
 */

declare(strict_types=1);

namespace StorePlatform;

require_once __DIR__ . '/store-platform.php';

/** Whether a URL leads to the receiver: same scheme, host and port. WordPress asks with nothing but the URL. */
function is_receiver(string $url): bool
{
    $receiver = settings()['receiver'];
    return $receiver !== null && origin($url) === origin($receiver['url']);
}

/** scheme://host:port in small letters; empty where one of them is missing, or somebody's name and password are in it. */
function origin(string $url): string
{
    $parts = parse_url($url);
    if (!isset($parts['scheme'], $parts['host']) || isset($parts['user']) || isset($parts['pass'])) {
        return '';
    }
    $scheme = strtolower($parts['scheme']);
    $own_port = ['http' => 80, 'https' => 443][$scheme] ?? 0;
    return "$scheme://" . strtolower($parts['host']) . ':' . ($parts['port'] ?? $own_port);
}

// WordPress refuses private addresses and unusual ports for what plugins call "safe" requests. One receiver is excepted.
add_filter('http_request_host_is_external', static function ($external, $host, $url) {
    return $external || is_receiver((string) $url);
}, 10, 3);
add_filter('http_allowed_safe_ports', static function ($ports, $host = '', $url = '') {
    if (is_receiver((string) $url)) {
        $ports[] = (int) (parse_url((string) $url, PHP_URL_PORT) ?? 443);
    }
    return $ports;
}, 10, 3);

// Where web.externalRequests is off, WordPress calls nobody but itself and this one.
if (settings()['receiver'] !== null && !defined('WP_ACCESSIBLE_HOSTS')) {
    define('WP_ACCESSIBLE_HOSTS', (string) parse_url(settings()['receiver']['url'], PHP_URL_HOST));
}

// WordPress brings a list of public authorities of its own; a receiver inside of a company has another one.
add_filter('http_request_args', static function ($arguments, $url) {
    $authority = settings()['receiver']['ca'] ?? '';
    if ($authority !== '' && is_receiver((string) $url)) {
        $arguments['sslcertificates'] = $authority;
    }
    return $arguments;
}, 10, 2);

// WooCommerce switches a webhook off after the seventh failure in a row, and then loses every event without a word.
add_filter('woocommerce_max_webhook_delivery_failures', static fn () => PHP_INT_MAX);

// Rebuilding pictures in the background begins with a request to the shop's own public address, which a pod cannot reach.
// It would end the first run of the scheduled tasks, and block the next ones for a minute.
add_filter('woocommerce_background_image_regeneration', '__return_false');

// WooCommerce tells of a product that goes to the trash, but not of one that is deleted for good.
const DELETED_HOOK = 'store_product_deleted';
add_action('before_delete_post', static function ($post_id, $post = null): void {
    $post ??= get_post($post_id);
    if ($post && $post->post_type === 'product' && $post->post_status !== 'auto-draft') {
        do_action(DELETED_HOOK, (int) $post_id);
    }
}, 10, 2);
add_filter('woocommerce_webhook_topic_hooks', static function ($hooks) {
    // The first is for deletion by WooCommerce's own objects, the second for the admin page and all else. The same
    // product is sent once per request.
    foreach (['woocommerce_before_delete_product', DELETED_HOOK] as $hook) {
        if (!in_array($hook, $hooks['product.deleted'] ?? [], true)) {
            $hooks['product.deleted'][] = $hook;
        }
    }
    return $hooks;
});
