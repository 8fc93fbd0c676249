<?php
/**
 * A product. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Product extends WC_Data
{
    protected $object_type = 'product';
    protected $data = [
        'name' => '',
        'slug' => '',
        'date_created' => null,
        'date_modified' => null,
        'status' => 'publish',
        'featured' => false,
        'catalog_visibility' => 'visible',
        'description' => '',
        'short_description' => '',
        'sku' => '',
        'price' => '',
        'regular_price' => '',
        'sale_price' => '',
        'total_sales' => 0,
        'manage_stock' => false,
        'stock_quantity' => null,
        'stock_status' => 'instock',
        'weight' => '',
        'virtual' => false,
        'category_ids' => [],
        'image_id' => '',
    ];

    public function get_type()
    {
        return 'simple';
    }

    public function is_type($type)
    {
        return in_array($this->get_type(), (array) $type, true);
    }

    public function get_title()
    {
        return $this->get_name();
    }

    public function get_permalink()
    {
        return get_permalink($this->get_id());
    }

    public function exists()
    {
        return $this->get_id() > 0 && get_post_status($this->get_id()) !== false;
    }

    public function is_in_stock()
    {
        return $this->get_stock_status() === 'instock';
    }

    public function is_purchasable()
    {
        return $this->exists() && $this->get_price() !== '' && $this->get_status() === 'publish';
    }

    public function managing_stock()
    {
        return (bool) $this->get_manage_stock();
    }

    public function needs_shipping()
    {
        return !$this->get_virtual();
    }

    public function set_regular_price($price)
    {
        $this->set_prop('regular_price', wc_format_decimal($price));
        $this->price_follows();
    }

    public function set_sale_price($price)
    {
        $this->set_prop('sale_price', wc_format_decimal($price));
        $this->price_follows();
    }

    public function set_price($price)
    {
        $this->set_prop('price', wc_format_decimal($price));
    }

    public function set_status($status)
    {
        $this->set_prop('status', (string) $status);
    }

    public function set_featured($featured)
    {
        $this->set_prop('featured', wc_string_to_bool($featured));
    }

    public function set_manage_stock($manage)
    {
        $this->set_prop('manage_stock', wc_string_to_bool($manage));
    }

    public function set_virtual($virtual)
    {
        $this->set_prop('virtual', wc_string_to_bool($virtual));
    }

    public function set_total_sales($total)
    {
        $this->set_prop('total_sales', (int) $total);
    }

    public function set_stock_quantity($quantity)
    {
        $this->set_prop('stock_quantity', $quantity === null || $quantity === '' ? null : (int) $quantity);
    }

    public function set_category_ids($ids)
    {
        $ids = array_map('intval', (array) $ids);
        sort($ids);
        $this->set_prop('category_ids', $ids);
    }

    public function set_sku($sku)
    {
        $sku = (string) $sku;
        $other = $sku === '' || !$this->get_object_read() ? 0 : wc_get_product_id_by_sku($sku);
        if ($other > 0 && $other !== $this->get_id()) {
            throw new WC_Data_Exception('product_invalid_sku', 'Invalid or duplicated SKU.', 400);
        }
        $this->set_prop('sku', $sku);
    }

    private function price_follows(): void
    {
        if ($this->get_object_read()) {
            $sale = $this->get_sale_price('edit');
            $this->set_price($sale !== '' ? $sale : $this->get_regular_price('edit'));
        }
    }
}
