<?php
/**
 * Sends the outbox to the platform's receiver: each event at least once, in order, signed, until the receiver has it.
 *
 * The table is made and filled by mu-plugins/store-outbox.php. Works without WordPress, so a broken plugin stops nothing.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

final class Sender
{
    public const TOPIC = 'action.store_product_change';

    private const LOCK = 'store-outbox';
    private const BATCH = 50;
    private const CONNECT_S = 5;
    private const REQUEST_S = 15;
    /** Time that one round may take, so that the rest of the loop is not kept waiting. */
    private const ROUND_S = 30;
    /** Longest wait between two tries. */
    private const MAX_WAIT_S = 300;
    /** An event is completed in the request that began it; one that is open for longer was left by a killed process. */
    private const OPEN_S = 600;
    /** The receiver has read the event and says that it will never take it. After so many tries it is put aside. */
    private const REFUSALS = [400, 410, 413, 422];
    private const MAX_REFUSALS = 8;

    private readonly string $table;

    /** @param array{store: string, url: string, keepDays: int, receiver: ?array{url: string, ca: string}} $settings */
    public function __construct(
        private readonly array $settings,
        private readonly string $secret_file,
        string $prefix,
        private readonly Problems $problems,
    ) {
        $this->table = "{$prefix}store_outbox";
    }

    /**
     * What is due has been sent, or the first event that the receiver did not take is to be tried again later.
     *
     * @param Closure(): void $beat called before each request
     * @param Closure(): bool $stopping whether to stop early
     */
    public function send_due(mysqli $db, Closure $beat, Closure $stopping): void
    {
        if (($this->settings['receiver'] ?? null) === null) {
            return;
        }
        // Two web pods have two of these loops; a second sender would break the order.
        $locked = take_lock($db, self::LOCK);
        if (is_string($locked)) {
            $this->problems->report('events', "MariaDB gives no lock: $locked; docs/database.md says which servers cannot");
        }
        if ($locked !== true) {
            return;
        }
        try {
            $until_s = hrtime(true) / 1e9 + self::ROUND_S;
            foreach ($this->due($db) as $event) {
                $beat();
                if ($stopping() || hrtime(true) / 1e9 > $until_s || !$this->send($db, $event)) {
                    return;
                }
            }
        } finally {
            $db->query('SELECT RELEASE_LOCK(' . lock_name(self::LOCK) . ')');
        }
    }

    /** Rows that nobody needs are gone: settled ones after keepDays, and, without a receiver, all of that age. */
    public function purge(mysqli $db): void
    {
        $days = (int) ($this->settings['keepDays'] ?? 30);
        // The newest sequence stays, so that the next one is larger.
        $newest = $db->query("SELECT COALESCE(MAX(sequence), 0) FROM {$this->table}");
        if ($newest === false) {
            return;
        }
        $which = ($this->settings['receiver'] ?? null) === null ? '1 = 1' : "state IN ('delivered', 'refused')";
        $db->query(
            "DELETE FROM {$this->table} WHERE $which AND occurred_at < UTC_TIMESTAMP() - INTERVAL $days DAY"
            . " AND (sequence IS NULL OR sequence < {$newest->fetch_row()[0]})",
        );
    }

    /** @return list<array<string, int|string|null>> the next events in order; none while the first one is to wait */
    private function due(mysqli $db): array
    {
        $db->query(
            "UPDATE {$this->table} SET state = 'ready'"
            . " WHERE state = 'open' AND occurred_at < UTC_TIMESTAMP(6) - INTERVAL " . self::OPEN_S . ' SECOND',
        );
        $statement = $db->prepare(
            "SELECT id, event_id, occurred_at, payload, sequence, attempts, next_attempt_at <= UTC_TIMESTAMP(6) AS may"
            // What another store left here, by way of a restored backup, is that store's.
            . " FROM {$this->table} WHERE state = 'ready' AND store = ? ORDER BY sequence IS NULL, sequence, id LIMIT "
            . self::BATCH,
        );
        if ($statement === false || !$statement->execute([$this->settings['store']])) {
            if ($db->errno !== NO_SUCH_TABLE) {
                $this->problems->report('events', "the outbox cannot be read: {$db->error}");
            }
            return [];
        }
        $events = $statement->get_result()->fetch_all(MYSQLI_ASSOC);
        if ($events === []) {
            $this->problems->report('events', null);
        }
        return isset($events[0]['may']) && (int) $events[0]['may'] === 0 ? [] : $events;
    }

    /** Whether the next event may be sent: this one was taken, or put aside. */
    private function send(mysqli $db, array $event): bool
    {
        $secret = rtrim((string) @file_get_contents($this->secret_file), "\r\n");
        if ($secret === '') {
            $this->problems->report('events', "{$this->secret_file} is missing or empty, so nothing can be signed");
            return false;
        }
        $event['sequence'] ??= $this->number($db, (int) $event['id']);
        if ($event['sequence'] === null) {
            $this->problems->report('events', "the outbox cannot be written: {$db->error}");
            return false;
        }
        [$code, $answer] = $this->post($this->body($event), $secret, $event);
        if ($code >= 200 && $code < 300) {
            $this->settle($db, (int) $event['id'], 'delivered', $answer);
            $this->problems->report('events', null);
            return true;
        }
        $attempts = (int) $event['attempts'] + 1;
        if (in_array($code, self::REFUSALS, true) && $attempts >= self::MAX_REFUSALS) {
            $this->settle($db, (int) $event['id'], 'refused', $answer);
            $this->problems->report('refused event', "{$event['event_id']} is put aside after $attempts tries: $answer");
            return true;
        }
        $wait_s = min(self::MAX_WAIT_S, 5 * 2 ** min($attempts - 1, 10));
        $statement = $db->prepare(
            "UPDATE {$this->table} SET attempts = attempts + 1, answer = ?,"
            . " next_attempt_at = UTC_TIMESTAMP(6) + INTERVAL $wait_s SECOND WHERE id = ?",
        );
        $statement->execute([mb_substr($answer, 0, 255), $event['id']]);
        $this->problems->report('events', "the receiver {$this->settings['receiver']['url']} does not take them: $answer");
        return false;
    }

    /** The event's place in the order, which is now in the table. */
    private function number(mysqli $db, int $id): ?int
    {
        $newest = $db->query("SELECT COALESCE(MAX(sequence), 0) + 1 FROM {$this->table}");
        $number = $newest === false ? null : (int) $newest->fetch_row()[0];
        if ($number === null || $db->query("UPDATE {$this->table} SET sequence = $number WHERE id = $id") === false) {
            return null;
        }
        return $number;
    }

    private function settle(mysqli $db, int $id, string $state, string $answer): void
    {
        $statement = $db->prepare(
            "UPDATE {$this->table} SET state = ?, attempts = attempts + 1, answer = ?, settled_at = UTC_TIMESTAMP(6)"
            . ' WHERE id = ?',
        );
        // If this fails, the event is sent again: at least once, never less.
        $statement->execute([$state, mb_substr($answer, 0, 255), $id]);
    }

    /** What is signed: everything that the receiver may believe. The same bytes at each try. */
    private function body(array $event): string
    {
        return json_encode([
            'event_id' => $event['event_id'],
            'sequence' => (int) $event['sequence'],
            'store' => $this->settings['store'],
            'source' => "{$this->settings['url']}/",
            'topic' => self::TOPIC,
            'occurred_at' => str_replace(' ', 'T', $event['occurred_at']) . 'Z',
        ] + (array) json_decode($event['payload'], false, 64, JSON_THROW_ON_ERROR), JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE);
    }

    /** @return array{int, string} the status, 0 for none, and what to say of it */
    private function post(string $body, string $secret, array $event): array
    {
        $receiver = $this->settings['receiver'];
        [$resource, $name] = explode('.', self::TOPIC);
        $headers = [
            'Content-Type' => 'application/json',
            'X-WC-Webhook-Source' => "{$this->settings['url']}/",
            'X-WC-Webhook-Topic' => self::TOPIC,
            'X-WC-Webhook-Resource' => $resource,
            'X-WC-Webhook-Event' => $name,
            'X-WC-Webhook-Signature' => base64_encode(hash_hmac('sha256', $body, $secret, true)),
            'X-WC-Webhook-ID' => '0',
            'X-WC-Webhook-Delivery-ID' => $event['event_id'],
            'Expect' => '',
        ];
        $request = curl_init($receiver['url']);
        curl_setopt_array($request, [
            CURLOPT_POST => true,
            CURLOPT_POSTFIELDS => $body,
            CURLOPT_HTTPHEADER => array_map(static fn ($name, $value) => "$name: $value", array_keys($headers), $headers),
            CURLOPT_USERAGENT => 'StorePlatform/1 (outbox)',
            CURLOPT_PROTOCOLS => CURLPROTO_HTTP | CURLPROTO_HTTPS,
            CURLOPT_FOLLOWLOCATION => false,
            CURLOPT_CONNECTTIMEOUT => self::CONNECT_S,
            CURLOPT_TIMEOUT => self::REQUEST_S,
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_PROXY => '',
            // Of the answer nothing but its status counts.
            CURLOPT_WRITEFUNCTION => static fn ($handle, $data) => strlen($data),
        ] + ($receiver['ca'] === '' ? [] : [CURLOPT_CAINFO => $receiver['ca']]));
        $done = curl_exec($request);
        $code = (int) curl_getinfo($request, CURLINFO_RESPONSE_CODE);
        if ($done === false && ($code < 200 || $code >= 300)) {
            return [0, curl_error($request)];
        }
        return [$code, "status $code"];
    }
}
