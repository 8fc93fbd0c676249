<?php
/**
 * The files of every declared plugin and theme are there: WooCommerce, Storefront, and the merchant's own.
 *
 * Before anything loads WordPress, because a new pod's code holds only what the image has.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';
require __DIR__ . '/packages.php';

const PLACED_FILE = PACKAGES_DIR . '/placed.json';

$placed = json_decode((string) @file_get_contents(PLACED_FILE), true) ?: [];
$now = [];
foreach (settings()['packages'] as $package) {
    [$key, $declared] = put($package, $placed);
    $now[$key] = $declared;
    // After each, so that one that is killed between two does not undo what the merchant did to the first.
    $known = array_merge($placed, $now);
    if ($known !== $placed) {
        $text = json_encode($known, JSON_PRETTY_PRINT | JSON_THROW_ON_ERROR);
        if (file_put_contents(PLACED_FILE . '.new', $text) === false || !rename(PLACED_FILE . '.new', PLACED_FILE)) {
            refuse(PLACED_FILE . ' cannot be written', 'is the volume of the uploads full?');
        }
        $placed = $known;
    }
}
forget_old_archives();
done();
