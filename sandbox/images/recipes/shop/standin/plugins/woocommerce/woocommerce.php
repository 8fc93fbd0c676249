<?php
/**
 * Plugin Name: WooCommerce stand-in
 * Description: Stands in for WooCommerce where it cannot be downloaded: the same names, hooks, options and addresses, as far as the platform and its tests use them. It sells nothing.
 * Version: 11.0.1-standin
 * Requires at least: 6.9
 * Requires PHP: 7.4
 * License: GPL-2.0-or-later
 * License URI: https://www.gnu.org/licenses/gpl-2.0.html
 * Text Domain: woocommerce
 *
 * Written from WooCommerce's documented interface and from what was observed of it; no code of it is in here.
 */

defined('ABSPATH') || exit;

define('WC_STANDIN', true);
define('WC_VERSION', '11.0.1-standin');
define('WOOCOMMERCE_VERSION', WC_VERSION);
define('WC_PLUGIN_FILE', __FILE__);
define('WC_ABSPATH', __DIR__ . '/');
define('WC_PLUGIN_BASENAME', plugin_basename(__FILE__));

// A class WC_Some_Thing is in includes/class-wc-some-thing.php, or abstract-wc-some-thing.php.
spl_autoload_register(static function (string $class): void {
    if (stripos($class, 'WC_') !== 0 && $class !== 'WooCommerce' && stripos($class, 'ActionScheduler') !== 0) {
        return;
    }
    $name = str_replace('_', '-', strtolower($class));
    foreach (['class', 'abstract'] as $kind) {
        $file = __DIR__ . "/includes/$kind-$name.php";
        if (is_file($file)) {
            require_once $file;
            return;
        }
    }
});

// Everything else is functions and hooks.
foreach (glob(__DIR__ . '/includes/*.php') as $wc_standin_file) {
    if (!preg_match('/^(class|abstract)-/', basename($wc_standin_file))) {
        require_once $wc_standin_file;
    }
}
unset($wc_standin_file);

/** The one object of the plugin. */
function WC(): WooCommerce
{
    return WooCommerce::instance();
}

register_activation_hook(__FILE__, ['WC_Install', 'install']);
WC();
