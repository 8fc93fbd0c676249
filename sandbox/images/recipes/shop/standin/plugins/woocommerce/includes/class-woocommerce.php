<?php
/**
 * The plugin as one object: what is loaded when. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

final class WooCommerce
{
    public string $version = WC_VERSION;

    private static ?self $instance = null;

    public static function instance(): self
    {
        return self::$instance ??= new self();
    }

    private function __construct()
    {
        add_action('plugins_loaded', static fn () => do_action('woocommerce_loaded'), -1);
        add_action('init', [$this, 'init'], 0);
        add_action('init', ['WC_Install', 'check_version'], 5);
        WC_Post_Types::hook();
        WC_Template::hook();
        WC_Admin_Product::hook();
        add_action('rest_api_init', static function (): void {
            (new WC_REST_Products_Controller())->register_routes();
            (new WC_Store_Api())->register_routes();
        });
    }

    public function init(): void
    {
        do_action('before_woocommerce_init');
        do_action('woocommerce_init');
    }

    /** Answers a request to the REST interface from inside, as the data of the answer or as an error. */
    public function rest(string $path)
    {
        $response = rest_do_request(new WP_REST_Request('GET', $path));
        return $response->is_error() ? $response->as_error() : rest_get_server()->response_to_data($response, false);
    }
}
