<?php
/**
 * What the theme can do. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

add_action('after_setup_theme', static function (): void {
    add_theme_support('title-tag');
    add_theme_support('post-thumbnails');
    add_theme_support('html5', ['search-form', 'gallery', 'caption', 'style', 'script']);
    add_theme_support('woocommerce');
    register_nav_menus(['primary' => 'Primary Menu']);
});

add_action('wp_enqueue_scripts', static function (): void {
    wp_enqueue_style('storefront-style', get_stylesheet_uri(), [], wp_get_theme()->get('Version'));
});
