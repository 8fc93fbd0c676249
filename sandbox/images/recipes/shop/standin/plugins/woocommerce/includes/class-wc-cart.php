<?php
/**
 * One visitor's cart: product ids and quantities, kept under a key that only the visitor knows.
 *
 * A visitor is known by the header Cart-Token, else by a cookie. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Cart
{
    private const COOKIE = 'wc_standin_cart';
    private const KEPT_S = 2 * DAY_IN_SECONDS;

    private string $key;
    /** @var array<int, int> product id => quantity */
    private array $lines = [];

    private function __construct(string $key)
    {
        $this->key = $key;
        $lines = get_transient("wc_cart_$key");
        $this->lines = is_array($lines) ? $lines : [];
    }

    /** The cart of a token that `token()` gave out, or null. */
    public static function of_token(string $token): ?self
    {
        [$key, $signature] = explode('.', $token, 2) + [1 => ''];
        $good = preg_match('/^[0-9a-f]{32}$/', $key) && hash_equals(self::sign($key), $signature);
        return $good ? new self($key) : null;
    }

    /** The cart of this browser; a new one, if it has none yet. */
    public static function of_cookie(): self
    {
        return self::of_token(wp_unslash((string) ($_COOKIE[self::COOKIE] ?? ''))) ?? new self(bin2hex(random_bytes(16)));
    }

    public function token(): string
    {
        return $this->key . '.' . self::sign($this->key);
    }

    public function set_cookie(): void
    {
        setcookie(self::COOKIE, $this->token(), [
            'path' => '/', 'httponly' => true, 'samesite' => 'Lax', 'secure' => is_ssl(),
        ]);
    }

    /** @return array<int, int> product id => quantity, of products that can still be bought */
    public function get_cart(): array
    {
        return array_filter(
            $this->lines,
            static fn (int $id): bool => ($product = wc_get_product($id)) && $product->is_purchasable(),
            ARRAY_FILTER_USE_KEY,
        );
    }

    public function is_empty(): bool
    {
        return $this->get_cart() === [];
    }

    /** Raises WC_Data_Exception if the product cannot be bought so often. */
    public function add_to_cart(int $id, int $quantity = 1): void
    {
        $this->set_quantity($id, ($this->lines[$id] ?? 0) + $quantity);
    }

    /** 0 removes the line. Raises WC_Data_Exception if the product cannot be bought so often. */
    public function set_quantity(int $id, int $quantity): void
    {
        if ($quantity <= 0) {
            unset($this->lines[$id]);
            $this->keep();
            return;
        }
        $product = wc_get_product($id);
        if (!$product || !$product->is_purchasable()) {
            throw new WC_Data_Exception('woocommerce_rest_product_not_purchasable', 'This product cannot be purchased.');
        }
        $short = $product->managing_stock() && $product->get_stock_quantity() < $quantity;
        if (!$product->is_in_stock() || $short) {
            throw new WC_Data_Exception(
                'woocommerce_rest_product_out_of_stock',
                "You cannot add that amount of \"{$product->get_name()}\" to the cart.",
            );
        }
        $this->lines[$id] = $quantity;
        $this->keep();
    }

    public function empty_cart(): void
    {
        $this->lines = [];
        delete_transient("wc_cart_$this->key");
    }

    public function total(): float
    {
        $total = 0.0;
        foreach ($this->get_cart() as $id => $quantity) {
            $total += (float) wc_get_product($id)->get_price() * $quantity;
        }
        return $total;
    }

    private function keep(): void
    {
        set_transient("wc_cart_$this->key", $this->lines, self::KEPT_S);
    }

    private static function sign(string $key): string
    {
        return hash_hmac('sha256', $key, wp_salt('auth') . 'wc-cart');
    }
}
