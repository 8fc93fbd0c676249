<?php
/**
 * It is on record that this pod lives, and of what version it is; the image's versions are on record too.
 *
 * Ends with EXIT_DUE when the database is older than the code, no pod of another version is left, and this one serves.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';

$code = code_versions();
$db = connected();
$database = database_versions($db);
make_tables($db);
prepared(
    $db,
    'REPLACE INTO ' . PODS_TABLE . ' VALUES (?, ?, ?, ?, ?, UNIX_TIMESTAMP())',
    [gethostname(), getenv('STORE_IMAGE'), $code['wordpress'], $code['wordpress_db'], $code['woocommerce']],
);
query($db, 'DELETE FROM ' . PODS_TABLE . ' WHERE seen_at < UNIX_TIMESTAMP() - 86400');
prepared(
    $db,
    'INSERT INTO ' . IMAGES_TABLE . ' VALUES (?, ?, ?, ?, NULL, UNIX_TIMESTAMP()) ON DUPLICATE KEY UPDATE'
    . ' wordpress = VALUES(wordpress), wordpress_db = VALUES(wordpress_db), woocommerce = VALUES(woocommerce),'
    . ' seen_at = VALUES(seen_at)',
    [getenv('STORE_IMAGE'), $code['wordpress'], $code['wordpress_db'], $code['woocommerce']],
);
$due = pending($code, $database) !== [] && others($db, $code) === [] && serves();
succeed_or_fail($due ? EXIT_DUE : 0);
