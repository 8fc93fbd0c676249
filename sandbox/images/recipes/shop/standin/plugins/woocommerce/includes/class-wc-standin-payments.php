<?php
/**
 * Payment on delivery, the one method that works without anybody else. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Standin_Payments
{
    /** @return list<string> ids of the methods that are switched on */
    public static function enabled(): array
    {
        $settings = get_option('woocommerce_cod_settings', []);
        return ($settings['enabled'] ?? 'no') === 'yes' ? ['cod'] : [];
    }
}
