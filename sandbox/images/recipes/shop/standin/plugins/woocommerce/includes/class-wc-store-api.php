<?php
/**
 * /wp-json/wc/store/v1: what visitors may read, and their cart. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Store_Api
{
    public const NAMESPACE = 'wc/store/v1';

    public function register_routes(): void
    {
        $page = ['type' => 'integer', 'default' => 1, 'minimum' => 1];
        $this->route('/products', 'GET', 'products', [
            'page' => $page,
            'per_page' => ['default' => 10, 'minimum' => 0, 'maximum' => 100] + $page,
            'search' => ['type' => 'string', 'default' => ''],
            'sku' => ['type' => 'string', 'default' => ''],
        ]);
        $this->route('/products/(?P<id>\d+)', 'GET', 'product');
        $this->route('/cart', 'GET', 'cart');
        $line = ['id' => ['type' => 'integer', 'required' => true], 'quantity' => ['type' => 'integer', 'default' => 1]];
        $this->route('/cart/add-item', 'POST', 'add_item', $line);
        $this->route('/cart/update-item', 'POST', 'update_item', [
            'key' => ['type' => 'string', 'required' => true], 'quantity' => ['type' => 'integer', 'required' => true],
        ]);
        $this->route('/cart/remove-item', 'POST', 'remove_item', ['key' => ['type' => 'string', 'required' => true]]);
    }

    public function products($request): WP_REST_Response
    {
        $found = wc_get_products([
            'limit' => $request['per_page'] ?: -1, 'page' => $request['page'], 'search' => $request['search'],
            'sku' => $request['sku'], 'paginate' => true,
        ]);
        $response = new WP_REST_Response(array_map([$this, 'product_data'], $found->products));
        $response->header('X-WP-Total', (string) $found->total);
        $response->header('X-WP-TotalPages', (string) $found->max_num_pages);
        return $response;
    }

    public function product($request)
    {
        $product = wc_get_product((int) $request['id']);
        if (!$product || $product->get_status() !== 'publish') {
            return new WP_Error('woocommerce_rest_product_invalid_id', 'Invalid product ID.', ['status' => 404]);
        }
        return new WP_REST_Response($this->product_data($product));
    }

    public function cart($request)
    {
        return $this->cart_response($this->cart_of($request));
    }

    public function add_item($request)
    {
        return $this->changed($request, static fn (WC_Cart $cart) => $cart->add_to_cart($request['id'], $request['quantity']), 201);
    }

    public function update_item($request)
    {
        return $this->changed($request, static fn (WC_Cart $cart) => $cart->set_quantity((int) $request['key'], $request['quantity']));
    }

    public function remove_item($request)
    {
        return $this->changed($request, static fn (WC_Cart $cart) => $cart->set_quantity((int) $request['key'], 0));
    }

    /** The cart that this request is about. */
    public static function cart_of($request): WC_Cart
    {
        $token = (string) $request->get_header('Cart-Token');
        return WC_Cart::of_token($token) ?? WC_Cart::of_cookie();
    }

    /** Null, or why this request may change nothing: it needs a cart's token, or a nonce of its own browser. */
    public static function refusal($request): ?WP_Error
    {
        if (WC_Cart::of_token((string) $request->get_header('Cart-Token'))) {
            return null;
        }
        $nonce = (string) $request->get_header('Nonce');
        if ($nonce === '') {
            return new WP_Error('woocommerce_rest_missing_nonce', 'Missing the Nonce header. This endpoint requires a valid nonce.', ['status' => 401]);
        }
        if (!wp_verify_nonce($nonce, 'wc_store_api')) {
            return new WP_Error('woocommerce_rest_invalid_nonce', 'Nonce is invalid.', ['status' => 403]);
        }
        return null;
    }

    /** The answer with the headers that the next request needs. */
    public static function with_headers(WP_REST_Response $response, WC_Cart $cart): WP_REST_Response
    {
        $response->header('Nonce', wp_create_nonce('wc_store_api'));
        $response->header('Nonce-Timestamp', (string) time());
        $response->header('Cart-Token', $cart->token());
        return $response;
    }

    /** The currency's part of every answer with prices. */
    public static function currency(): array
    {
        return [
            'currency_code' => get_woocommerce_currency(),
            'currency_minor_unit' => wc_get_price_decimals(),
        ];
    }

    /** The cart as the answers show it. */
    public static function cart_data(WC_Cart $cart): array
    {
        $items = [];
        $count = 0;
        $shipping = false;
        foreach ($cart->get_cart() as $id => $quantity) {
            $product = wc_get_product($id);
            $count += $quantity;
            $items[] = [
                'key' => (string) $id,
                'id' => $id,
                'quantity' => $quantity,
                'name' => $product->get_name(),
                'sku' => $product->get_sku(),
                'permalink' => $product->get_permalink(),
                'prices' => self::currency() + ['price' => wc_minor_units($product->get_price())],
                'totals' => self::currency() + ['line_total' => wc_minor_units((float) $product->get_price() * $quantity)],
            ];
        }
        $total = wc_minor_units($cart->total());
        return [
            'items' => $items,
            'items_count' => $count,
            'needs_payment' => $cart->total() > 0,
            'needs_shipping' => $shipping,
            'payment_methods' => WC_Standin_Payments::enabled(),
            'totals' => self::currency() + ['total_items' => $total, 'total_tax' => '0', 'total_price' => $total],
            'errors' => [],
        ];
    }

    public function product_data(WC_Product $product): array
    {
        $regular = $product->get_regular_price();
        $sale = $product->get_sale_price();
        return [
            'id' => $product->get_id(),
            'name' => $product->get_name(),
            'slug' => $product->get_slug(),
            'type' => $product->get_type(),
            'permalink' => $product->get_permalink(),
            'sku' => $product->get_sku(),
            'short_description' => wpautop($product->get_short_description()),
            'description' => wpautop($product->get_description()),
            'on_sale' => $sale !== '',
            'prices' => self::currency() + [
                'price' => wc_minor_units($product->get_price()),
                'regular_price' => wc_minor_units($regular),
                'sale_price' => wc_minor_units($sale !== '' ? $sale : $regular),
            ],
            'images' => [],
            'categories' => [],
            'is_purchasable' => $product->is_purchasable(),
            'is_in_stock' => $product->is_in_stock(),
        ];
    }

    private function changed($request, callable $change, int $status = 200)
    {
        $refusal = self::refusal($request);
        if ($refusal) {
            return $refusal;
        }
        $cart = self::cart_of($request);
        try {
            $change($cart);
        } catch (WC_Data_Exception $error) {
            return new WP_Error($error->getErrorCode(), $error->getMessage(), ['status' => $error->getCode()]);
        }
        return $this->cart_response($cart, $status);
    }

    private function cart_response(WC_Cart $cart, int $status = 200): WP_REST_Response
    {
        $cart->set_cookie();
        return self::with_headers(new WP_REST_Response(self::cart_data($cart), $status), $cart);
    }

    private function route(string $path, string $methods, string $callback, array $args = []): void
    {
        register_rest_route(self::NAMESPACE, $path, [
            'methods' => $methods,
            'callback' => [$this, $callback],
            'permission_callback' => '__return_true',
            'args' => $args,
        ]);
    }
}
