<?php
/**
 * Plugin Name: Store platform: notices
 * Description: Administrators see in the admin page when tasks do not run, mail does not leave or events wait.
 * License:     GPL-2.0-or-later
 */

declare(strict_types=1);

namespace StorePlatform;

require_once __DIR__ . '/store-mail.php';
require_once __DIR__ . '/store-outbox.php';

/** The container `cron` writes this option once a minute; so many seconds without are a failure. */
const CRON_STATE_OPTION = 'store_cron_state';
const CRON_SILENCE_S = 600;
const EVENTS_WAIT_S = 900;

/**
 * What an operator should know, as plain data: also GET /wp-json/store-platform/v1/health, for whoever may manage the shop.
 *
 * @return array{cron: array, events: array, mail: array, problems: string[]}
 */
function health(): array
{
    global $wpdb;
    $cron = json_decode((string) get_option(CRON_STATE_OPTION, ''), true) ?: [];
    $silent_s = isset($cron['at']) ? max(0, time() - (int) $cron['at']) : null;

    $suppressed = $wpdb->suppress_errors(true);
    $waiting = $wpdb->get_row(
        "SELECT SUM(state IN ('open', 'ready')) AS pending, SUM(state = 'refused') AS refused,"
        . " TIMESTAMPDIFF(SECOND, MIN(IF(state IN ('open', 'ready'), occurred_at, NULL)), UTC_TIMESTAMP()) AS oldest_s"
        . " FROM {$wpdb->prefix}" . Outbox::TABLE . " WHERE state IN ('open', 'ready', 'refused')",
        ARRAY_A,
    ) ?: [];
    $wpdb->suppress_errors($suppressed);
    $events = [
        'receiver' => settings()['receiver'] !== null,
        'pending' => (int) ($waiting['pending'] ?? 0),
        'refused' => (int) ($waiting['refused'] ?? 0),
        'oldest_seconds' => isset($waiting['oldest_s']) ? (int) $waiting['oldest_s'] : null,
    ];
    $failure = get_option('store_mail_failure') ?: null;
    // Once more: a failure that an older version has kept may name people.
    $told = $failure ? gmdate('Y-m-d\TH:i:s\Z', (int) $failure['at']) . ': ' . without_addresses($failure['reason']) : null;
    $mail = [
        'configured' => settings()['mail'] !== null,
        'last_failure' => $told,
    ];

    $problems = [];
    if ($silent_s === null || $silent_s > CRON_SILENCE_S) {
        $since = $silent_s === null ? 'never ran' : 'has not run for ' . intdiv($silent_s, 60) . ' minutes';
        $problems[] = "The container `cron` $since: scheduled tasks, webhooks and events wait. See its log.";
    }
    foreach ($cron['problems'] ?? [] as $problem) {
        $problems[] = "Scheduled tasks: $problem";
    }
    if (!$mail['configured']) {
        $problems[] = 'No mail leaves this shop, neither of orders nor of forgotten passwords: no mail server is set.';
    } elseif ($mail['last_failure'] !== null) {
        $problems[] = "The last mail was not sent. {$mail['last_failure']}";
    }
    if ($events['receiver'] && ($events['oldest_seconds'] ?? 0) > EVENTS_WAIT_S) {
        $problems[] = "{$events['pending']} events of products wait for the platform's receiver, the oldest since "
            . intdiv($events['oldest_seconds'], 60) . ' minutes. Nothing is lost.';
    }
    if ($events['refused'] > 0) {
        $problems[] = "{$events['refused']} events of products were refused by the platform's receiver.";
    }
    return ['cron' => ['silent_seconds' => $silent_s], 'events' => $events, 'mail' => $mail, 'problems' => $problems];
}

add_action('admin_notices', static function (): void {
    if (!current_user_can('manage_options')) {
        return;
    }
    foreach (health()['problems'] as $problem) {
        printf('<div class="notice notice-warning"><p>%s</p></div>', esc_html($problem));
    }
});

add_action('rest_api_init', static function (): void {
    register_rest_route('store-platform/v1', '/health', [
        'methods' => 'GET',
        'callback' => static fn () => rest_ensure_response(health()),
        'permission_callback' => static fn () => current_user_can('manage_woocommerce') || current_user_can('manage_options'),
    ]);
});
