<?php
/**
 * Prints what the platform asks: versions of this pod's code, of the database and of every image that ran here, what is
 * still to be updated, which pods that waits for, and why the last try failed. One JSON document; no secret.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';

$code = code_versions();
$db = connected();
make_tables($db);
$database = database_versions($db);
$images = query($db, 'SELECT image, wordpress, wordpress_db, woocommerce, failure FROM ' . IMAGES_TABLE)->fetch_all();
$pending = pending($code, $database);
$failures = array_column($images, 4, 0);
echo json_encode([
    'image' => getenv('STORE_IMAGE'),
    'code' => $code,
    'database' => $database,
    'pending' => $pending,
    'waits_for' => $pending === [] ? [] : others($db, $code),
    'failure' => $pending === [] ? null : ($failures[getenv('STORE_IMAGE')] ?? null),
    'images' => array_map(
        static fn (array $row): array => [
            'image' => $row[0], 'wordpress' => $row[1], 'wordpress_db' => (int) $row[2], 'woocommerce' => $row[3],
        ],
        $images,
    ),
], JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES), "\n";
done();
