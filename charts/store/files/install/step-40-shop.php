<?php
/**
 * The shop can sell: country, currency, a payment method, its pages; and nothing that asks or calls home.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';
require __DIR__ . '/declared.php';

pretend_request();
require '/var/www/html/wp-load.php';

/** The addresses of all post types are known, also those of plugins that are new. */
function know_addresses(): void
{
    $known = [get_option('permalink_structure'), get_option('active_plugins'), get_option('woocommerce_shop_page_id')];
    $known[] = get_option('woocommerce_version');
    declare_setting('addresses', hash('sha256', serialize($known)), static function (): void {
        // false: the image brings its own .htaccess.
        flush_rewrite_rules(false);
    }, quietly: true);
}

$settings = settings();
if (!class_exists('WooCommerce')) {
    know_addresses();
    say('the shop has no WooCommerce: woocommerce.enabled is false');
    done();
}

[$country] = explode(':', $settings['country']);
if (isset(WC()->countries) && !WC()->countries->country_exists($country)) {
    refuse_for_good("store.country: WooCommerce knows no country $country", 'write a code of two letters, such as DE');
}
if (function_exists('get_woocommerce_currencies') && !isset(get_woocommerce_currencies()[$settings['currency']])) {
    refuse_for_good("store.currency: WooCommerce knows no currency {$settings['currency']}", 'write a code such as EUR');
}
declare_option('country', 'woocommerce_default_country', $settings['country']);
declare_option('currency', 'woocommerce_currency', $settings['currency']);

declare_option('coming soon', 'woocommerce_coming_soon', 'no');
declare_option('coming soon pages', 'woocommerce_store_pages_only', 'no');
declare_option('tracking', 'woocommerce_allow_tracking', 'no');
declare_option('marketplace suggestions', 'woocommerce_show_marketplace_suggestions', 'no');
declare_option('set-up wizard', 'woocommerce_onboarding_profile', ['completed' => true, 'skipped' => true]);
declare_option('task list hidden', 'woocommerce_task_list_hidden', 'yes');
delete_transient('_wc_activation_redirect');
declare_setting('payment', 'cash on delivery', static function (): void {
    $cash = get_option('woocommerce_cod_settings', []);
    $cash = array_merge(['title' => 'Cash on delivery'], is_array($cash) ? $cash : [], ['enabled' => 'yes']);
    update_option('woocommerce_cod_settings', $cash);
});

// An installer of WooCommerce that was killed may have left a shop without its pages.
foreach (['shop', 'cart', 'checkout', 'myaccount'] as $page) {
    if (!get_post((int) get_option("woocommerce_{$page}_page_id"))) {
        WC_Install::create_pages();
        say("the page $page was missing; WooCommerce made it");
        break;
    }
}
know_addresses();
done();
