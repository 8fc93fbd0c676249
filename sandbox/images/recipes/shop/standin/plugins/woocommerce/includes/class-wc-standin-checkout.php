<?php
/**
 * /wp-json/wc/store/v1/checkout: a cart becomes an order. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Standin_Checkout
{
    private const REQUIRED = ['first_name', 'last_name', 'address_1', 'city', 'country', 'email'];

    public function register_routes(): void
    {
        register_rest_route(WC_Store_Api::NAMESPACE, '/checkout', [
            'methods' => 'POST',
            'callback' => [$this, 'place'],
            'permission_callback' => '__return_true',
            'args' => [
                'billing_address' => ['type' => 'object', 'required' => true],
                'payment_method' => ['type' => 'string', 'required' => true],
                'customer_note' => ['type' => 'string', 'default' => ''],
            ],
        ]);
    }

    /** The order is placed, its stock is taken, its mail is on the way, and the cart is empty. */
    public function place($request)
    {
        $cart = WC_Store_Api::cart_of($request);
        $refusal = WC_Store_Api::refusal($request) ?? $this->refusal($request, $cart);
        if ($refusal) {
            return $refusal;
        }
        $order = new WC_Order();
        $lines = [];
        foreach ($cart->get_cart() as $id => $quantity) {
            $product = wc_get_product($id);
            $total = wc_format_decimal((float) $product->get_price() * $quantity, wc_get_price_decimals());
            $lines[$id] = ['name' => $product->get_name(), 'quantity' => $quantity, 'total' => $total];
        }
        $order->set_props([
            'currency' => get_woocommerce_currency(),
            'total' => wc_format_decimal($cart->total(), wc_get_price_decimals()),
            'customer_id' => get_current_user_id(),
            'billing' => array_map('wc_clean', $request['billing_address']),
            'payment_method' => $request['payment_method'],
            'customer_note' => wc_clean($request['customer_note']),
            'customer_ip_address' => wc_clean($_SERVER['REMOTE_ADDR'] ?? ''),
            'lines' => $lines,
        ]);
        $order->save();
        do_action('woocommerce_store_api_checkout_order_processed', $order);
        $order->update_status('processing');
        $cart->empty_cart();
        return WC_Store_Api::with_headers(new WP_REST_Response([
            'order_id' => $order->get_id(),
            'status' => $order->get_status(),
            'order_key' => '',
            'customer_id' => $order->get_customer_id(),
            'billing_address' => $order->get_billing(),
            'payment_method' => $order->get_payment_method(),
            'payment_result' => ['payment_status' => 'success', 'payment_details' => [], 'redirect_url' => home_url('/')],
        ]), $cart);
    }

    private function refusal($request, WC_Cart $cart): ?WP_Error
    {
        if ($cart->is_empty()) {
            return new WP_Error('woocommerce_rest_cart_empty', 'Cannot create order from empty cart.', ['status' => 400]);
        }
        if (!in_array($request['payment_method'], WC_Standin_Payments::enabled(), true)) {
            $message = 'Invalid payment method provided.';
            return new WP_Error('woocommerce_rest_checkout_payment_method_disabled', $message, ['status' => 400]);
        }
        foreach (self::REQUIRED as $field) {
            if (trim((string) ($request['billing_address'][$field] ?? '')) === '') {
                $message = "There was a problem with the provided billing address: $field is required";
                return new WP_Error('woocommerce_rest_invalid_address', $message, ['status' => 400]);
            }
        }
        if (!is_email($request['billing_address']['email'])) {
            $message = 'The provided email address is not valid';
            return new WP_Error('woocommerce_rest_invalid_email_address', $message, ['status' => 400]);
        }
        foreach ($cart->get_cart() as $id => $quantity) {
            $product = wc_get_product($id);
            if ($product->managing_stock() && $product->get_stock_quantity() < $quantity) {
                $message = "There is not enough stock of \"{$product->get_name()}\".";
                return new WP_Error('woocommerce_rest_product_partially_out_of_stock', $message, ['status' => 409]);
            }
        }
        return null;
    }
}
