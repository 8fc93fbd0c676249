<?php
/**
 * Finds the store of one kind of objects by name. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Data_Store
{
    private const STORES = [
        'product' => 'WC_Product_Data_Store',
        'webhook' => 'WC_Webhook_Data_Store',
        'order' => 'WC_Order_Data_Store',
    ];

    /** The store itself; the real plugin returns it in a wrapper that passes every call on. */
    public static function load($object_type)
    {
        $stores = apply_filters('woocommerce_data_stores', self::STORES);
        $class = $stores[$object_type] ?? '';
        if (!$class || !class_exists($class)) {
            throw new Exception("Invalid data store: $object_type");
        }
        return new $class();
    }
}
