<?php
/**
 * The top of every page. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;
?><!doctype html>
<html <?php language_attributes(); ?>>
<head>
<meta charset="<?php bloginfo('charset'); ?>">
<meta name="viewport" content="width=device-width, initial-scale=1">
<?php wp_head(); ?>
</head>
<body <?php body_class(); ?>>
<?php wp_body_open(); ?>
<header class="site-header">
    <div class="col-full">
        <p class="site-title"><a href="<?php echo esc_url(home_url('/')); ?>" rel="home"><?php bloginfo('name'); ?></a></p>
        <nav>
            <?php
            foreach (function_exists('wc_get_page_id') ? ['shop', 'cart', 'checkout', 'myaccount'] : [] as $storefront_page) {
                $storefront_id = wc_get_page_id($storefront_page);
                if ($storefront_id > 0) {
                    printf('<a href="%s">%s</a>', esc_url(get_permalink($storefront_id)), esc_html(get_the_title($storefront_id)));
                }
            }
            ?>
        </nav>
    </div>
</header>
<main class="site-content"><div class="col-full">
