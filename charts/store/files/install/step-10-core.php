<?php
/**
 * WordPress is installed, with its first administrator: wholly or not at all.
 *
 * As WordPress' own installer does it, without its web page.
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';

define('WP_INSTALLING', true);
// Else WordPress ends the process, while it loads, where tables are empty: where an earlier install was killed.
define('WP_REPAIRING', true);

/** Replaces the mail to the new administrator: it would be sent before mail is set up. */
function wp_new_blog_notification($blog_title, $blog_url, $user_id, $password): void
{
}

pretend_request();
require '/var/www/html/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/upgrade.php';

/** Whether the database holds a shop. Ends the process where it holds something else: that is never overwritten. */
function holds_a_shop(wpdb $db): bool
{
    if ($db->get_var($db->prepare('SHOW TABLES LIKE %s', $db->esc_like($db->options))) === null) {
        return false;
    }
    if ($db->get_var("SELECT option_value FROM {$db->options} WHERE option_name = 'siteurl'")) {
        return true;
    }
    // Loading WordPress has already written some options; users and posts are what can be lost.
    $rows = $db->get_var("SELECT (SELECT COUNT(*) FROM {$db->users}) + (SELECT COUNT(*) FROM {$db->posts})");
    if ($rows !== '0') {
        refuse(
            "the database has tables of WordPress with $rows users and posts, but no address of a shop: {$db->last_error}",
            'nothing was changed; repair the database, or restore a backup of it',
        );
    }
    return false;
}

if (holds_a_shop($wpdb)) {
    done();
}

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
