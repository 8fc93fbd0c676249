<?php
/**
 * What the files of a plugin or theme say of themselves in their headers, read as WordPress reads them.
 *
 * License: GPL-2.0-or-later
 */

declare(strict_types=1);

/**
 * The version that a folder's header tells, or null if it holds no such plugin or theme.
 *
 * As WordPress reads it: in a theme's style.css, or in the PHP file of a plugin that has a `Plugin Name`, see main_file().
 */
function version_in(string $folder, string $kind): ?string
{
    $file = $kind === 'theme' ? "$folder/style.css" : main_file($folder);
    $head = $file === null ? '' : head_of($file);
    if (!has_name($head, $kind)) {
        return null;
    }
    return preg_match('/^[ \t\/*#@]*Version:[ \t]*(\S+)/mi', $head, $found) ? $found[1] : '';
}

/** The file that is the plugin in this folder: the one that is named as the folder is, else the first with a header. */
function main_file(string $folder): ?string
{
    // An archive may hold a second plugin beside the one that it is named after.
    $files = array_unique(["$folder/" . basename($folder) . '.php', ...(glob("$folder/*.php") ?: [])]);
    foreach ($files as $file) {
        if (has_name(head_of($file), 'plugin')) {
            return $file;
        }
    }
    return null;
}

function head_of(string $file): string
{
    return (string) @file_get_contents($file, false, null, 0, 8192);
}

function has_name(string $head, string $kind): bool
{
    $name = $kind === 'theme' ? 'Theme Name' : 'Plugin Name';
    return preg_match("/^[ \\t\\/*#@]*$name:[ \\t]*\\S/mi", $head) === 1;
}
