<?php
/**
 * WordPress is installed, with its first administrator: wholly or not at all.
 *
 * As WordPress' own installer does it, without its web page.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';

/**
 * What the database holds: 'shop'; 'tables', which an install that was killed has left; or 'nothing'.
 *
 * Ends the process where it holds something else, which is never overwritten. Asked before WordPress loads, because that
 * fails with empty tables, and writes options into them.
 */
function database_holds(mysqli $db): string
{
    $there = static fn (string $pattern): bool => $db->query("SHOW TABLES LIKE '$pattern'")->num_rows > 0;
    $count = static fn (string $from): int => (int) $db->query("SELECT COUNT(*) FROM $from")->fetch_row()[0];
    if ($there('wp\\_options') && $count("wp_options WHERE option_name = 'siteurl' AND option_value <> ''") === 1) {
        return 'shop';
    }
    foreach (['wp_users', 'wp_posts'] as $table) {
        if ($there($table) && $count($table) > 0) {
            refuse(
                "the database has {$count($table)} rows in $table, but no address of a shop in wp_options",
                'nothing was changed; repair the database, or restore a backup of it',
            );
        }
    }
    // wp_options is not the first that is made: WordPress refuses to load with others and without it.
    return $there('wp\\_%') ? 'tables' : 'nothing';
}

$db = connect_once();
if ($db->connect_errno !== 0) {
    refuse("MariaDB: {$db->connect_error}", 'look at the log of its pod');
}
$holds = database_holds($db);
$db->close();
if ($holds === 'shop') {
    done();
}

define('WP_INSTALLING', true);
if ($holds === 'tables') {
    define('WP_REPAIRING', true);
}

/** Replaces the mail to the new administrator: it would be sent before mail is set up. */
function wp_new_blog_notification($blog_title, $blog_url, $user_id, $password): void
{
}

pretend_request();
require '/var/www/html/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/upgrade.php';

$settings = settings();
$password = secret(ADMIN_DIR . '/wordpress-password');

// The installer asks its own address whether pretty permalinks work. Nobody answers yet; step 20 sets them.
add_filter('pre_http_request', static fn () => new WP_Error('store_install', 'no requests while installing'));

// The tables first, because creating one ends a transaction. After that a pod that is killed in the middle leaves
// empty tables, and no shop that counts as installed but has no administrator.
make_db_current_silent();
$wpdb->query('START TRANSACTION');
$result = wp_install($settings['title'], $settings['adminUser'], $settings['adminEmail'], true, '', wp_slash($password));
$user = get_user_by('login', $settings['adminUser']);
if (!$user || $user->ID !== (int) $result['user_id'] || !user_can($user, 'manage_options')) {
    $wpdb->query('ROLLBACK');
    refuse('WordPress did not make its administrator', 'the lines above tell why');
}
if ($wpdb->query('COMMIT') === false) {
    refuse("the install could not be committed: {$wpdb->last_error}", 'see the log of MariaDB');
}
say('WordPress is installed');
done();
