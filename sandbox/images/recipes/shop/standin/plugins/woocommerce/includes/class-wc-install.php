<?php
/**
 * What an activation makes: options, roles, pages. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Install
{
    private const PAGES = [
        // option => [slug, title, content, status]
        'shop' => ['shop', 'Shop', '', 'publish'],
        'cart' => ['cart', 'Cart', '[woocommerce_cart]', 'publish'],
        'checkout' => ['checkout', 'Checkout', '[woocommerce_checkout]', 'publish'],
        'myaccount' => ['my-account', 'My account', '[woocommerce_my_account]', 'publish'],
        'refund_returns' => ['refund_returns', 'Refund and Returns Policy', 'To be written by the merchant.', 'draft'],
    ];

    private const CAPABILITIES = ['manage_woocommerce', 'view_woocommerce_reports'];

    /** After an update of the plugin's files: what the new version needs in the database. */
    public static function check_version(): void
    {
        if (get_option('woocommerce_version') !== false && get_option('woocommerce_version') !== WC_VERSION) {
            self::install();
        }
    }

    /** Everything is there that the plugin needs. It may run any number of times. */
    public static function install(): void
    {
        $new = get_option('woocommerce_version') === false;
        if ($new) {
            add_option('woocommerce_newly_installed', 'yes', '', false);
            set_transient('_wc_activation_redirect', 1, 30);
        }
        self::create_options();
        self::create_roles();
        WC_Post_Types::register();
        if (get_option('woocommerce_db_version', '') === '') {
            self::create_pages();
        }
        do_action('woocommerce_install_tables');
        update_option('woocommerce_version', WC_VERSION);
        update_option('woocommerce_db_version', WC_VERSION);
        do_action('woocommerce_installed');
    }

    /** What only a new shop gets: orders in tables of their own, and a curtain before the shop. */
    public static function newly_installed(): void
    {
        if (get_option('woocommerce_newly_installed') !== 'yes') {
            return;
        }
        add_option('woocommerce_coming_soon', 'yes');
        add_option('woocommerce_store_pages_only', 'yes');
        update_option('woocommerce_custom_orders_table_enabled', 'yes');
        do_action('woocommerce_newly_installed');
        update_option('woocommerce_newly_installed', 'no');
    }

    /** The pages of the shop exist, and their options name them. */
    public static function create_pages(): void
    {
        foreach (self::PAGES as $name => [$slug, $title, $content, $status]) {
            $option = "woocommerce_{$name}_page_id";
            $id = (int) get_option($option);
            if ($id > 0 && get_post($id)) {
                continue;
            }
            $found = get_page_by_path($slug);
            $id = $found ? $found->ID : wp_insert_post([
                'post_type' => 'page',
                'post_status' => $status,
                'post_name' => $slug,
                'post_title' => $title,
                'post_content' => $content,
                'comment_status' => 'closed',
            ]);
            update_option($option, $id);
        }
    }

    private static function create_options(): void
    {
        $defaults = [
            'woocommerce_default_country' => 'US:CA',
            'woocommerce_currency' => 'USD',
            'woocommerce_allow_tracking' => 'no',
            'woocommerce_show_marketplace_suggestions' => 'yes',
            'woocommerce_custom_orders_table_enabled' => 'no',
            'woocommerce_price_num_decimals' => '2',
            'woocommerce_manage_stock' => 'yes',
        ];
        foreach ($defaults as $name => $value) {
            add_option($name, $value);
        }
    }

    private static function create_roles(): void
    {
        add_role('customer', 'Customer', ['read' => true]);
        add_role('shop_manager', 'Shop manager', get_role('editor') ? get_role('editor')->capabilities : []);
        $capabilities = array_merge(self::CAPABILITIES, WC_Post_Types::capabilities());
        foreach (['administrator', 'shop_manager'] as $name) {
            $role = get_role($name);
            foreach ($role ? $capabilities : [] as $capability) {
                $role->add_cap($capability);
            }
        }
    }
}
