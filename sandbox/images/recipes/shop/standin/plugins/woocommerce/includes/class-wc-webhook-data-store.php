<?php
/**
 * Webhooks in a table of their own, `wc_webhooks`. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Webhook_Data_Store
{
    private const COLUMNS = [
        'status', 'name', 'user_id', 'delivery_url', 'secret', 'topic', 'api_version', 'failure_count',
        'pending_delivery',
    ];

    public static function create_table(): void
    {
        global $wpdb;
        $wpdb->query("CREATE TABLE IF NOT EXISTS {$wpdb->prefix}wc_webhooks (
            webhook_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
            status VARCHAR(200) NOT NULL,
            name TEXT NOT NULL,
            user_id BIGINT UNSIGNED NOT NULL,
            delivery_url TEXT NOT NULL,
            secret TEXT NOT NULL,
            topic VARCHAR(200) NOT NULL,
            date_created DATETIME NULL,
            date_modified DATETIME NULL,
            api_version SMALLINT NOT NULL,
            failure_count SMALLINT NOT NULL DEFAULT 0,
            pending_delivery TINYINT NOT NULL DEFAULT 0,
            KEY user_id (user_id)
        ) {$wpdb->get_charset_collate()}");
    }

    public function create(&$webhook)
    {
        global $wpdb;
        // Unless somebody said otherwise, a new address is tried out at the next save.
        if (!array_key_exists('pending_delivery', $webhook->get_changes())) {
            $webhook->set_pending_delivery(true);
        }
        $webhook->set_date_created(current_time('mysql'));
        $row = $this->row($webhook) + ['date_created' => $webhook->get_date_created('edit')];
        $wpdb->insert("{$wpdb->prefix}wc_webhooks", $row);
        $webhook->set_id($wpdb->insert_id);
        $webhook->apply_changes();
        do_action('woocommerce_new_webhook', $webhook->get_id(), $webhook);
    }

    public function read(&$webhook)
    {
        global $wpdb;
        $query = "SELECT * FROM {$wpdb->prefix}wc_webhooks WHERE webhook_id = %d";
        $row = $wpdb->get_row($wpdb->prepare($query, $webhook->get_id()), ARRAY_A);
        if (!$row) {
            throw new Exception('Invalid webhook.');
        }
        $webhook->set_object_read(false);
        unset($row['webhook_id']);
        $webhook->set_props($row);
        $webhook->set_object_read(true);
        do_action('woocommerce_webhook_loaded', $webhook);
    }

    public function update(&$webhook)
    {
        global $wpdb;
        $new_address = array_key_exists('delivery_url', $webhook->get_changes());
        $webhook->set_date_modified(current_time('mysql'));
        $row = $this->row($webhook) + ['date_modified' => $webhook->get_date_modified('edit')];
        $wpdb->update("{$wpdb->prefix}wc_webhooks", $row, ['webhook_id' => $webhook->get_id()]);
        $webhook->apply_changes();
        if ($webhook->get_status() === 'active' && ($new_address || $webhook->get_pending_delivery())) {
            $webhook->deliver_ping();
        }
        do_action('woocommerce_webhook_updated', $webhook->get_id());
    }

    public function delete(&$webhook, $args = [])
    {
        global $wpdb;
        $wpdb->delete("{$wpdb->prefix}wc_webhooks", ['webhook_id' => $webhook->get_id()]);
        do_action('woocommerce_webhook_deleted', $webhook->get_id(), $webhook);
    }

    /** @return list<int> ids, by `status`, `search` in the name, `limit` (-1: all) */
    public function search_webhooks($args)
    {
        global $wpdb;
        $args += ['limit' => 10, 'search' => '', 'status' => ''];
        $where = $wpdb->prepare('name LIKE %s', '%' . $wpdb->esc_like(sanitize_text_field($args['search'])) . '%');
        $where .= $args['status'] === '' ? '' : $wpdb->prepare(' AND status = %s', $args['status']);
        $limit = $args['limit'] < 0 ? '' : $wpdb->prepare('LIMIT %d', $args['limit']);
        $query = "SELECT webhook_id FROM {$wpdb->prefix}wc_webhooks WHERE $where ORDER BY webhook_id DESC $limit";
        return array_map('intval', $wpdb->get_col($query));
    }

    public function get_webhooks_ids($status = '')
    {
        return $this->search_webhooks(['limit' => -1, 'status' => $status]);
    }

    private function row($webhook): array
    {
        $row = [];
        foreach (self::COLUMNS as $column) {
            $row[$column] = $webhook->{"get_$column"}('edit');
        }
        $row['api_version'] = (int) substr($row['api_version'], -1);
        $row['pending_delivery'] = (int) $row['pending_delivery'];
        return $row;
    }
}
