<?php
/**
 * Orders in tables of their own, `wc_orders` and `woocommerce_order_items`. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Order_Data_Store
{
    public static function create_tables(): void
    {
        global $wpdb;
        $collate = $wpdb->get_charset_collate();
        $wpdb->query("CREATE TABLE IF NOT EXISTS {$wpdb->prefix}wc_orders (
            id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
            status VARCHAR(20) NOT NULL,
            currency VARCHAR(10) NOT NULL,
            type VARCHAR(20) NOT NULL DEFAULT 'shop_order',
            total_amount DECIMAL(26,8) NOT NULL,
            customer_id BIGINT UNSIGNED NOT NULL DEFAULT 0,
            billing_email VARCHAR(320) NOT NULL DEFAULT '',
            billing TEXT NOT NULL,
            payment_method VARCHAR(100) NOT NULL DEFAULT '',
            customer_note TEXT NOT NULL,
            ip_address VARCHAR(100) NOT NULL DEFAULT '',
            stock_reduced TINYINT NOT NULL DEFAULT 0,
            date_created_gmt DATETIME NOT NULL,
            date_updated_gmt DATETIME NOT NULL
        ) $collate");
        $wpdb->query("CREATE TABLE IF NOT EXISTS {$wpdb->prefix}woocommerce_order_items (
            order_item_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
            order_item_name TEXT NOT NULL,
            order_item_type VARCHAR(200) NOT NULL DEFAULT 'line_item',
            order_id BIGINT UNSIGNED NOT NULL,
            product_id BIGINT UNSIGNED NOT NULL,
            quantity INT NOT NULL,
            line_total DECIMAL(26,8) NOT NULL,
            KEY order_id (order_id)
        ) $collate");
    }

    public function create(&$order)
    {
        global $wpdb;
        $now = gmdate('Y-m-d H:i:s');
        $wpdb->insert("{$wpdb->prefix}wc_orders", $this->row($order) + ['date_created_gmt' => $now]);
        $order->set_id($wpdb->insert_id);
        foreach ($order->get_lines('edit') as $product_id => $line) {
            $wpdb->insert("{$wpdb->prefix}woocommerce_order_items", [
                'order_id' => $order->get_id(),
                'product_id' => $product_id,
                'order_item_name' => $line['name'],
                'quantity' => $line['quantity'],
                'line_total' => $line['total'],
            ]);
        }
        $order->set_date_created($now);
        $order->apply_changes();
        do_action('woocommerce_new_order', $order->get_id(), $order);
    }

    public function read(&$order)
    {
        global $wpdb;
        $query = "SELECT * FROM {$wpdb->prefix}wc_orders WHERE id = %d";
        $row = $wpdb->get_row($wpdb->prepare($query, $order->get_id()), ARRAY_A);
        if (!$row) {
            throw new Exception('Invalid order.');
        }
        $query = "SELECT * FROM {$wpdb->prefix}woocommerce_order_items WHERE order_id = %d";
        $lines = [];
        foreach ($wpdb->get_results($wpdb->prepare($query, $order->get_id()), ARRAY_A) as $line) {
            $lines[(int) $line['product_id']] = [
                'name' => $line['order_item_name'], 'quantity' => (int) $line['quantity'], 'total' => $line['line_total'],
            ];
        }
        $order->set_object_read(false);
        $order->set_props([
            'status' => substr($row['status'], 3),
            'currency' => $row['currency'],
            'total' => wc_format_decimal($row['total_amount'], wc_get_price_decimals()),
            'customer_id' => (int) $row['customer_id'],
            'billing' => json_decode($row['billing'], true),
            'payment_method' => $row['payment_method'],
            'customer_note' => $row['customer_note'],
            'customer_ip_address' => $row['ip_address'],
            'order_stock_reduced' => (bool) $row['stock_reduced'],
            'date_created' => $row['date_created_gmt'],
            'lines' => $lines,
        ]);
        $order->set_object_read(true);
    }

    public function update(&$order)
    {
        global $wpdb;
        $wpdb->update("{$wpdb->prefix}wc_orders", $this->row($order), ['id' => $order->get_id()]);
        $order->apply_changes();
        do_action('woocommerce_update_order', $order->get_id(), $order);
    }

    public function delete(&$order, $args = [])
    {
        global $wpdb;
        $id = $order->get_id();
        if (empty($args['force_delete'])) {
            $order->set_status('trash');
            $this->update($order);
            do_action('woocommerce_trash_order', $id);
            return;
        }
        do_action('woocommerce_before_delete_order', $id, $order);
        $wpdb->delete("{$wpdb->prefix}woocommerce_order_items", ['order_id' => $id]);
        $wpdb->delete("{$wpdb->prefix}wc_orders", ['id' => $id]);
        do_action('woocommerce_delete_order', $id);
    }

    /** @return list<int> ids, the newest first */
    public function page(int $page, int $per_page): array
    {
        global $wpdb;
        $query = "SELECT id FROM {$wpdb->prefix}wc_orders WHERE status <> 'wc-trash' ORDER BY id DESC LIMIT %d OFFSET %d";
        return array_map('intval', $wpdb->get_col($wpdb->prepare($query, $per_page, ($page - 1) * $per_page)));
    }

    private function row($order): array
    {
        return [
            'status' => 'wc-' . $order->get_status('edit'),
            'currency' => $order->get_currency('edit'),
            'total_amount' => $order->get_total('edit'),
            'customer_id' => $order->get_customer_id('edit'),
            'billing_email' => $order->get_billing_email('edit'),
            'billing' => wp_json_encode($order->get_billing('edit')),
            'payment_method' => $order->get_payment_method('edit'),
            'customer_note' => $order->get_customer_note('edit'),
            'ip_address' => $order->get_customer_ip_address('edit'),
            'stock_reduced' => (int) $order->get_order_stock_reduced('edit'),
            'date_updated_gmt' => gmdate('Y-m-d H:i:s'),
        ];
    }
}
