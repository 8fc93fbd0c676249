<?php
/**
 * Plugin Name: Store platform: settings
 * Description: What the other parts of the platform's own plugins share.
 * License:     GPL-2.0-or-later
 *
 * Loaded with every request, also while WordPress is being installed into an empty database: nothing in these files may
 * touch the database before a hook of WordPress calls it.
 */

declare(strict_types=1);

namespace StorePlatform;

const SETTINGS_FILE = '/etc/store/platform/settings.json';

/** The chart's values that a running shop needs, as mu-plugins-configmap.yaml writes them. No secret is among them. */
function settings(): array
{
    static $settings = null;
    if ($settings === null) {
        $text = @file_get_contents(SETTINGS_FILE);
        $settings = $text === false ? [] : (json_decode($text, true) ?: []);
        if ($settings === []) {
            complain('settings', SETTINGS_FILE . ' is missing or broken; run helm upgrade again');
        }
    }
    return $settings + ['store' => '', 'receiver' => null, 'mail' => null];
}

/** The content of a mounted secret without the newline at its end; empty where there is none. */
function secret(string $path): string
{
    return rtrim((string) @file_get_contents($path), "\r\n");
}

/** One line in the pod's log, once per request and problem. Never with a secret or a person's data in it. */
function complain(string $topic, string $line): void
{
    static $said = [];
    if (!isset($said["$topic: $line"])) {
        $said["$topic: $line"] = true;
        error_log("store $topic: $line");
    }
}
