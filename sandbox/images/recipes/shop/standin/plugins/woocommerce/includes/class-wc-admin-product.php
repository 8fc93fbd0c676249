<?php
/**
 * Products in the admin page: a box with prices and stock, and that this is a stand-in.
 * License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Admin_Product
{
    private const NONCE = 'woocommerce_meta_nonce';
    private const FIELDS = [
        '_regular_price' => ['regular_price', 'Regular price'],
        '_sale_price' => ['sale_price', 'Sale price'],
        '_sku' => ['sku', 'SKU'],
        '_stock' => ['stock_quantity', 'Stock (empty: not managed)'],
    ];

    public static function hook(): void
    {
        add_action('add_meta_boxes_product', static function (): void {
            add_meta_box('woocommerce-product-data', 'Product data', [self::class, 'box'], 'product', 'normal', 'high');
        });
        add_action('save_post_product', [self::class, 'saved'], 10, 2);
        add_action('admin_notices', static function (): void {
            echo '<div class="notice notice-info"><p>WooCommerce stand-in ' . esc_html(WC_VERSION)
                . ': for trying out the platform. It sells nothing.</p></div>';
        });
        add_action('admin_init', static function (): void {
            if (get_option('woocommerce_newly_installed') === 'yes') {
                WC_Install::newly_installed();
            }
        });
    }

    public static function box(WP_Post $post): void
    {
        $product = wc_get_product($post);
        wp_nonce_field('woocommerce_save_data', self::NONCE);
        foreach (self::FIELDS as $key => [$property, $label]) {
            printf(
                '<p><label>%s <input name="%s" value="%s"></label></p>',
                esc_html($label),
                esc_attr($key),
                esc_attr((string) ($product ? $product->{"get_$property"}('edit') : '')),
            );
        }
    }

    public static function saved(int $id, WP_Post $post): void
    {
        $nonce = sanitize_text_field(wp_unslash($_POST[self::NONCE] ?? ''));
        if (wp_is_post_autosave($id) || !wp_verify_nonce($nonce, 'woocommerce_save_data') || !current_user_can('edit_post', $id)) {
            return;
        }
        remove_action('save_post_product', [self::class, 'saved'], 10);
        $product = new WC_Product_Simple($id);
        foreach (self::FIELDS as $key => [$property]) {
            if (isset($_POST[$key])) {
                $product->{"set_$property"}(wc_clean(wp_unslash($_POST[$key])));
            }
        }
        $product->set_manage_stock($product->get_stock_quantity('edit') !== null);
        $product->save();
        do_action('woocommerce_process_product_meta', $id, $post);
        add_action('save_post_product', [self::class, 'saved'], 10, 2);
    }
}
