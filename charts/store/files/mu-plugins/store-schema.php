<?php
/**
 * Plugin Name: Store platform: database
 * Description: WooCommerce updates its tables when all pods of the shop run the new version, and not at the first page view.
 * License:     GPL-2.0-or-later
 *
 * files/schema/update-woocommerce.php runs the update, and says so by STORE_SCHEMA_UPDATE. A first installation is not an
 * update: WooCommerce makes its tables when it is activated.
 */

declare(strict_types=1);

namespace StorePlatform;

/** Not by its queue either: its steps would run while pods of the version before still serve. */
add_filter('woocommerce_enable_auto_update_db', '__return_false', 1000);

add_action('plugins_loaded', static function (): void {
    if (defined('STORE_SCHEMA_UPDATE') || get_option('woocommerce_version') === false) {
        return;
    }
    remove_action('init', ['WC_Install', 'check_version'], 5);
}, 1000);
