<?php
/**
 * WooCommerce's queue (Action Scheduler) has run what is due: webhooks, mail, clean-up.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/wordpress.php';

pretend_request('/wp-cron.php');
define('DOING_CRON', true);
require '/var/www/html/wp-load.php';

if (class_exists('ActionScheduler_QueueRunner')) {
    $ran = ActionScheduler_QueueRunner::instance()->run('store');
    if ($ran === 0) {
        // Another process is at it, or one was and died, which Action Scheduler notices after five minutes.
        fwrite(STDERR, "nothing was run, though something is due\n");
        done();
        exit(75);
    }
}
done();
