<?php
/**
 * WordPress' declared settings are in the shop: title, address, language, time zone.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';
require __DIR__ . '/declared.php';

pretend_request();
require '/var/www/html/wp-load.php';

if (!is_blog_installed()) {
    refuse('WordPress is not installed', 'step-10-core.php must run first');
}

$settings = settings();

declare_setting('permalinks', '/%postname%/', static function (string $structure): void {
    global $wp_rewrite;
    $wp_rewrite->set_permalink_structure($structure);
    // false: the image brings its own .htaccess.
    flush_rewrite_rules(false);
});
declare_option('title', 'blogname', $settings['title']);
declare_setting('adminEmail', $settings['adminEmail'], static function (string $email) use ($settings): void {
    update_option('admin_email', $email);
    $user = get_user_by('login', $settings['adminUser']);
    if ($user && $user->user_email !== $email) {
        add_filter('send_email_change_email', '__return_false');
        $result = wp_update_user(['ID' => $user->ID, 'user_email' => $email]);
        if (is_wp_error($result)) {
            refuse_for_good("the administrator's mail address: {$result->get_error_message()}", 'change store.adminEmail');
        }
    }
});
declare_setting('timezone', $settings['timezone'], static function (string $timezone): void {
    if (!in_array($timezone, timezone_identifiers_list(DateTimeZone::ALL_WITH_BC), true)) {
        refuse_for_good("store.timezone: PHP knows no time zone $timezone", 'write one like Europe/Berlin');
    }
    update_option('timezone_string', $timezone);
    update_option('gmt_offset', '');
});
// WordPress takes no language whose pack is missing. Said at each start, for it is true at each start.
$locale = $settings['locale'] === 'en_US' ? '' : $settings['locale'];
if ($locale === '' || in_array($locale, get_available_languages(), true)) {
    declare_setting('locale', $settings['locale'], static function () use ($locale): void {
        update_option('WPLANG', $locale);
    });
} else {
    say("there is no language pack $locale in wp-content/languages: texts are in English until the image has it");
}
done();
