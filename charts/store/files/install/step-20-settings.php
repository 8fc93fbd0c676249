<?php
/**
 * The declared settings are in the shop.
 *
 * A setting is written when its declared value is another than the one that was last written, so that both a change of
 * the values and, in between, a change that the merchant makes in the admin page last.
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';

const APPLIED_OPTION = 'store_applied_settings';

pretend_request();
require '/var/www/html/wp-load.php';

if (!is_blog_installed()) {
    refuse('WordPress is not installed', 'step-10-core.php must run first');
}

$settings = settings();
$applied = get_option(APPLIED_OPTION, []);

/** `$write` has run with the declared value, unless it had run with the same value before. */
$declare = static function (string $name, string $value, callable $write) use (&$applied): void {
    if (($applied[$name] ?? null) === $value) {
        return;
    }
    $write($value);
    $applied[$name] = $value;
    update_option(APPLIED_OPTION, $applied, false);
    say("$name is now: $value");
};

$declare('permalinks', '/%postname%/', static function (string $structure): void {
    global $wp_rewrite;
    $wp_rewrite->set_permalink_structure($structure);
    // false: the image brings its own .htaccess.
    flush_rewrite_rules(false);
});
$declare('title', $settings['title'], static function (string $title): void {
    update_option('blogname', $title);
});
$declare('adminEmail', $settings['adminEmail'], static function (string $email) use ($settings): void {
    update_option('admin_email', $email);
    $user = get_user_by('login', $settings['adminUser']);
    if ($user && $user->user_email !== $email) {
        add_filter('send_email_change_email', '__return_false');
        $result = wp_update_user(['ID' => $user->ID, 'user_email' => $email]);
        if (is_wp_error($result)) {
            refuse("the administrator's mail address: {$result->get_error_message()}", 'change store.adminEmail');
        }
    }
});
done();
