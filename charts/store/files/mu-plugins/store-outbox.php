<?php
/**
 * Plugin Name: Store platform: outbox
 * Description: A table of events that stay until the platform's receiver has them.
 * License:     GPL-2.0-or-later
 *
 * An event is written before the change it tells of (`open`) and completed after it (`ready`), so that neither a killed
 * process nor a receiver that is down can lose it. The container `cron` sends what is ready, in order; an event that
 * stays open is sent as one whose outcome is unknown.
 */

declare(strict_types=1);

namespace StorePlatform;

require_once __DIR__ . '/store-platform.php';

final class Outbox
{
    /** Without the prefix of WordPress' tables. The container `cron` knows it, and the columns, too. */
    public const TABLE = 'store_outbox';

    private const NO_SUCH_TABLE = 1146;

    /** The table is there. */
    public static function create_table(): void
    {
        global $wpdb;
        $table = $wpdb->prefix . self::TABLE;
        // Times are UTC. `sequence` is given when an event is first sent, so that it has no gaps.
        $wpdb->query("CREATE TABLE IF NOT EXISTS $table (
            id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
            event_id CHAR(36) CHARACTER SET ascii NOT NULL UNIQUE,
            store VARCHAR(63) CHARACTER SET ascii NOT NULL,
            state ENUM('open', 'ready', 'delivered', 'refused') NOT NULL,
            occurred_at DATETIME(6) NOT NULL,
            payload MEDIUMTEXT NOT NULL,
            sequence BIGINT UNSIGNED NULL UNIQUE,
            attempts INT UNSIGNED NOT NULL DEFAULT 0,
            next_attempt_at DATETIME(6) NULL,
            answer VARCHAR(255) NOT NULL DEFAULT '',
            settled_at DATETIME(6) NULL,
            KEY state_id (state, id)
        ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4");
    }

    /** A new event is in the table. Its number, or 0 where that failed, which the log tells. */
    public static function add(array $payload, bool $ready): int
    {
        return self::quietly(static function (\wpdb $wpdb) use ($payload, $ready): int {
            $insert = static fn () => $wpdb->query($wpdb->prepare(
                "INSERT INTO {$wpdb->prefix}" . self::TABLE . ' (event_id, store, state, occurred_at, payload)'
                . ' VALUES (%s, %s, %s, UTC_TIMESTAMP(6), %s)',
                wp_generate_uuid4(),
                settings()['store'],
                $ready ? 'ready' : 'open',
                self::json($payload),
            ));
            $done = $insert();
            if ($done === false && self::error_number($wpdb) === self::NO_SUCH_TABLE) {
                self::create_table();
                $done = $insert();
            }
            if ($done === false) {
                complain('events', "a change of a product could not be recorded: {$wpdb->last_error}; see MariaDB's log");
                return 0;
            }
            return (int) $wpdb->insert_id;
        });
    }

    /** An open event holds what is now known of it, and may be sent. */
    public static function complete(int $id, array $payload): void
    {
        self::quietly(static function (\wpdb $wpdb) use ($id, $payload): void {
            $done = $wpdb->query($wpdb->prepare(
                "UPDATE {$wpdb->prefix}" . self::TABLE . " SET state = 'ready', payload = %s WHERE id = %d AND state = 'open'",
                self::json($payload),
                $id,
            ));
            if ($done === false) {
                complain('events', "event $id could not be completed: {$wpdb->last_error}; it is sent as unknown");
            }
        });
    }

    /** Nothing has changed after all. */
    public static function discard(int $id): void
    {
        self::quietly(static fn (\wpdb $wpdb) => $wpdb->query($wpdb->prepare(
            "DELETE FROM {$wpdb->prefix}" . self::TABLE . " WHERE id = %d AND state = 'open'",
            $id,
        )));
    }

    private static function json(array $payload): string
    {
        // Nothing changed is {}, not [].
        $payload = array_replace($payload, ['changes' => (object) ($payload['changes'] ?? [])]);
        return (string) wp_json_encode($payload, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE);
    }

    private static function error_number(\wpdb $wpdb): int
    {
        return $wpdb->dbh instanceof \mysqli ? mysqli_errno($wpdb->dbh) : 0;
    }

    /** Runs queries so that whoever is in the middle of queries of their own does not notice. */
    private static function quietly(callable $work): mixed
    {
        global $wpdb;
        $names = ['insert_id', 'rows_affected', 'num_rows', 'last_error', 'last_query', 'last_result'];
        $before = [];
        foreach ($names as $name) {
            // Some are protected; wpdb lets them be read and written by name all the same.
            $before[$name] = $wpdb->$name ?? null;
        }
        $suppressed = $wpdb->suppress_errors(true);
        try {
            return $work($wpdb);
        } finally {
            $wpdb->suppress_errors($suppressed);
            foreach ($before as $name => $value) {
                $wpdb->$name = $value;
            }
        }
    }
}
