<?php
/**
 * Plugins and themes as packages: where each comes from, and how it gets to its place whole or not at all.
 *
 * A package is an entry of settings()['packages']: kind (`plugin` or `theme`), slug, version, url, sha256, value (the
 * chart's value that names it). Nothing here loads WordPress.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

require_once __DIR__ . '/headers.php';

const CONTENT_DIR = '/var/www/html/wp-content';
const BUNDLED_DIR = '/usr/src/wordpress/wp-content';
// On the volume of the uploads, beside them: Apache does not serve it, and a restarted pod finds it again.
const PACKAGES_DIR = '/var/lib/store/packages';
const KEPT_S = 30 * 24 * 3600;
const ENTRIES_MAX = 50_000;
const UNPACKED_MIB_MAX = 1024;

/** A package as messages call it. */
function title_of(array $package): string
{
    return trim("{$package['kind']} {$package['slug']} {$package['version']}");
}

function place_of(array $package, string $content = CONTENT_DIR): string
{
    return "$content/{$package['kind']}s/{$package['slug']}";
}

/**
 * Where the package comes from: 'image' or 'archive'. Refuses if it comes from nowhere.
 *
 * The image wins where it has the wanted version, so that nothing is fetched that is there already.
 */
function source_of(array $package): string
{
    $bundled = version_in(place_of($package, BUNDLED_DIR), $package['kind']);
    if ($bundled !== null && ($package['version'] === '' || $package['version'] === $bundled)) {
        return 'image';
    }
    if ($package['url'] !== '') {
        return 'archive';
    }
    $image = getenv('STORE_IMAGE');
    $has = $bundled === null ? "the image $image has none" : "the image $image has $bundled";
    refuse_for_good(
        title_of($package) . ": $has, and {$package['value']} names no url",
        "use an image that has it, or set {$package['value']} to a version, an url and its sha256",
    );
}

/** The package is at its place, as declared. */
function put(array $package, array $placed): array
{
    $place = place_of($package);
    $source = source_of($package);
    $declared = $source === 'image'
        ? 'image ' . version_in(place_of($package, BUNDLED_DIR), $package['kind'])
        : "archive {$package['sha256']}";
    $key = "{$package['kind']}/{$package['slug']}";
    $there = version_in($place, $package['kind']);
    if (settings()['wpContent'] === 'persistent') {
        // What the merchant put in its place by the admin page stays until another is declared.
        if ($there !== null && ($placed[$key] ?? null) === $declared) {
            // It may be needed again: what is declared is not forgotten.
            $archive = PACKAGES_DIR . "/{$package['sha256']}.zip";
            if ($source === 'archive' && is_file($archive)) {
                touch($archive);
            }
            return [$key, $declared];
        }
    } elseif ($source === 'image' && $there === substr($declared, strlen('image '))) {
        return [$key, $declared];
    }
    $beside = CONTENT_DIR . "/.store-{$package['kind']}-{$package['slug']}";
    remove($beside);
    if ($source === 'image') {
        copy_folder(place_of($package, BUNDLED_DIR), "$beside/{$package['slug']}");
    } else {
        unpack_archive(archive_of($package), $package, $beside);
    }
    swap("$beside/{$package['slug']}", $place, "$beside/old");
    remove($beside);
    say(title_of($package) . " is there, from the $source");
    return [$key, $declared];
}

/** `$new` is at `$place`. At no time is there half of a folder; a process that dies between leaves none, and heals. */
function swap(string $new, string $place, string $old): void
{
    if (file_exists($place) && !rename($place, $old)) {
        refuse("$place cannot be moved away", 'look at the mounts of wp-content');
    }
    if (!rename($new, $place)) {
        refuse("$place cannot be made", 'look at the mounts of wp-content');
    }
}

/** The package's archive in the cache, with the declared SHA-256: fetched once, then found there at each start. */
function archive_of(array $package): string
{
    $file = PACKAGES_DIR . "/{$package['sha256']}.zip";
    if (is_file($file)) {
        if (hash_file('sha256', $file) === $package['sha256']) {
            touch($file);
            return $file;
        }
        say("$file is damaged and is fetched anew");
        unlink($file);
    }
    $part = "$file.part";
    fetch($package, $part);
    $found = hash_file('sha256', $part);
    if ($found !== $package['sha256']) {
        unlink($part);
        refuse_for_good(
            title_of($package) . ": {$package['url']} has the SHA-256 $found, and {$package['value']}.sha256 says"
            . " {$package['sha256']}; nothing of it was installed",
            "compare with who publishes it, and correct {$package['value']}.sha256 or {$package['value']}.url",
        );
    }
    if (!rename($part, $file)) {
        refuse("$file cannot be made", 'look at the volume of the uploads');
    }
    return $file;
}

/** The file holds what the package's url gives: three tries, each within a time limit, never more than a size. */
function fetch(array $package, string $file): void
{
    $limits = settings()['download'];
    if (str_starts_with($package['url'], 'file://')) {
        if (!@copy(substr($package['url'], strlen('file://')), $file)) {
            $what = title_of($package) . ": {$package['url']} cannot be read";
            refuse_for_good($what, "correct {$package['value']}.url");
        }
        return;
    }
    for ($try = 1; ; $try++) {
        [$error, $worth_retrying, $for_good] = fetch_once($package['url'], $file, $limits);
        if ($error === null) {
            return;
        }
        @unlink($file);
        if (!$worth_retrying || $try === 3) {
            $what = title_of($package) . ": {$package['url']}: $error";
            $cure = "correct {$package['value']}.url, let the store reach it, or use an image that has the package";
            $for_good ? refuse_for_good($what, $cure) : refuse($what, $cure);
        }
        say(title_of($package) . ": {$package['url']}: $error; trying again");
        sleep($try);
    }
}

/**
 * @return array{?string, bool, bool} what went wrong or null, whether it may go better in a moment, and whether it never
 *     will: the publisher refuses the url, or what it gives is too large
 */
function fetch_once(string $url, string $file, array $limits): array
{
    $max = $limits['maxMib'] * 1024 * 1024;
    $out = fopen($file, 'wb');
    if ($out === false) {
        return ["$file cannot be written", false, false];
    }
    $size = 0;
    $full = false;
    $request = curl_init($url);
    curl_setopt_array($request, [
        CURLOPT_PROTOCOLS => CURLPROTO_HTTPS | CURLPROTO_HTTP,
        CURLOPT_REDIR_PROTOCOLS => CURLPROTO_HTTPS | CURLPROTO_HTTP,
        CURLOPT_FOLLOWLOCATION => true,
        CURLOPT_MAXREDIRS => 3,
        CURLOPT_CONNECTTIMEOUT => 10,
        CURLOPT_TIMEOUT => $limits['timeoutSeconds'],
        // Less than 1 KiB/s for 20 seconds is a connection that is dead.
        CURLOPT_LOW_SPEED_LIMIT => 1024,
        CURLOPT_LOW_SPEED_TIME => 20,
        CURLOPT_FAILONERROR => true,
        CURLOPT_USERAGENT => 'multi-store-platform',
        CURLOPT_WRITEFUNCTION => static function ($_, string $data) use ($out, &$size, $max, &$full): int {
            $size += strlen($data);
            if ($size > $max) {
                return 0;
            }
            $written = fwrite($out, $data);
            $full = $written !== strlen($data);
            return (int) $written;
        },
    ]);
    curl_exec($request);
    $failed = curl_errno($request);
    $error = curl_error($request);
    $code = curl_getinfo($request, CURLINFO_RESPONSE_CODE);
    $closed = fclose($out);
    $refused = $code >= 400 && $code < 500 && $code !== 429;
    return match (true) {
        $size > $max => ["is larger than {$limits['maxMib']} MiB, which install.download.maxMib allows", false, true],
        $full || !$closed => ["$file cannot be written to its end: is the volume of the uploads full?", false, false],
        $failed !== 0 => [$error, !$refused, $refused],
        default => [null, false, false],
    };
}

/** `$into` holds the one folder of the archive, of the declared version. Refuses whatever else an archive may hold. */
function unpack_archive(string $file, array $package, string $into): void
{
    $of = title_of($package) . ': its archive';
    $cure = "get an archive of one folder {$package['slug']} from who publishes it, and correct {$package['value']}";
    $zip = new ZipArchive();
    $code = $zip->open($file, ZipArchive::CHECKCONS);
    if ($code !== true) {
        refuse_for_good("$of is no zip archive (code $code)", $cure);
    }
    if ($zip->numFiles > ENTRIES_MAX) {
        refuse_for_good("$of has $zip->numFiles entries, more than " . ENTRIES_MAX, $cure);
    }
    $bytes = 0;
    for ($index = 0; $index < $zip->numFiles; $index++) {
        $entry = $zip->statIndex($index);
        $name = $entry['name'];
        $bytes += $entry['size'];
        if (preg_match('~^/|\\\\|(^|/)\.\.?(/|$)|[\x00-\x1f\x7f]~', $name)) {
            refuse_for_good("$of has the entry " . json_encode($name) . ', which leads out of its folder', $cure);
        }
        if (explode('/', $name)[0] !== $package['slug']) {
            refuse_for_good("$of has the entry $name, which is not in the folder {$package['slug']}", $cure);
        }
        $zip->getExternalAttributesIndex($index, $system, $attributes);
        $kind = ($attributes >> 16) & 0170000;
        if ($system === ZipArchive::OPSYS_UNIX && !in_array($kind, [0, 0100000, 0040000], true)) {
            refuse_for_good("$of has the entry $name, which is neither file nor folder", $cure);
        }
    }
    if ($bytes > UNPACKED_MIB_MAX * 1024 * 1024) {
        refuse_for_good("$of unpacks to more than " . UNPACKED_MIB_MAX . ' MiB', $cure);
    }
    if (!mkdir($into, 0755, true) || !$zip->extractTo($into)) {
        refuse("$of cannot be unpacked into wp-content: {$zip->getStatusString()}", 'look at the size of the volume');
    }
    $zip->close();
    $version = version_in("$into/{$package['slug']}", $package['kind']);
    if ($version !== $package['version']) {
        $is = $version === null ? "holds no {$package['kind']}" : "is of version $version";
        refuse_for_good("$of $is", "correct {$package['value']}.version or {$package['value']}.url");
    }
}

/** The folder and all that is in it is gone. */
function remove(string $folder): void
{
    if (!is_dir($folder)) {
        return;
    }
    $inside = new RecursiveIteratorIterator(
        new RecursiveDirectoryIterator($folder, FilesystemIterator::SKIP_DOTS),
        RecursiveIteratorIterator::CHILD_FIRST,
    );
    foreach ($inside as $path => $entry) {
        $entry->isDir() && !$entry->isLink() ? rmdir($path) : unlink($path);
    }
    rmdir($folder);
}

function copy_folder(string $from, string $to): void
{
    if (!mkdir($to, 0755, true)) {
        refuse("$to cannot be made", 'look at the mounts of wp-content');
    }
    $inside = new RecursiveIteratorIterator(
        new RecursiveDirectoryIterator($from, FilesystemIterator::SKIP_DOTS),
        RecursiveIteratorIterator::SELF_FIRST,
    );
    foreach ($inside as $path => $entry) {
        $target = $to . substr($path, strlen($from));
        if (!($entry->isDir() ? mkdir($target) : copy($path, $target))) {
            refuse("$target cannot be written", 'look at the size of the volume');
        }
    }
}

/** Archives that nothing has asked for in a month are gone; those stay to which a rollback may go back. */
function forget_old_archives(): void
{
    foreach (glob(PACKAGES_DIR . '/*.zip*') ?: [] as $file) {
        if (filemtime($file) < time() - KEPT_S) {
            unlink($file);
        }
    }
}
