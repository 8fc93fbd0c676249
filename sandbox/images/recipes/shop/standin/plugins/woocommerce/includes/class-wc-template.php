<?php
/**
 * What visitors see: prices and buttons in the shop, the pages of the cart, and who is really behind it.
 * License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Template
{
    public static function hook(): void
    {
        add_action('wp_loaded', [self::class, 'add_to_cart']);
        add_filter('the_content', [self::class, 'product_content']);
        add_filter('the_excerpt', [self::class, 'product_content']);
        add_shortcode('woocommerce_cart', [self::class, 'cart']);
        add_shortcode('woocommerce_checkout', [self::class, 'checkout']);
        add_shortcode('woocommerce_my_account', [self::class, 'my_account']);
        foreach (['html', 'xhtml'] as $kind) {
            add_filter("get_the_generator_$kind", [self::class, 'generator']);
        }
        add_action('template_redirect', [self::class, 'curtain']);
        add_action('wp_footer', [self::class, 'footer'], 5);
    }

    /** As the real plugin, the shop's pages say what they are made by; the platform reads it. */
    public static function generator(string $html): string
    {
        return "$html\n" . '<meta name="generator" content="WooCommerce stand-in ' . esc_attr(WC_VERSION) . '">';
    }

    public static function footer(): void
    {
        echo '<p class="wc-standin-notice" style="padding:1em;text-align:center">'
            . 'This shop runs a stand-in for WooCommerce, for trying out the platform. It sells nothing.</p>';
    }

    /** `?add-to-cart=<product id>`, as links of shops have it. */
    public static function add_to_cart(): void
    {
        if (!isset($_REQUEST['add-to-cart']) || !is_numeric($_REQUEST['add-to-cart'])) {
            return;
        }
        $cart = WC_Cart::of_cookie();
        try {
            $cart->add_to_cart((int) $_REQUEST['add-to-cart'], max(1, (int) ($_REQUEST['quantity'] ?? 1)));
        } catch (WC_Data_Exception $error) {
            wp_die(esc_html($error->getMessage()), '', ['response' => 400, 'back_link' => true]);
        }
        $cart->set_cookie();
        wp_safe_redirect(wc_get_page_permalink('cart'));
        exit;
    }

    public static function product_content(string $content): string
    {
        $product = get_post_type() === 'product' && !is_admin() && !wp_is_serving_rest_request() ? wc_get_product(get_the_ID()) : false;
        if (!$product || $product->get_price() === '') {
            return $content;
        }
        $button = $product->is_purchasable() && $product->is_in_stock()
            ? sprintf('<a class="button add_to_cart_button" rel="nofollow" href="%s">Add to cart</a>', esc_url('?add-to-cart=' . $product->get_id()))
            : '<span class="out-of-stock">Out of stock</span>';
        return $content . '<p class="price">' . wc_price($product->get_price()) . "</p><p>$button</p>";
    }

    public static function cart(): string
    {
        $cart = WC_Cart::of_cookie();
        if ($cart->is_empty()) {
            return '<p class="cart-empty">Your cart is currently empty.</p>';
        }
        $rows = '';
        foreach ($cart->get_cart() as $id => $quantity) {
            $product = wc_get_product($id);
            $rows .= sprintf(
                '<tr><td>%s</td><td>%d</td><td>%s</td></tr>',
                esc_html($product->get_name()),
                $quantity,
                wc_price((float) $product->get_price() * $quantity),
            );
        }
        return '<table class="shop_table"><thead><tr><th>Product</th><th>Quantity</th><th>Subtotal</th></tr></thead><tbody>'
            . $rows . '</tbody></table><p>Total: ' . wc_price($cart->total()) . '</p>'
            . '<p><a class="button" href="' . esc_url(wc_get_page_permalink('checkout')) . '">Proceed to checkout</a></p>';
    }

    /** A form whose script places the order by the Store API, as the real checkout does. */
    public static function checkout(): string
    {
        if (WC_Cart::of_cookie()->is_empty()) {
            return self::cart();
        }
        $names = [
            'first_name' => 'First name', 'last_name' => 'Last name', 'address_1' => 'Street', 'postcode' => 'Postcode',
            'city' => 'City', 'country' => 'Country code', 'email' => 'Email',
        ];
        $fields = '';
        foreach ($names as $name => $label) {
            $fields .= sprintf('<p><label>%s <input name="%s" required></label></p>', esc_html($label), esc_attr($name));
        }
        $settings = wp_json_encode([
            'address' => rest_url(WC_Store_Api::NAMESPACE . '/checkout'), 'nonce' => wp_create_nonce('wc_store_api'),
        ]);
        $script = <<<'SCRIPT'
            const form = document.getElementById('wc-standin-checkout');
            form.addEventListener('submit', async (event) => {
                event.preventDefault();
                const settings = JSON.parse(form.dataset.settings);
                const answer = await fetch(settings.address, {
                    method: 'POST',
                    headers: {'Content-Type': 'application/json', Nonce: settings.nonce},
                    body: JSON.stringify({
                        billing_address: Object.fromEntries(new FormData(form)), payment_method: 'cod',
                    }),
                });
                const data = await answer.json();
                form.replaceWith(answer.ok ? `Thank you. Your order ${data.order_id} has been received.` : data.message);
            });
            SCRIPT;
        return '<form id="wc-standin-checkout" data-settings="' . esc_attr($settings) . "\">$fields"
            . '<p>Cash on delivery</p><p><button>Place order</button></p></form>' . "<script>$script</script>";
    }

    public static function my_account(): string
    {
        $user = wp_get_current_user();
        return $user->exists()
            ? '<p>Hello ' . esc_html($user->display_name) . '. <a href="' . esc_url(wp_logout_url()) . '">Log out</a></p>'
            : wp_login_form(['echo' => false]);
    }

    /** Before the shop is opened, visitors see that it is to come. An empty cart has no checkout. */
    public static function curtain(): void
    {
        if (get_option('woocommerce_coming_soon') === 'yes' && !current_user_can('manage_woocommerce')) {
            wp_die('<p class="coming-soon">Great things are on the horizon: coming soon.</p>', get_bloginfo('name'), ['response' => 200]);
        }
        if (is_page(wc_get_page_id('checkout')) && WC_Cart::of_cookie()->is_empty()) {
            wp_safe_redirect(wc_get_page_permalink('cart'));
            exit;
        }
    }
}
