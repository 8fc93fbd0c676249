<?php
/**
 * /wp-json/wc/v3/orders: read, change the status of, and delete orders. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_REST_Orders_Controller extends WP_REST_Controller
{
    public function register_routes()
    {
        $page = ['type' => 'integer', 'default' => 1, 'minimum' => 1];
        register_rest_route('wc/v3', '/orders', [
            $this->endpoint('GET', 'get_items', ['page' => $page, 'per_page' => ['default' => 10, 'maximum' => 100] + $page]),
        ]);
        register_rest_route('wc/v3', '/orders/(?P<id>[\d]+)', [
            $this->endpoint('GET', 'get_item'),
            $this->endpoint('POST, PUT, PATCH', 'update_item', [
                'status' => ['type' => 'string', 'enum' => array_keys(wc_get_order_statuses())],
            ]),
            $this->endpoint('DELETE', 'delete_item', ['force' => ['type' => 'boolean', 'default' => false]]),
        ]);
    }

    public function get_items($request)
    {
        $ids = WC_Data_Store::load('order')->page($request['page'], $request['per_page']);
        return rest_ensure_response(array_map(fn ($id) => $this->data(wc_get_order($id)), $ids));
    }

    public function get_item($request)
    {
        $order = wc_get_order($request['id']);
        return $order ? rest_ensure_response($this->data($order)) : $this->missing();
    }

    public function update_item($request)
    {
        $order = wc_get_order($request['id']);
        if (!$order) {
            return $this->missing();
        }
        if (isset($request['status'])) {
            $order->update_status($request['status']);
        }
        return rest_ensure_response($this->data(wc_get_order($order->get_id())));
    }

    public function delete_item($request)
    {
        $order = wc_get_order($request['id']);
        if (!$order) {
            return $this->missing();
        }
        $data = $this->data($order);
        $order->delete($request['force']);
        return rest_ensure_response($data);
    }

    private function data(WC_Order $order): array
    {
        $lines = [];
        foreach ($order->get_lines() as $id => $line) {
            $lines[] = ['product_id' => $id, 'name' => $line['name'], 'quantity' => $line['quantity'], 'total' => $line['total']];
        }
        return [
            'id' => $order->get_id(),
            'number' => $order->get_order_number(),
            'status' => $order->get_status(),
            'currency' => $order->get_currency(),
            'total' => $order->get_total(),
            'customer_id' => $order->get_customer_id(),
            'customer_ip_address' => $order->get_customer_ip_address(),
            'customer_note' => $order->get_customer_note(),
            'billing' => $order->get_billing(),
            'payment_method' => $order->get_payment_method(),
            'date_created_gmt' => mysql_to_rfc3339($order->get_date_created()),
            'line_items' => $lines,
        ];
    }

    private function missing(): WP_Error
    {
        return new WP_Error('woocommerce_rest_shop_order_invalid_id', 'Invalid ID.', ['status' => 404]);
    }

    private function endpoint(string $methods, string $callback, array $args = []): array
    {
        return [
            'methods' => $methods,
            'callback' => [$this, $callback],
            'permission_callback' => static fn () => current_user_can('manage_woocommerce'),
            'args' => $args,
        ];
    }
}
