<?php
/**
 * Runs what is due in the queue. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

final class ActionScheduler_QueueRunner
{
    private const BATCH = 25;
    private const LIMIT_S = 30;
    /** What a process that died has claimed is free again after so long. */
    private const STALE_S = 300;

    private static ?self $instance = null;

    public static function instance(): self
    {
        return self::$instance ??= new self();
    }

    /** Runs until nothing is due or the time is up; returns how many actions were run. */
    public function run($context = 'WP Cron')
    {
        do_action('action_scheduler_before_process_queue');
        $this->free_stale();
        $until = microtime(true) + self::LIMIT_S;
        $count = 0;
        do {
            $claim = random_int(1, PHP_INT_MAX);
            $ids = $this->claim($claim);
            foreach ($ids as $id) {
                if (microtime(true) > $until) {
                    $this->release($claim);
                    break 2;
                }
                $this->process($id);
                $count++;
            }
        } while ($ids !== []);
        do_action('action_scheduler_after_process_queue');
        return $count;
    }

    /** @return list<int> what this process alone may run now, the oldest first */
    private function claim(int $claim): array
    {
        global $wpdb;
        $table = wc_standin_queue_table();
        $wpdb->query($wpdb->prepare(
            "UPDATE $table SET claim_id = %d, last_attempt_gmt = UTC_TIMESTAMP() WHERE status = 'pending' AND claim_id = 0"
            . ' AND scheduled_date_gmt <= UTC_TIMESTAMP() ORDER BY action_id LIMIT %d',
            $claim,
            self::BATCH,
        ));
        $query = "SELECT action_id FROM $table WHERE claim_id = %d AND status = 'pending' ORDER BY action_id";
        return array_map('intval', $wpdb->get_col($wpdb->prepare($query, $claim)));
    }

    private function process(int $id): void
    {
        global $wpdb;
        $table = wc_standin_queue_table();
        $action = $wpdb->get_row($wpdb->prepare("SELECT hook, args FROM $table WHERE action_id = %d", $id));
        $wpdb->update($table, ['status' => 'in-progress'], ['action_id' => $id]);
        try {
            do_action_ref_array($action->hook, array_values(json_decode($action->args, true)));
            $status = 'complete';
        } catch (Throwable $error) {
            error_log("WooCommerce stand-in: action $id, $action->hook: {$error->getMessage()}");
            $status = 'failed';
        }
        $wpdb->update($table, ['status' => $status, 'claim_id' => 0], ['action_id' => $id]);
    }

    private function release(int $claim): void
    {
        global $wpdb;
        $wpdb->update(wc_standin_queue_table(), ['claim_id' => 0], ['claim_id' => $claim, 'status' => 'pending']);
    }

    private function free_stale(): void
    {
        global $wpdb;
        $table = wc_standin_queue_table();
        $stale = 'last_attempt_gmt < UTC_TIMESTAMP() - INTERVAL ' . self::STALE_S . ' SECOND';
        $wpdb->query("UPDATE $table SET claim_id = 0 WHERE status = 'pending' AND claim_id <> 0 AND $stale");
        $wpdb->query("UPDATE $table SET status = 'failed', claim_id = 0 WHERE status = 'in-progress' AND $stale");
        $wpdb->query("DELETE FROM $table WHERE status = 'complete' AND last_attempt_gmt < UTC_TIMESTAMP() - INTERVAL 30 DAY");
    }
}
