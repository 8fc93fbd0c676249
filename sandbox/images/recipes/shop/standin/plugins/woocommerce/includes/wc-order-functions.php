<?php
/**
 * Orders, their stock and their mail. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

/** The order, or false. */
function wc_get_order($order = false)
{
    if ($order instanceof WC_Order) {
        return $order;
    }
    try {
        $found = new WC_Order((int) $order);
    } catch (Exception $error) {
        return false;
    }
    return $found->get_id() > 0 ? $found : false;
}

function wc_get_order_statuses()
{
    return [
        'pending' => 'Pending payment', 'processing' => 'Processing', 'on-hold' => 'On hold', 'completed' => 'Completed',
        'cancelled' => 'Cancelled', 'refunded' => 'Refunded', 'failed' => 'Failed',
    ];
}

/** What the order takes is no longer in stock: once. */
function wc_reduce_stock_levels($order_id)
{
    wc_standin_move_stock($order_id, true);
}

/** What a cancelled order had taken is in stock again: once. */
function wc_increase_stock_levels($order_id)
{
    wc_standin_move_stock($order_id, false);
}

function wc_standin_move_stock($order_id, bool $reduce): void
{
    $order = wc_get_order($order_id);
    $filter = $reduce ? 'woocommerce_can_reduce_order_stock' : 'woocommerce_can_restore_order_stock';
    if (
        !$order || $order->get_order_stock_reduced() === $reduce || get_option('woocommerce_manage_stock') !== 'yes'
        || !apply_filters($filter, true, $order)
    ) {
        return;
    }
    foreach ($order->get_lines() as $product_id => $line) {
        wc_update_product_stock($product_id, $line['quantity'], $reduce ? 'decrease' : 'increase');
    }
    $order->set_order_stock_reduced($reduce);
    $order->save();
    do_action($reduce ? 'woocommerce_reduce_order_stock' : 'woocommerce_restore_order_stock', $order);
}

/** Merchant and customer are told of a new order. That a mail does not leave is no failure of the order. */
function wc_standin_mail_new_order($order_id): void
{
    $order = wc_get_order($order_id);
    $shop = wp_specialchars_decode(get_option('blogname'), ENT_QUOTES);
    $lines = '';
    foreach ($order->get_lines() as $line) {
        $lines .= "{$line['quantity']} x {$line['name']}: {$line['total']} {$order->get_currency()}\n";
    }
    $billing = $order->get_billing();
    $name = trim(($billing['first_name'] ?? '') . ' ' . ($billing['last_name'] ?? ''));
    $text = "{$lines}Total: {$order->get_total()} {$order->get_currency()}\nPayment on delivery\n\n$name\n"
        . "{$order->get_billing_email()}\n";
    $number = $order->get_order_number();
    $merchant = get_option('woocommerce_new_order_recipient', get_option('admin_email'));
    wp_mail($merchant, "[$shop]: New order #$number", "New order #$number of $name:\n\n$text");
    if ($order->get_billing_email() !== '') {
        wp_mail($order->get_billing_email(), "Your $shop order has been received!", "Thank you for your order.\n\n$text");
    }
}

add_action('woocommerce_install_tables', ['WC_Order_Data_Store', 'create_tables']);
add_action('woocommerce_order_status_processing', 'wc_reduce_stock_levels');
add_action('woocommerce_order_status_processing', 'wc_standin_mail_new_order', 20);
add_action('woocommerce_order_status_cancelled', 'wc_increase_stock_levels');
add_action('rest_api_init', static function (): void {
    (new WC_Standin_Checkout())->register_routes();
    (new WC_REST_Orders_Controller())->register_routes();
});
