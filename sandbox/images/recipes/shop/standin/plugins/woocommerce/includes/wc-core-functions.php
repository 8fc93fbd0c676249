<?php
/**
 * Functions that themes, plugins and the platform call. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

function wc_get_page_id($page)
{
    $id = apply_filters("woocommerce_get_{$page}_page_id", get_option("woocommerce_{$page}_page_id"));
    return $id ? absint($id) : -1;
}

function wc_get_page_permalink($page, $fallback = null)
{
    $id = wc_get_page_id($page);
    return $id > 0 ? get_permalink($id) : ($fallback ?? home_url());
}

function get_woocommerce_currency()
{
    return apply_filters('woocommerce_currency', get_option('woocommerce_currency'));
}

function wc_get_price_decimals()
{
    return (int) get_option('woocommerce_price_num_decimals', 2);
}

function wc_price($price, $args = [])
{
    return sprintf(
        '<span class="woocommerce-Price-amount amount">%s&nbsp;%s</span>',
        esc_html(number_format_i18n((float) $price, wc_get_price_decimals())),
        esc_html(get_woocommerce_currency()),
    );
}

/** A number as text, without rounding; an empty text stays one. */
function wc_format_decimal($number, $decimals = false, $trim_zeros = false)
{
    if ($number === null || trim((string) $number) === '') {
        return '';
    }
    $number = str_replace(',', '.', preg_replace('/[^0-9.,-]/', '', (string) $number));
    return $decimals === false ? $number : number_format((float) $number, (int) $decimals, '.', '');
}

function wc_string_to_bool($text)
{
    return is_bool($text) ? $text : in_array(strtolower((string) $text), ['yes', 'true', '1'], true);
}

function wc_bool_to_string($bool)
{
    return wc_string_to_bool($bool) ? 'yes' : 'no';
}

function wc_clean($value)
{
    return is_array($value) ? array_map('wc_clean', $value) : sanitize_text_field((string) $value);
}

/** A price in the currency's smallest unit, as the Store API has them: 12.50 is "1250". */
function wc_minor_units($price)
{
    return (string) (int) round((float) $price * 10 ** wc_get_price_decimals());
}

/** Whether a user may do this to an object of the REST interface. */
function wc_rest_check_post_permissions($post_type, $context = 'read', $object_id = 0)
{
    $capabilities = [
        'read' => 'read_private_posts',
        'create' => 'publish_posts',
        'edit' => 'edit_post',
        'delete' => 'delete_post',
    ];
    $type = get_post_type_object($post_type);
    $allowed = $type && current_user_can($type->cap->{$capabilities[$context]}, $object_id);
    return apply_filters('woocommerce_rest_check_permissions', $allowed, $context, $object_id, $post_type);
}
