<?php
/**
 * From a hook to a delivery: queued at the end of the request, sent by the queue. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

/** A pending delivery of the same thing is not queued a second time: the one that waits will have the newest state. */
const WC_STANDIN_WEBHOOK_GROUP = 'woocommerce-webhooks';

function wc_get_webhook($id)
{
    $webhook = new WC_Webhook($id);
    return $webhook->get_id() === 0 ? null : $webhook;
}

function wc_load_webhooks($status = '', $limit = null)
{
    foreach (array_slice(WC_Data_Store::load('webhook')->get_webhooks_ids($status), 0, $limit) as $id) {
        (new WC_Webhook($id))->enqueue();
    }
}

function wc_webhook_process_delivery($webhook, $arg)
{
    $GLOBALS['wc_queued_webhooks'][] = ['webhook' => $webhook, 'arg' => $arg];
}

function wc_webhook_execute_queue()
{
    foreach ($GLOBALS['wc_queued_webhooks'] ?? [] as ['webhook' => $webhook, 'arg' => $arg]) {
        if (!apply_filters('woocommerce_webhook_deliver_async', true, $webhook, $arg)) {
            $webhook->deliver($arg);
            continue;
        }
        $args = ['webhook_id' => $webhook->get_id(), 'arg' => $arg];
        if (as_next_scheduled_action('woocommerce_deliver_webhook_async', $args, WC_STANDIN_WEBHOOK_GROUP) === false) {
            as_enqueue_async_action('woocommerce_deliver_webhook_async', $args, WC_STANDIN_WEBHOOK_GROUP);
        }
    }
    $GLOBALS['wc_queued_webhooks'] = [];
}

function wc_deliver_webhook_async($webhook_id, $arg)
{
    $webhook = wc_get_webhook($webhook_id);
    if ($webhook) {
        $webhook->deliver($arg);
    }
}

add_action('woocommerce_install_tables', ['WC_Webhook_Data_Store', 'create_table']);
add_action('woocommerce_webhook_process_delivery', 'wc_webhook_process_delivery', 10, 2);
add_action('woocommerce_deliver_webhook_async', 'wc_deliver_webhook_async', 10, 2);
add_action('shutdown', 'wc_webhook_execute_queue');
add_action('init', static function (): void {
    if (get_option('woocommerce_version') !== false) {
        wc_load_webhooks('active');
    }
});
