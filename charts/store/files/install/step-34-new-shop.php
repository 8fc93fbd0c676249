<?php
/**
 * A new shop has its orders in tables of their own (HPOS), and no curtain before it.
 *
 * WooCommerce does this on the first visit of the admin page, and leaves the tables out if there is an order by then.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';

$db = connect_once();
if ($db->connect_errno !== 0) {
    refuse("MariaDB: {$db->connect_error}", 'look at the log of its pod');
}
// Asked without WordPress, because after the first time the answer is no.
$waiting = $db->query(
    "SELECT 1 FROM wp_options WHERE option_name = 'woocommerce_newly_installed' AND option_value = 'yes'",
);
if ($waiting === false || $waiting->num_rows === 0) {
    done();
}

pretend_request();
require '/var/www/html/wp-load.php';

if (!class_exists('WC_Install')) {
    done();
}
// Before: it adds these with `yes` where they are not there yet.
update_option('woocommerce_coming_soon', 'no');
update_option('woocommerce_store_pages_only', 'no');
WC_Install::newly_installed();
if (get_option('woocommerce_custom_orders_table_enabled') !== 'yes') {
    refuse('WooCommerce did not make its tables for orders', 'the lines above tell why');
}
say('orders have tables of their own');
done();
