<?php
/**
 * Finding products, and their stock. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

/** The product, or false. */
function wc_get_product($product = false)
{
    if ($product === false) {
        $product = $GLOBALS['post'] ?? 0;
    }
    if ($product instanceof WC_Product) {
        return $product;
    }
    $id = $product instanceof WP_Post ? $product->ID : (int) $product;
    if ($id <= 0 || get_post_type($id) !== 'product') {
        return false;
    }
    return new WC_Product_Simple($id);
}

/** Products, or their ids, by `status`, `limit`, `page`, `search`, `sku`, `include`, `order`, `return`. */
function wc_get_products($args = [])
{
    $args += ['status' => 'publish', 'limit' => 10, 'page' => 1, 'order' => 'DESC', 'orderby' => 'date'];
    $query = [
        'post_type' => 'product',
        'post_status' => $args['status'],
        'posts_per_page' => (int) $args['limit'],
        'paged' => (int) $args['page'],
        'order' => $args['order'],
        'orderby' => $args['orderby'],
        'fields' => 'ids',
    ];
    if (!empty($args['search'])) {
        $query['s'] = $args['search'];
    }
    if (!empty($args['include'])) {
        $query['post__in'] = array_map('intval', (array) $args['include']);
    }
    if (isset($args['sku']) && $args['sku'] !== '') {
        $query['meta_query'] = [['key' => '_sku', 'value' => $args['sku']]];
    }
    $found = new WP_Query($query);
    $products = ($args['return'] ?? '') === 'ids' ? $found->posts : array_map('wc_get_product', $found->posts);
    if (empty($args['paginate'])) {
        return $products;
    }
    return (object) ['products' => $products, 'total' => $found->found_posts, 'max_num_pages' => $found->max_num_pages];
}

function wc_get_product_id_by_sku($sku)
{
    global $wpdb;
    return (int) $wpdb->get_var($wpdb->prepare(
        "SELECT p.ID FROM $wpdb->posts p JOIN $wpdb->postmeta m ON m.post_id = p.ID AND m.meta_key = '_sku'"
        . " WHERE p.post_type = 'product' AND p.post_status <> 'trash' AND m.meta_value = %s LIMIT 1",
        $sku,
    ));
}

/** Sets, increases or decreases the stock in one statement, so that two orders at once cannot lose one. */
function wc_update_product_stock($product, $quantity = null, $operation = 'set', $updating = false)
{
    global $wpdb;
    $product = wc_get_product($product);
    if (!$product || $quantity === null || !$product->managing_stock()) {
        return $product ? $product->get_stock_quantity() : false;
    }
    do_action('woocommerce_product_before_set_stock', $product);
    $value = ['set' => '%d', 'increase' => 'meta_value + %d', 'decrease' => 'meta_value - %d'][$operation];
    $sql = $wpdb->prepare(
        "UPDATE $wpdb->postmeta SET meta_value = $value WHERE post_id = %d AND meta_key = '_stock'",
        $quantity,
        $product->get_id(),
    );
    $stock = (int) $product->get_stock_quantity();
    $expected = ['set' => $quantity, 'increase' => $stock + $quantity, 'decrease' => $stock - $quantity][$operation];
    $wpdb->query(apply_filters(
        'woocommerce_update_product_stock_query',
        $sql,
        $product->get_id(),
        $expected,
        $operation,
    ));
    wp_cache_delete($product->get_id(), 'post_meta');
    do_action('woocommerce_updated_product_stock', $product->get_id());
    $product = wc_get_product($product->get_id());
    $status = $product->get_stock_quantity() > 0 ? 'instock' : 'outofstock';
    if ($product->get_stock_status() !== $status) {
        update_post_meta($product->get_id(), '_stock_status', $status);
        $product = wc_get_product($product->get_id());
    }
    do_action('woocommerce_product_set_stock', $product);
    do_action('woocommerce_update_product', $product->get_id(), $product);
    return $product->get_stock_quantity();
}
