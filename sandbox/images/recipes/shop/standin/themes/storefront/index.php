<?php
/**
 * Every page. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

get_header();
$storefront_many = !is_singular();
if ($storefront_many && !is_front_page()) {
    echo '<h1 class="page-title">', wp_kses_post(is_post_type_archive('product') ? 'Shop' : get_the_archive_title()), '</h1>';
}
echo $storefront_many ? '<div class="products">' : '';
while (have_posts()) {
    the_post();
    ?>
    <article id="post-<?php the_ID(); ?>" <?php post_class(); ?>>
        <?php
        if ($storefront_many) {
            the_title('<h2><a href="' . esc_url(get_permalink()) . '">', '</a></h2>');
            the_excerpt();
        } else {
            the_title('<h1 class="entry-title">', '</h1>');
            the_content();
        }
        ?>
    </article>
    <?php
}
echo $storefront_many ? '</div>' : '';
if (!have_posts() && $storefront_many && $wp_query->post_count === 0) {
    echo '<p class="woocommerce-info">No products were found matching your selection.</p>';
}
the_posts_pagination();
get_footer();
