<?php
/**
 * WooCommerce's tables and options are what its code needs, as its own command line makes them.
 *
 * Not by its queue, which would spread the updates over the next page views.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';

/** How often one of its updates may ask to be run again: each time it does a batch. */
const MOST_BATCHES = 10_000;

define('STORE_SCHEMA_UPDATE', true);
pretend_request();
require '/var/www/html/wp-load.php';

if (!class_exists('WC_Install')) {
    done();
}
if (is_callable(['WC_Install', 'check_version'])) {
    WC_Install::check_version();
}
if (is_callable(['WC_Install', 'get_db_update_callbacks']) && is_callable(['WC_Install', 'update_db_version'])) {
    $functions = WC_ABSPATH . 'includes/wc-update-functions.php';
    if (is_file($functions)) {
        require_once $functions;
    }
    $from = (string) get_option('woocommerce_db_version');
    foreach (WC_Install::get_db_update_callbacks() as $version => $callbacks) {
        if (version_compare($from, (string) $version, '>=')) {
            continue;
        }
        foreach ($callbacks as $callback) {
            for ($batch = 0; call_user_func($callback); $batch++) {
                if ($batch >= MOST_BATCHES) {
                    refuse("WooCommerce's $callback does not come to an end", 'see its log');
                }
            }
        }
    }
    WC_Install::update_db_version();
}
done();
