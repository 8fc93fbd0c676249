<?php
/**
 * What a pod knows of the versions of its code and of the database, without loading WordPress.
 *
 * Pods of two versions serve side by side while an image is replaced. The database may be brought to the new version
 * only when no pod of another version is left, so each pod writes down, again and again, that it lives and what it is.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require '/etc/store/install/lib.php';

const PLATFORM_SETTINGS = '/etc/store/platform/settings.json';
const WEB = 'tcp://127.0.0.1:8080';
const PODS_TABLE = 'wp_store_pods';
const IMAGES_TABLE = 'wp_store_images';
/** What heartbeat.php ends with when the database can be updated now. */
const EXIT_DUE = 10;

/** The versions of the code in this pod: WordPress, the number of its database schema, WooCommerce or null. */
function code_versions(): array
{
    $wp_version = $wp_db_version = null;
    require '/var/www/html/wp-includes/version.php';
    $plugin = @file_get_contents('/var/www/html/wp-content/plugins/woocommerce/woocommerce.php', false, null, 0, 8192);
    $found = $plugin !== false && preg_match('/^[ \t\/*#@]*Version:[ \t]*(\S+)/mi', $plugin, $match);
    return [
        'wordpress' => (string) $wp_version,
        'wordpress_db' => (int) $wp_db_version,
        'woocommerce' => $found ? $match[1] : null,
    ];
}

/** The versions that the database is at; null where it has none, as before WooCommerce is activated. */
function database_versions(mysqli $db): array
{
    $rows = query($db, "SELECT option_name, option_value FROM wp_options WHERE option_name IN"
        . " ('db_version', 'woocommerce_version', 'woocommerce_db_version', 'active_plugins')")->fetch_all();
    $options = array_column($rows, 1, 0);
    $active = str_contains($options['active_plugins'] ?? '', '"woocommerce/woocommerce.php"');
    return [
        'wordpress_db' => isset($options['db_version']) ? (int) $options['db_version'] : null,
        'woocommerce' => $active ? ($options['woocommerce_version'] ?? null) : null,
        'woocommerce_db' => $active ? ($options['woocommerce_db_version'] ?? null) : null,
    ];
}

/** What of the database is older than this pod's code, in words. Empty: nothing is to be updated. */
function pending(array $code, array $database): array
{
    $found = [];
    if ($database['wordpress_db'] !== null && $database['wordpress_db'] < $code['wordpress_db']) {
        $found[] = "WordPress {$database['wordpress_db']} -> {$code['wordpress_db']}";
    }
    foreach (['woocommerce', 'woocommerce_db'] as $name) {
        $at = $database[$name];
        if ($code['woocommerce'] !== null && $at !== null && version_compare($at, $code['woocommerce'], '<')) {
            $found[] = "WooCommerce $at -> {$code['woocommerce']}";
        }
    }
    return array_values(array_unique($found));
}

/** Pods of another version that may still serve: seen within the time in which a stopped pod is surely gone. */
function others(mysqli $db, array $code): array
{
    $statement = prepared(
        $db,
        'SELECT pod, wordpress, woocommerce, UNIX_TIMESTAMP() - seen_at FROM ' . PODS_TABLE
        . ' WHERE pod <> ? AND seen_at > UNIX_TIMESTAMP() - ?'
        . " AND (wordpress_db <> ? OR COALESCE(woocommerce, '') <> ?) ORDER BY pod",
        [gethostname(), (int) getenv('STORE_POD_GONE_SECONDS'), $code['wordpress_db'], $code['woocommerce'] ?? ''],
    );
    return array_map(
        static fn (array $row): array => [
            'pod' => $row[0], 'wordpress' => $row[1], 'woocommerce' => $row[2], 'seen_s_ago' => (int) $row[3],
        ],
        $statement->get_result()->fetch_all(),
    );
}

/**
 * Whether this pod's own web server shows WordPress, asked as the readiness probe asks it.
 *
 * Where the old pod goes first, a new one whose pages fail is alone: did it update the database, there would be no way
 * back to the code that works.
 */
function serves(): bool
{
    $settings = json_decode((string) file_get_contents(PLATFORM_SETTINGS), true, 8, JSON_THROW_ON_ERROR);
    $url = parse_url($settings['url']);
    $host = $url['host'] . (isset($url['port']) ? ":{$url['port']}" : '');
    $web = @stream_socket_client(WEB, timeout: 5);
    if ($web === false) {
        return false;
    }
    stream_set_timeout($web, 15);
    fwrite($web, "GET /wp-login.php HTTP/1.0\r\nHost: $host\r\nX-Forwarded-Proto: {$url['scheme']}\r\nConnection: close\r\n\r\n");
    $first = (string) fgets($web);
    fclose($web);
    return preg_match('~^HTTP/1\.[01] 200 ~', $first) === 1;
}

/** The result of a statement without values; ends the process where the database refuses it. */
function query(mysqli $db, string $sql): mysqli_result|bool
{
    $result = $db->query($sql);
    if ($result === false) {
        refuse("MariaDB: {$db->error}", 'look at the log of its pod');
    }
    return $result;
}

/** A statement that ran with its values. */
function prepared(mysqli $db, string $sql, array $values): mysqli_stmt
{
    $statement = $db->prepare($sql);
    if ($statement === false || !$statement->execute($values)) {
        refuse("MariaDB: {$db->error}", 'look at the log of its pod');
    }
    return $statement;
}

/** A connection to the shop's database; ends the process quietly where there is none, since the next beat tries again. */
function connected(): mysqli
{
    $db = connect_once();
    if ($db->connect_errno !== 0) {
        refuse("MariaDB: {$db->connect_error}", 'the next heartbeat tries again');
    }
    return $db;
}

/** The tables of the heartbeats exist. They belong to the database, so a backup carries them along. */
function make_tables(mysqli $db): void
{
    query($db, 'CREATE TABLE IF NOT EXISTS ' . PODS_TABLE . ' (pod VARCHAR(253) CHARACTER SET ascii PRIMARY KEY,'
        . ' image VARCHAR(255) NOT NULL, wordpress VARCHAR(64) NOT NULL, wordpress_db INT NOT NULL,'
        . ' woocommerce VARCHAR(64) NULL, seen_at BIGINT NOT NULL)');
    query($db, 'CREATE TABLE IF NOT EXISTS ' . IMAGES_TABLE . ' (image VARCHAR(255) CHARACTER SET ascii PRIMARY KEY,'
        . ' wordpress VARCHAR(64) NOT NULL, wordpress_db INT NOT NULL, woocommerce VARCHAR(64) NULL,'
        . ' failure TEXT NULL, seen_at BIGINT NOT NULL)');
}
