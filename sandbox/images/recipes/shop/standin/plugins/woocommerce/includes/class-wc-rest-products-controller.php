<?php
/**
 * /wp-json/wc/v3/products: read, create, change, trash and delete products. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_REST_Products_Controller extends WP_REST_Controller
{
    protected $namespace = 'wc/v3';
    protected $rest_base = 'products';

    private const WRITABLE = [
        'name', 'slug', 'status', 'featured', 'catalog_visibility', 'description', 'short_description', 'sku',
        'regular_price', 'sale_price', 'virtual', 'manage_stock', 'stock_quantity', 'stock_status', 'weight',
    ];

    public function register_routes()
    {
        register_rest_route($this->namespace, "/$this->rest_base", [
            $this->endpoint('GET', 'get_items', 'read', [
                'page' => ['type' => 'integer', 'default' => 1, 'minimum' => 1],
                'per_page' => ['type' => 'integer', 'default' => 10, 'minimum' => 1, 'maximum' => 100],
                'search' => ['type' => 'string'],
                'sku' => ['type' => 'string'],
                'status' => ['type' => 'string', 'default' => 'any'],
                'include' => ['type' => 'array', 'items' => ['type' => 'integer']],
                'order' => ['type' => 'string', 'default' => 'desc', 'enum' => ['asc', 'desc']],
                'orderby' => ['type' => 'string', 'default' => 'date', 'enum' => ['date', 'id', 'title', 'modified']],
                'modified_after' => ['type' => 'string', 'format' => 'date-time'],
                'dates_are_gmt' => ['type' => 'boolean', 'default' => false],
            ]),
            $this->endpoint('POST', 'create_item', 'create', $this->fields()),
        ]);
        register_rest_route($this->namespace, "/$this->rest_base/(?P<id>[\d]+)", [
            'args' => ['id' => ['type' => 'integer']],
            $this->endpoint('GET', 'get_item', 'read'),
            $this->endpoint('POST, PUT, PATCH', 'update_item', 'edit', $this->fields()),
            $this->endpoint('DELETE', 'delete_item', 'delete', [
                'force' => ['type' => 'boolean', 'default' => false],
            ]),
        ]);
    }

    public function get_items($request)
    {
        $query = [
            'post_type' => 'product',
            'post_status' => $request['status'],
            'posts_per_page' => $request['per_page'],
            'paged' => $request['page'],
            'order' => strtoupper($request['order']),
            'orderby' => ['id' => 'ID'][$request['orderby']] ?? $request['orderby'],
            's' => $request['search'] ?? '',
            'fields' => 'ids',
        ];
        if ($request['include']) {
            $query['post__in'] = $request['include'];
        }
        if (isset($request['sku'])) {
            $query['meta_query'] = [['key' => '_sku', 'value' => explode(',', $request['sku'])]];
        }
        if (isset($request['modified_after'])) {
            $column = $request['dates_are_gmt'] ? 'post_modified_gmt' : 'post_modified';
            $query['date_query'] = [['column' => $column, 'after' => $request['modified_after']]];
        }
        $found = new WP_Query($query);
        $data = [];
        foreach ($found->posts as $id) {
            $data[] = $this->prepare_response_for_collection(
                $this->prepare_item_for_response(wc_get_product($id), $request),
            );
        }
        $response = rest_ensure_response($data);
        $response->header('X-WP-Total', (string) $found->found_posts);
        $response->header('X-WP-TotalPages', (string) $found->max_num_pages);
        return $response;
    }

    public function get_item($request)
    {
        $product = wc_get_product((int) $request['id']);
        return $product ? $this->prepare_item_for_response($product, $request) : $this->not_found();
    }

    public function create_item($request)
    {
        if (!empty($request['id'])) {
            return new WP_Error('woocommerce_rest_product_exists', 'Cannot create existing product.', ['status' => 400]);
        }
        return $this->saved(new WC_Product_Simple(), $request, 201);
    }

    public function update_item($request)
    {
        $product = wc_get_product((int) $request['id']);
        return $product ? $this->saved($product, $request, 200) : $this->not_found();
    }

    public function delete_item($request)
    {
        $product = wc_get_product((int) $request['id']);
        if (!$product) {
            return $this->not_found();
        }
        if (!$request['force'] && $product->get_status() === 'trash') {
            return new WP_Error('woocommerce_rest_already_trashed', 'The product has already been deleted.', ['status' => 410]);
        }
        $response = $this->prepare_item_for_response($product, $request);
        $product->delete((bool) $request['force']);
        do_action('woocommerce_rest_delete_product_object', $product, $response, $request);
        return $response;
    }

    public function prepare_item_for_response($item, $request)
    {
        $data = [
            'id' => $item->get_id(),
            'name' => $item->get_name(),
            'slug' => $item->get_slug(),
            'permalink' => $item->get_permalink(),
            'date_created' => $this->date($item->get_date_created()),
            'date_created_gmt' => $this->date(get_gmt_from_date((string) $item->get_date_created())),
            'date_modified' => $this->date($item->get_date_modified()),
            'date_modified_gmt' => $this->date(get_gmt_from_date((string) $item->get_date_modified())),
            'type' => $item->get_type(),
            'status' => $item->get_status(),
            'featured' => $item->get_featured(),
            'catalog_visibility' => $item->get_catalog_visibility(),
            'description' => wpautop(do_shortcode($item->get_description())),
            'short_description' => wpautop($item->get_short_description()),
            'sku' => $item->get_sku(),
            'price' => $item->get_price(),
            'regular_price' => $item->get_regular_price(),
            'sale_price' => $item->get_sale_price(),
            'on_sale' => $item->get_sale_price() !== '',
            'purchasable' => $item->is_purchasable(),
            'total_sales' => $item->get_total_sales(),
            'virtual' => $item->get_virtual(),
            'downloadable' => false,
            'manage_stock' => $item->get_manage_stock(),
            'stock_quantity' => $item->get_stock_quantity(),
            'stock_status' => $item->get_stock_status(),
            'backorders' => 'no',
            'weight' => $item->get_weight(),
            'shipping_required' => $item->needs_shipping(),
            'categories' => array_map(static function ($id): array {
                $term = get_term($id, 'product_cat');
                return ['id' => $id, 'name' => $term->name, 'slug' => $term->slug];
            }, $item->get_category_ids()),
            'tags' => [],
            'images' => [],
            'attributes' => [],
            'meta_data' => $item->get_meta_data(),
        ];
        $response = rest_ensure_response($data);
        $response->add_links([
            'self' => ['href' => rest_url("$this->namespace/$this->rest_base/{$item->get_id()}")],
            'collection' => ['href' => rest_url("$this->namespace/$this->rest_base")],
        ]);
        return apply_filters('woocommerce_rest_prepare_product_object', $response, $item, $request);
    }

    private function saved(WC_Product $product, $request, int $status)
    {
        $new = !$product->get_id();
        try {
            foreach (self::WRITABLE as $name) {
                if (isset($request[$name])) {
                    $product->{"set_$name"}($request[$name]);
                }
            }
            if (isset($request['categories'])) {
                $product->set_category_ids(array_column($request['categories'], 'id'));
            }
            foreach ($request['meta_data'] ?? [] as $meta) {
                $product->update_meta_data($meta['key'], $meta['value']);
            }
            $product->save();
        } catch (WC_Data_Exception $error) {
            return new WP_Error($error->getErrorCode(), $error->getMessage(), ['status' => $error->getCode()]);
        }
        $product = wc_get_product($product->get_id());
        do_action('woocommerce_rest_insert_product_object', $product, $request, $new);
        $response = $this->prepare_item_for_response($product, $request);
        $response->set_status($status);
        return $response;
    }

    private function endpoint(string $methods, string $callback, string $context, array $args = []): array
    {
        return [
            'methods' => $methods,
            'callback' => [$this, $callback],
            'permission_callback' => static function ($request) use ($context) {
                $id = (int) ($request['id'] ?? 0);
                if ($id > 0 && get_post_type($id) !== 'product') {
                    return true; // the callback says that there is no such product
                }
                $needed = $id === 0 && $context === 'edit' ? 'create' : $context;
                return wc_rest_check_post_permissions('product', $needed, $id) ? true : new WP_Error(
                    'woocommerce_rest_cannot_' . ($context === 'read' ? 'view' : $context),
                    'Sorry, you are not allowed to do that.',
                    ['status' => rest_authorization_required_code()],
                );
            },
            'args' => $args,
        ];
    }

    private function fields(): array
    {
        $text = ['type' => 'string'];
        $truth = ['type' => 'boolean'];
        return [
            'name' => $text, 'slug' => $text, 'description' => $text, 'short_description' => $text, 'sku' => $text,
            'regular_price' => $text, 'sale_price' => $text, 'weight' => $text,
            'status' => ['type' => 'string', 'enum' => ['draft', 'pending', 'private', 'publish', 'future']],
            'catalog_visibility' => ['type' => 'string', 'enum' => ['visible', 'catalog', 'search', 'hidden']],
            'stock_status' => ['type' => 'string', 'enum' => ['instock', 'outofstock', 'onbackorder']],
            'featured' => $truth, 'virtual' => $truth, 'manage_stock' => $truth,
            'stock_quantity' => ['type' => 'integer'],
            'categories' => ['type' => 'array', 'items' => ['type' => 'object']],
            'meta_data' => ['type' => 'array', 'items' => ['type' => 'object']],
        ];
    }

    private function not_found(): WP_Error
    {
        return new WP_Error('woocommerce_rest_product_invalid_id', 'Invalid ID.', ['status' => 404]);
    }

    private function date($local): ?string
    {
        return $local ? mysql2date('Y-m-d\TH:i:s', (string) $local, false) : null;
    }
}
