<?php
/**
 * Every declared plugin is active, and the declared theme is the shop's; a plugin no longer declared is not active.
 *
 * WooCommerce is active at each start. For all else a merchant's own choice lasts until the declared version changes.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';
require __DIR__ . '/declared.php';
require __DIR__ . '/headers.php';

pretend_request();
require '/var/www/html/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/plugin.php';

/** The plugin is active; its own installer has run, if it has one. */
function activate(string $slug, string $value): void
{
    // The one whose version was compared.
    $main = main_file(WP_PLUGIN_DIR . "/$slug");
    if ($main === null) {
        refuse_for_good("plugin $slug: WordPress finds none in wp-content/plugins/$slug", "correct $value");
    }
    $file = "$slug/" . basename($main);
    if (is_plugin_active($file)) {
        return;
    }
    $result = activate_plugin($file);
    if (is_wp_error($result)) {
        refuse("plugin $slug cannot be activated: {$result->get_error_message()}", "choose another version in $value");
    }
    say("plugin $slug is active");
}

$packages = settings()['packages'];
$plugins = array_filter($packages, static fn (array $package): bool => $package['kind'] === 'plugin');
foreach ($plugins as $package) {
    $slug = $package['slug'];
    if ($slug === 'woocommerce') {
        activate($slug, $package['value']);
        continue;
    }
    $is = "{$package['version']} {$package['sha256']}";
    declare_setting("plugin:$slug", $is, static fn () => activate($slug, $package['value']), quietly: true);
}
foreach (array_diff(declared_names('plugin:'), array_column($plugins, 'slug')) as $slug) {
    $active = array_filter(
        (array) get_option('active_plugins', []),
        static fn (string $file): bool => str_starts_with($file, "$slug/"),
    );
    // Silently if its files are gone: its own clean-up cannot run.
    deactivate_plugins($active, !is_dir(WP_PLUGIN_DIR . "/$slug"));
    forget_setting("plugin:$slug");
    say("plugin $slug is no longer declared and not active");
}

$theme = settings()['theme'];
if ($theme !== '') {
    declare_setting('theme', $theme, static function (string $theme): void {
        $found = wp_get_theme($theme);
        if ($found->errors()) {
            refuse_for_good("theme $theme cannot be used: {$found->errors()->get_error_message()}", 'correct the values of themes');
        }
        switch_theme($theme);
    });
}
// A theme whose files are gone would leave visitors a white page.
if (!wp_get_theme()->exists() && $theme !== '') {
    switch_theme($theme);
    say("the shop's theme was gone; it is now: $theme");
}
done();
