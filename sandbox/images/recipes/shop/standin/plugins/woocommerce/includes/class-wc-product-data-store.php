<?php
/**
 * Products as posts with meta values, and the hooks of their lives. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Product_Data_Store
{
    /** Meta key => property; true and false are kept as `yes` and `no`. */
    private const META = [
        '_sku' => 'sku',
        '_price' => 'price',
        '_regular_price' => 'regular_price',
        '_sale_price' => 'sale_price',
        'total_sales' => 'total_sales',
        '_manage_stock' => 'manage_stock',
        '_stock' => 'stock_quantity',
        '_stock_status' => 'stock_status',
        '_weight' => 'weight',
        '_virtual' => 'virtual',
        '_featured' => 'featured',
        '_visibility' => 'catalog_visibility',
        '_thumbnail_id' => 'image_id',
    ];

    public function create(&$product)
    {
        $id = wp_insert_post(wp_slash($this->post_fields($product)), true);
        if (is_wp_error($id)) {
            throw new Exception($id->get_error_message());
        }
        $product->set_id($id);
        $this->write_meta($product);
        $product->apply_changes();
        $this->read_dates($product);
        clean_post_cache($id);
        do_action('woocommerce_new_product', $id, $product);
    }

    public function read(&$product)
    {
        $post = get_post($product->get_id());
        if (!$post || $post->post_type !== 'product') {
            throw new Exception('Invalid product.');
        }
        $product->set_object_read(false);
        $product->set_props([
            'name' => $post->post_title,
            'slug' => $post->post_name,
            'status' => $post->post_status,
            'description' => $post->post_content,
            'short_description' => $post->post_excerpt,
        ]);
        foreach (self::META as $key => $property) {
            if (metadata_exists('post', $post->ID, $key)) {
                $product->{"set_$property"}(get_post_meta($post->ID, $key, true));
            }
        }
        $terms = get_the_terms($post->ID, 'product_cat');
        $product->set_category_ids(is_array($terms) ? wp_list_pluck($terms, 'term_id') : []);
        foreach (get_post_meta($post->ID) as $key => $values) {
            if (!isset(self::META[$key]) && !is_protected_meta($key, 'post')) {
                $product->update_meta_data($key, maybe_unserialize($values[0]));
            }
        }
        $this->read_dates($product);
        $product->set_object_read(true);
    }

    public function update(&$product)
    {
        $changes = $product->get_changes();
        $fields = ['name', 'slug', 'status', 'description', 'short_description', 'date_created'];
        if (array_intersect($fields, array_keys($changes))) {
            wp_update_post(wp_slash(['ID' => $product->get_id()] + $this->post_fields($product)));
        } else {
            // A change of a price alone changes no column of the post but this.
            $GLOBALS['wpdb']->update(
                $GLOBALS['wpdb']->posts,
                ['post_modified' => current_time('mysql'), 'post_modified_gmt' => current_time('mysql', true)],
                ['ID' => $product->get_id()],
            );
        }
        $this->write_meta($product);
        $product->apply_changes();
        clean_post_cache($product->get_id());
        $this->read_dates($product);
        do_action('woocommerce_update_product', $product->get_id(), $product);
    }

    public function delete(&$product, $args = [])
    {
        $id = $product->get_id();
        if (!empty($args['force_delete'])) {
            do_action('woocommerce_before_delete_product', $id);
            wp_delete_post($id, true);
            do_action('woocommerce_delete_product', $id);
        } else {
            wp_trash_post($id);
            do_action('woocommerce_trash_product', $id);
        }
    }

    private function post_fields($product): array
    {
        $fields = [
            'post_type' => 'product',
            'post_status' => $product->get_status('edit') ?: 'publish',
            'post_title' => $product->get_name('edit') ?: 'Product',
            'post_content' => $product->get_description('edit'),
            'post_excerpt' => $product->get_short_description('edit'),
            'post_name' => $product->get_slug('edit'),
            'comment_status' => 'closed',
            'ping_status' => 'closed',
        ];
        return $product->get_id() ? $fields : $fields + ['post_author' => get_current_user_id()];
    }

    private function write_meta($product): void
    {
        $id = $product->get_id();
        $changes = $product->get_changes();
        $known = (bool) get_post_meta($id, '_stock_status', true);
        foreach (self::META as $key => $property) {
            if (!$known || array_key_exists($property, $changes)) {
                $value = $product->{"get_$property"}('edit');
                update_post_meta($id, $key, is_bool($value) ? wc_bool_to_string($value) : wp_slash($value ?? ''));
            }
        }
        if (!$known || array_key_exists('category_ids', $changes)) {
            wp_set_object_terms($id, $product->get_category_ids('edit'), 'product_cat');
        }
        foreach ($product->all_meta() as $key => $value) {
            update_post_meta($id, $key, wp_slash($value));
        }
    }

    private function read_dates($product): void
    {
        $post = get_post($product->get_id());
        $read = $product->get_object_read();
        $product->set_object_read(false);
        $product->set_date_created($post->post_date);
        $product->set_date_modified($post->post_modified);
        $product->set_slug($post->post_name);
        $product->set_object_read($read);
    }
}
