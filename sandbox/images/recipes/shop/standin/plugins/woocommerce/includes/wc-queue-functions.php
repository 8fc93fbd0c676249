<?php
/**
 * The queue: what is to be done later, in a table, by Action Scheduler's names. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

function wc_standin_queue_table(): string
{
    return $GLOBALS['wpdb']->prefix . 'actionscheduler_actions';
}

function as_enqueue_async_action($hook, $args = [], $group = '', $unique = false, $priority = 10)
{
    return as_schedule_single_action(time(), $hook, $args, $group, $unique);
}

/** The id of the new action; 0 if it is to be the only one and is not. */
function as_schedule_single_action($timestamp, $hook, $args = [], $group = '', $unique = false, $priority = 10)
{
    global $wpdb;
    if ($unique && as_next_scheduled_action($hook, $args, $group) !== false) {
        return 0;
    }
    $wpdb->insert(wc_standin_queue_table(), [
        'hook' => $hook,
        'status' => 'pending',
        'scheduled_date_gmt' => gmdate('Y-m-d H:i:s', $timestamp),
        'args' => wp_json_encode($args),
        'group_slug' => $group,
    ]);
    return (int) $wpdb->insert_id;
}

/** When the pending action runs, in seconds since 1970; false where there is none. */
function as_next_scheduled_action($hook, $args = null, $group = '')
{
    global $wpdb;
    $query = "SELECT TIMESTAMPDIFF(SECOND, '1970-01-01', scheduled_date_gmt) FROM "
        . wc_standin_queue_table() . " WHERE status = 'pending' AND hook = %s AND group_slug = %s AND args = %s LIMIT 1";
    $found = $wpdb->get_var($wpdb->prepare($query, $hook, $group, wp_json_encode($args ?? [])));
    return $found === null ? false : (int) $found;
}

add_action('woocommerce_install_tables', static function (): void {
    global $wpdb;
    $wpdb->query('CREATE TABLE IF NOT EXISTS ' . wc_standin_queue_table() . " (
        action_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        hook VARCHAR(191) NOT NULL,
        status VARCHAR(20) NOT NULL,
        scheduled_date_gmt DATETIME NOT NULL,
        args VARCHAR(500) NOT NULL,
        group_slug VARCHAR(191) NOT NULL DEFAULT '',
        last_attempt_gmt DATETIME NULL,
        claim_id BIGINT UNSIGNED NOT NULL DEFAULT 0,
        KEY claim_id_status_scheduled_date_gmt (claim_id, status, scheduled_date_gmt),
        KEY hook_status (hook, status)
    ) {$wpdb->get_charset_collate()}");
});

// WordPress' own scheduled tasks run the queue once a minute, in case that nothing else does.
add_filter('cron_schedules', static fn ($schedules) => $schedules + [
    'every_minute' => ['interval' => 60, 'display' => 'Every minute'],
]);
add_action('action_scheduler_run_queue', static fn () => ActionScheduler_QueueRunner::instance()->run());
add_action('woocommerce_installed', static function (): void {
    if (!wp_next_scheduled('action_scheduler_run_queue', ['WP Cron'])) {
        wp_schedule_event(time(), 'every_minute', 'action_scheduler_run_queue', ['WP Cron']);
    }
});
