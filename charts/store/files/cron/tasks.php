<?php
/**
 * WordPress' scheduled tasks have run, as if its wp-cron.php had been called.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

// wp-cron.php ends the process itself, after its last task and after giving its lock back. With the lock still there it
// was a task that ended the process; the lock would then stop all tasks for a minute, without a word.
register_shutdown_function(static function (): void {
    global $doing_wp_cron;
    if (!function_exists('did_action') || !did_action('wp_loaded')) {
        return;
    }
    if (empty($doing_wp_cron) || get_transient('doing_cron') !== $doing_wp_cron) {
        done();
        return;
    }
    delete_transient('doing_cron');
});

// After the function above, which decides what this one says.
require __DIR__ . '/wordpress.php';

pretend_request('/wp-cron.php');
require '/var/www/html/wp-cron.php';
