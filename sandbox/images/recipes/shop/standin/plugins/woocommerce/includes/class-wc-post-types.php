<?php
/**
 * The post type `product` and its categories. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Post_Types
{
    public static function hook(): void
    {
        add_action('init', [self::class, 'register'], 5);
    }

    public static function register(): void
    {
        if (post_type_exists('product')) {
            return;
        }
        do_action('woocommerce_register_post_type');
        $shop = wc_get_page_id('shop');
        register_post_type('product', [
            'labels' => ['name' => 'Products', 'singular_name' => 'Product', 'add_new_item' => 'Add new product'],
            'public' => true,
            'capability_type' => 'product',
            'map_meta_cap' => true,
            'menu_icon' => 'dashicons-cart',
            'hierarchical' => false,
            'rewrite' => ['slug' => 'product', 'with_front' => false],
            'has_archive' => $shop > 0 && get_post($shop) ? get_page_uri($shop) : 'shop',
            'supports' => ['title', 'editor', 'excerpt', 'thumbnail', 'custom-fields'],
        ]);
        register_taxonomy('product_cat', ['product'], [
            'label' => 'Categories',
            'hierarchical' => true,
            'rewrite' => ['slug' => 'product-category', 'with_front' => false],
            'capabilities' => [
                'manage_terms' => 'manage_product_terms',
                'edit_terms' => 'edit_product_terms',
                'delete_terms' => 'delete_product_terms',
                'assign_terms' => 'assign_product_terms',
            ],
        ]);
        do_action('woocommerce_after_register_post_type');
    }

    /** What a role must be allowed to look after products and orders. */
    public static function capabilities(): array
    {
        $found = [];
        foreach (['product', 'shop_order', 'shop_webhook'] as $type) {
            foreach (
                ['edit_%s', 'read_%s', 'delete_%s', 'edit_%ss', 'edit_others_%ss', 'publish_%ss', 'read_private_%ss',
                    'delete_%ss', 'delete_private_%ss', 'delete_published_%ss', 'delete_others_%ss',
                    'edit_private_%ss', 'edit_published_%ss', 'manage_%s_terms', 'edit_%s_terms', 'delete_%s_terms',
                    'assign_%s_terms'] as $pattern
            ) {
                $found[] = sprintf($pattern, $type);
            }
        }
        return $found;
    }
}
