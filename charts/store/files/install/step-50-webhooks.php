<?php
/**
 * WooCommerce tells the platform's receiver of products that are created, updated and deleted; or nobody, where the values
 * name no receiver. The outbox for who changed them is there in both cases.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';

const TOPICS = ['product.created', 'product.updated', 'product.deleted'];
const WEBHOOK_SECRET_FILE = '/etc/store/webhook/webhook-secret';
const API_VERSION = 3;

pretend_request();
require '/var/www/html/wp-load.php';

// A webhook whose address changes is tried out by a request of its own, unsigned and from here. Nobody waits for it.
add_filter('pre_http_request', static fn () => new WP_Error('store_install', 'no requests while installing'));

StorePlatform\Outbox::create_table();
if (!class_exists('WC_Webhook')) {
    done();
}

/** @return int[] ids of the webhooks with exactly this name, the oldest first */
function webhooks_named(string $name): array
{
    $ids = WC_Data_Store::load('webhook')->search_webhooks(['limit' => -1, 'search' => $name]);
    $ids = array_filter($ids, static fn ($id) => wc_get_webhook($id)?->get_name('edit') === $name);
    sort($ids);
    return $ids;
}

/** The user in whose name WooCommerce builds what it sends: one that may see every product. */
function reader(): int
{
    $user = get_user_by('login', settings()['adminUser']);
    if (!$user || !user_can($user, 'manage_woocommerce')) {
        $user = get_users(['role' => 'administrator', 'number' => 1, 'orderby' => 'ID'])[0] ?? null;
    }
    if (!$user) {
        refuse('the shop has no administrator', 'make one, or put back the user ' . settings()['adminUser']);
    }
    return $user->ID;
}

$receiver = StorePlatform\settings()['receiver'];
foreach (TOPICS as $topic) {
    $name = "Store platform: $topic";
    $ids = webhooks_named($name);
    if ($receiver === null) {
        foreach ($ids as $id) {
            wc_get_webhook($id)->delete(true);
            say("$topic is no longer sent: webhooks.receiverUrl is empty");
        }
        continue;
    }
    foreach (array_slice($ids, 1) as $id) {
        wc_get_webhook($id)->delete(true);
        say("$topic had a second webhook, $id, which is removed");
    }
    $webhook = new WC_Webhook($ids[0] ?? 0);
    $wanted = [
        'name' => $name,
        'topic' => $topic,
        'delivery_url' => $receiver['url'],
        'secret' => secret(WEBHOOK_SECRET_FILE),
        'user_id' => reader(),
        'status' => 'active',
        // The version for PHP is the number, and what is read is its name.
        'api_version' => 'wp_api_v' . API_VERSION,
        'failure_count' => 0,
        'pending_delivery' => false,
    ];
    $is = static fn (WC_Webhook $webhook, string $field) => $webhook->{"get_$field"}('edit');
    $changed = array_filter(array_keys($wanted), static fn ($field) => $is($webhook, $field) != $wanted[$field]);
    if ($ids !== [] && $changed === []) {
        continue;
    }
    if ($ids === []) {
        // For a new one WooCommerce takes "no test request" only where it was set to something else before.
        $webhook->set_pending_delivery(true);
    }
    foreach ($wanted as $field => $value) {
        $webhook->{"set_$field"}($value);
    }
    $webhook->save();

    $saved = new WC_Webhook($webhook->get_id());
    foreach ($wanted as $field => $value) {
        if ($is($saved, $field) != $value) {
            $shown = $field === 'secret' ? 'not the derived one' : json_encode($is($saved, $field));
            refuse("the webhook of $topic was saved, but its $field is $shown", 'see the log of MariaDB and of WooCommerce');
        }
    }
    say("$topic is sent to {$receiver['url']}" . ($ids === [] ? '' : ' (' . implode(', ', $changed) . ' put right)'));
}
done();
