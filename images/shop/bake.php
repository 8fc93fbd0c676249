<?php
/**
 * WooCommerce and Storefront are in the image, as the build arguments pin them; or the build fails.
 *
 * Runs once, at build time, with the functions that a store's install uses. License: GPL-2.0-or-later.
 */

declare(strict_types=1);

require __DIR__ . '/lib.php';
require __DIR__ . '/packages.php';

/** A build argument, which must be there. */
function argument(string $name): string
{
    $value = (string) getenv($name);
    if ($value === '') {
        refuse("the build argument $name is missing", "pass --build-arg $name=...");
    }
    return $value;
}

/** Ends the build unless the checksum can be one. */
function checked_sha256(string $name): string
{
    $value = argument($name);
    if (!preg_match('/^[0-9a-f]{64}$/', $value)) {
        refuse("the build argument $name is $value, not 64 hexadecimal digits", 'compute it: sha256sum <the archive>');
    }
    return $value;
}

$download = ['timeoutSeconds' => 300, 'maxMib' => 128];
file_put_contents(INSTALL_DIR . '/settings.json', json_encode(['download' => $download], JSON_THROW_ON_ERROR));
if (!is_dir(PACKAGES_DIR) && !mkdir(PACKAGES_DIR, 0755, true)) {
    refuse(PACKAGES_DIR . ' cannot be made', 'build as root; the image that comes out runs as another user');
}
foreach (['plugin' => 'woocommerce', 'theme' => 'storefront'] as $kind => $slug) {
    $prefix = strtoupper($slug);
    $package = [
        'kind' => $kind,
        'slug' => $slug,
        'version' => argument("{$prefix}_VERSION"),
        'url' => argument("{$prefix}_URL"),
        'sha256' => checked_sha256("{$prefix}_SHA256"),
        'value' => "the build arguments $prefix",
    ];
    $beside = BUNDLED_DIR . "/.store-$kind-$slug";
    remove($beside);
    unpack_archive(archive_of($package), $package, $beside);
    remove(place_of($package, BUNDLED_DIR));
    swap("$beside/$slug", place_of($package, BUNDLED_DIR), "$beside/old");
    remove($beside);
    say(title_of($package) . ' is in the image');
}
done();
