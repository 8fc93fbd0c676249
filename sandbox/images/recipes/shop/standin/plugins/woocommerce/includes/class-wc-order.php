<?php
/**
 * An order: who buys what. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Order extends WC_Data
{
    protected $object_type = 'order';
    protected $data = [
        'status' => 'pending',
        'currency' => '',
        'total' => '0',
        'customer_id' => 0,
        'billing' => [],
        'payment_method' => '',
        'customer_note' => '',
        'customer_ip_address' => '',
        'order_stock_reduced' => false,
        'date_created' => null,
        // product id => quantity, name, total
        'lines' => [],
    ];

    public function get_order_number()
    {
        return (string) $this->get_id();
    }

    public function get_billing_email($context = 'view')
    {
        return $this->get_billing($context)['email'] ?? '';
    }

    public function has_status($status)
    {
        return in_array($this->get_status(), (array) $status, true);
    }

    /** The new status is saved, and what hangs on it has happened: stock, mail. */
    public function update_status($status, $note = '', $manual = false)
    {
        $from = $this->get_status('edit');
        $this->set_status($status);
        $this->save();
        if ($from !== $status) {
            do_action("woocommerce_order_status_$status", $this->get_id(), $this);
            do_action('woocommerce_order_status_changed', $this->get_id(), $from, $status, $this);
        }
        return true;
    }
}
