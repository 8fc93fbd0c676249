<?php
/**
 * Plugin Name: Store platform: who changed a product
 * Description: Writes who, from where, changed which field of a product, by whatever way it was changed.
 * License:     GPL-2.0-or-later
 *
 * WooCommerce's own webhooks carry the product as it is at the time of sending: not who changed it, nothing of quick
 * changes in between, and nothing of one that is deleted for good. What no plugin can see is SQL that bypasses
 * WordPress' functions.
 */

declare(strict_types=1);

namespace StorePlatform;

require_once __DIR__ . '/store-outbox.php';
require_once __DIR__ . '/store-actor.php';

final class ProductChanges
{
    private const TYPES = ['product', 'product_variation'];

    /** Values of at most so many bytes are told; of longer ones length and SHA-256. */
    private const VALUE_BYTES = 1000;

    /** Told as changed, never with their value. */
    private const SECRET_FIELDS = ['post_password'];

    /** Change with every save, or are counted by WooCommerce from orders and reviews. */
    private const IGNORED_FIELDS = [
        'date_modified', 'total_sales', 'rating_counts', 'average_rating', 'review_count',
    ];
    private const IGNORED_META = [
        '_edit_lock', '_edit_last', '_product_version', 'total_sales', '_wc_rating_count', '_wc_average_rating',
        '_wc_review_count', '_wp_old_slug', '_wp_old_date', '_wp_desired_post_slug', '_wp_trash_meta_status',
        '_wp_trash_meta_time', '_wp_trash_meta_comments_status',
    ];

    /** Columns of a post, by the names that WooCommerce has for them. */
    private const POST_FIELDS = [
        'post_title' => 'name', 'post_name' => 'slug', 'post_content' => 'description',
        'post_excerpt' => 'short_description', 'post_status' => 'status', 'post_parent' => 'parent_id',
        'menu_order' => 'menu_order', 'comment_status' => 'reviews_allowed', 'post_date' => 'date_created',
        'post_password' => 'post_password', 'post_author' => 'author',
    ];

    /** Post meta by WooCommerce's names; values of other meta are other plugins' and may be secrets. */
    private const META_FIELDS = [
        '_sku' => 'sku', '_price' => 'price', '_regular_price' => 'regular_price', '_sale_price' => 'sale_price',
        '_sale_price_dates_from' => 'date_on_sale_from', '_sale_price_dates_to' => 'date_on_sale_to',
        '_tax_status' => 'tax_status', '_tax_class' => 'tax_class', '_manage_stock' => 'manage_stock',
        '_stock' => 'stock_quantity', '_stock_status' => 'stock_status', '_backorders' => 'backorders',
        '_low_stock_amount' => 'low_stock_amount', '_sold_individually' => 'sold_individually', '_weight' => 'weight',
        '_length' => 'length', '_width' => 'width', '_height' => 'height', '_virtual' => 'virtual',
        '_downloadable' => 'downloadable', '_thumbnail_id' => 'image_id', '_product_image_gallery' => 'gallery_image_ids',
        '_upsell_ids' => 'upsell_ids', '_crosssell_ids' => 'cross_sell_ids', '_global_unique_id' => 'global_unique_id',
    ];

    /** @var array<string, array{event: int, payload: array}> What is being written, by what saves it and which product. */
    private array $open = [];

    /** @var array<string, mixed> Values of meta just before they are written. */
    private array $meta_before = [];

    private ?int $order_id = null;

    public function listen(): void
    {
        // WooCommerce's objects: REST, admin page, quick and bulk edit, importer, plugins. Last, after others' edits.
        add_action('woocommerce_before_product_object_save', [$this, 'before_object_save'], PHP_INT_MAX);
        add_action('woocommerce_after_product_object_save', [$this, 'after_object_save'], 0);
        add_filter('woocommerce_update_product_stock_query', [$this, 'before_stock'], PHP_INT_MAX, 3);
        add_action('woocommerce_updated_product_stock', [$this, 'after_stock'], 0);
        // WordPress' own functions: the title in the admin page, scheduled publishing, other plugins.
        add_action('pre_post_update', [$this, 'before_post_update'], PHP_INT_MAX, 2);
        add_action('wp_after_insert_post', [$this, 'after_post_insert'], 0, 4);
        add_action('set_object_terms', [$this, 'terms_set'], 10, 6);
        foreach (['update', 'delete'] as $verb) {
            add_action("{$verb}_post_meta", [$this, 'before_meta'], 10, 3);
        }
        foreach (['added', 'updated', 'deleted'] as $verb) {
            add_action("{$verb}_post_meta", [$this, 'after_meta'], 10, 4);
        }
        // Trash and end.
        add_action('wp_trash_post', fn ($id) => $this->begin_fate((int) $id, 'product.trashed'), 0);
        add_action('trashed_post', fn ($id) => $this->end_fate((int) $id, 'product.trashed'), 0);
        add_action('untrash_post', fn ($id) => $this->begin_fate((int) $id, 'product.restored'), 0);
        add_action('untrashed_post', fn ($id) => $this->end_fate((int) $id, 'product.restored'), 0);
        add_action('before_delete_post', fn ($id) => $this->begin_fate((int) $id, 'product.deleted'), 0);
        add_action('after_delete_post', fn ($id) => $this->end_fate((int) $id, 'product.deleted'), 0);
        // Which order took the stock, or gave it back.
        foreach (['woocommerce_can_reduce_order_stock', 'woocommerce_can_restore_order_stock'] as $filter) {
            add_filter($filter, [$this, 'order_begins'], PHP_INT_MAX, 2);
        }
        foreach (['woocommerce_reduce_order_stock', 'woocommerce_restore_order_stock'] as $hook) {
            add_action($hook, fn () => $this->order_id = null, 0);
        }
    }

    /** @param \WC_Product $product with its new values still apart from the old ones */
    public function before_object_save($product): void
    {
        $id = (int) $product->get_id();
        $changes = self::object_changes($product);
        if ($id !== 0 && $changes === []) {
            return;
        }
        $this->begin("object:" . spl_object_id($product), $id, $id === 0 ? 'product.created' : 'product.updated', $changes);
    }

    /** @param \WC_Product $product as it is now */
    public function after_object_save($product): void
    {
        $this->end('object:' . spl_object_id($product), (int) $product->get_id());
    }

    /** A filter, so that it runs before the stock is written without an object: by an order, or another plugin. */
    public function before_stock($sql, $id, $new_stock)
    {
        if (!$this->object_is_being_saved((int) $id)) {
            $old_stock = get_post_meta((int) $id, '_stock', true);
            $changes = self::changes(['stock_quantity' => [$old_stock, $new_stock]]);
            if ($changes !== []) {
                $this->begin("stock:$id", (int) $id, 'product.updated', $changes);
            }
        }
        return $sql;
    }

    public function after_stock($id): void
    {
        $this->end("stock:$id", (int) $id);
    }

    public function before_post_update($id, $data): void
    {
        $post = get_post($id);
        if (!$post || !in_array($post->post_type, self::TYPES, true) || $this->is_covered((int) $id)) {
            return;
        }
        $created = in_array($post->post_status, ['auto-draft', 'new'], true);
        if ($created && in_array($data['post_status'] ?? '', ['auto-draft', 'new'], true)) {
            return;
        }
        // Also with nothing changed yet: terms and meta are written next, and belong to the same event.
        $changes = self::changes(self::post_pairs($created ? [] : (array) $post, (array) $data));
        $this->begin("post:$id", (int) $id, $created ? 'product.created' : 'product.updated', $changes);
    }

    public function after_post_insert($id, $post, $update, $before = null): void
    {
        if (!in_array($post->post_type, self::TYPES, true)) {
            return;
        }
        if (isset($this->open["post:$id"])) {
            $this->end("post:$id", (int) $id);
        } elseif (!$update && !$this->is_covered((int) $id) && !in_array($post->post_status, ['auto-draft', 'new'], true)) {
            $this->add((int) $id, 'product.created', self::changes(self::post_pairs([], (array) $post)));
        }
    }

    public function terms_set($id, $terms, $tt_ids, $taxonomy, $append, $old_tt_ids): void
    {
        if (!$this->is_product((int) $id) || $this->object_is_being_saved((int) $id)) {
            return;
        }
        $now = $append ? array_merge($old_tt_ids, $tt_ids) : $tt_ids;
        $names = static fn (array $ids): array => self::sorted(array_filter(array_map(
            static fn ($tt_id) => get_term_by('term_taxonomy_id', (int) $tt_id)->slug ?? '',
            array_unique(array_map('intval', $ids)),
        )));
        $changes = self::changes([$taxonomy => [$names($old_tt_ids), $names($now)]]);
        $this->add_or_merge((int) $id, $changes);
    }

    public function before_meta($meta_ids, $id, $key): void
    {
        if (isset(self::META_FIELDS[$key]) && $this->is_product((int) $id)) {
            $this->meta_before["$id:$key"] = get_post_meta((int) $id, $key, true);
        }
    }

    public function after_meta($meta_ids, $id, $key, $value): void
    {
        if (
            in_array($key, self::IGNORED_META, true) || str_starts_with((string) $key, '_oembed_')
            || !$this->is_product((int) $id) || $this->object_is_being_saved((int) $id)
            || isset($this->open["stock:$id"])
        ) {
            return;
        }
        if (!isset(self::META_FIELDS[$key])) {
            $this->add_or_merge((int) $id, ["meta:$key" => ['changed' => true]]);
            return;
        }
        // WooCommerce counts the price of such a product from its children's.
        if ($key === '_price' && in_array(self::product_type((int) $id), ['variable', 'grouped'], true)) {
            return;
        }
        $before = $this->meta_before["$id:$key"] ?? null;
        unset($this->meta_before["$id:$key"]);
        $after = str_starts_with(current_action(), 'deleted') ? null : $value;
        $this->add_or_merge((int) $id, self::changes([self::META_FIELDS[$key] => [$before, $after]]));
    }

    public function order_begins($allowed, $order)
    {
        $this->order_id = $allowed ? (int) $order->get_id() : null;
        return $allowed;
    }

    /** Processes end by exit in the middle of a save as well. What was begun is then told as it is known. */
    public function close(): void
    {
        foreach ($this->open as ['event' => $event, 'payload' => $payload]) {
            if ($event !== 0) {
                Outbox::complete($event, ['outcome' => 'unknown'] + $payload);
            }
        }
        $this->open = [];
    }

    private function begin_fate(int $id, string $action): void
    {
        $post = get_post($id);
        if ($post && in_array($post->post_type, self::TYPES, true) && $post->post_status !== 'auto-draft') {
            $this->begin("fate:$id", $id, $action, []);
        }
    }

    private function end_fate(int $id, string $action): void
    {
        // Trashing where the trash is switched off deletes, and says both.
        if (($this->open["fate:$id"]['payload']['action'] ?? '') === $action) {
            $this->end("fate:$id", $id);
        }
    }

    private function begin(string $key, int $id, string $action, array $changes): void
    {
        $this->drop($key);
        $payload = $this->payload($id, $action, 'unknown', $changes);
        $this->open[$key] = ['event' => Outbox::add($payload, false), 'payload' => $payload];
    }

    private function end(string $key, int $id): void
    {
        if (!isset($this->open[$key])) {
            return;
        }
        ['event' => $event, 'payload' => $payload] = $this->open[$key];
        unset($this->open[$key]);
        if ($event === 0) {
            return;
        }
        if ($payload['changes'] === [] && $payload['action'] === 'product.updated') {
            Outbox::discard($event);
            return;
        }
        if ($payload['action'] !== 'product.deleted') {
            $payload['object'] = self::describe($id);
        }
        Outbox::complete($event, ['outcome' => 'success'] + $payload);
    }

    private function drop(string $key): void
    {
        if (isset($this->open[$key])) {
            ['event' => $event, 'payload' => $payload] = $this->open[$key];
            Outbox::complete($event, ['outcome' => 'unknown'] + $payload);
            unset($this->open[$key]);
        }
    }

    private function add_or_merge(int $id, array $changes): void
    {
        if ($changes === [] || isset($this->open["fate:$id"])) {
            return;
        }
        if (isset($this->open["post:$id"])) {
            $this->open["post:$id"]['payload']['changes'] = $changes + $this->open["post:$id"]['payload']['changes'];
        } else {
            $this->add($id, 'product.updated', $changes);
        }
    }

    private function add(int $id, string $action, array $changes): void
    {
        Outbox::add($this->payload($id, $action, 'success', $changes), true);
    }

    private function payload(int $id, string $action, string $outcome, array $changes): array
    {
        return [
            'action' => $action,
            'outcome' => $outcome,
            'object' => self::describe($id),
            'changes' => $changes,
            'actor' => Actor::describe(),
            'order_id' => $this->order_id,
        ];
    }

    /** Whether something that writes this product has already begun an event. */
    private function is_covered(int $id): bool
    {
        return isset($this->open["fate:$id"]) || $this->object_is_being_saved($id);
    }

    private function object_is_being_saved(int $id): bool
    {
        foreach ($this->open as $key => ['payload' => $payload]) {
            // 0: a product that is being created has no id yet, and what is written for one without an event is its.
            if (str_starts_with($key, 'object:') && in_array($payload['object']['id'], [$id, 0], true)) {
                return true;
            }
        }
        return false;
    }

    private function is_product(int $id): bool
    {
        $post = get_post($id);
        return $post && in_array($post->post_type, self::TYPES, true) && $post->post_status !== 'auto-draft';
    }

    private static function describe(int $id): array
    {
        $post = $id === 0 ? null : get_post($id);
        return [
            'type' => $post->post_type ?? 'product',
            'id' => $id,
            'parent_id' => (int) ($post->post_parent ?? 0),
            'name' => $post->post_title ?? '',
            'sku' => $id === 0 ? '' : (string) get_post_meta($id, '_sku', true),
            'status' => $post->post_status ?? '',
        ];
    }

    private static function product_type(int $id): string
    {
        $terms = get_the_terms($id, 'product_type');
        return is_array($terms) && $terms !== [] ? $terms[0]->slug : 'simple';
    }

    /** @param \WC_Product $product */
    private static function object_changes($product): array
    {
        $old = $product->get_data();
        $pairs = [];
        foreach ($product->get_changes() as $field => $value) {
            $pairs[$field] = [$old[$field] ?? null, $value];
        }
        $changes = self::changes($pairs);
        foreach ($product->get_meta_data() as $meta) {
            if (!$meta instanceof \WC_Meta_Data || in_array($meta->key, self::IGNORED_META, true)) {
                continue;
            }
            if (empty($meta->id) || $meta->get_changes() !== []) {
                $changes["meta:{$meta->key}"] = ['changed' => true];
            }
        }
        return $changes;
    }

    private static function post_pairs(array $before, array $after): array
    {
        $pairs = [];
        foreach (self::POST_FIELDS as $column => $field) {
            if (array_key_exists($column, $after)) {
                $pairs[$field] = [$before[$column] ?? null, $after[$column]];
            }
        }
        return $pairs;
    }

    /** @param array<string, array{mixed, mixed}> $pairs old and new value by field */
    private static function changes(array $pairs): array
    {
        $changes = [];
        foreach ($pairs as $field => [$from, $to]) {
            $from = self::plain($from);
            $to = self::plain($to);
            if (in_array($field, self::IGNORED_FIELDS, true) || self::same($from, $to)) {
                continue;
            }
            $changes[$field] = in_array($field, self::SECRET_FIELDS, true)
                ? ['changed' => true]
                : ['from' => self::short($from), 'to' => self::short($to)];
        }
        return $changes;
    }

    /** The value as JSON can have it. */
    private static function plain(mixed $value): mixed
    {
        if ($value instanceof \DateTimeInterface) {
            return $value->format('c');
        }
        if (is_object($value)) {
            $value = method_exists($value, 'get_data') ? $value->get_data() : get_object_vars($value);
        }
        return is_array($value) ? array_map(self::plain(...), $value) : $value;
    }

    /** Whether a person would call two values the same: 5 and "5.00", nothing and "". */
    private static function same(mixed $from, mixed $to): bool
    {
        if (is_numeric($from) && is_numeric($to)) {
            return (float) $from === (float) $to;
        }
        $nothing = static fn (mixed $value): bool => in_array($value, [null, '', false, []], true);
        if ($nothing($from) || $nothing($to)) {
            return $nothing($from) && $nothing($to);
        }
        return is_array($from) || is_array($to) ? $from == $to : (string) $from === (string) $to;
    }

    private static function short(mixed $value): mixed
    {
        $text = is_string($value) ? $value : (string) wp_json_encode($value);
        if (strlen($text) <= self::VALUE_BYTES) {
            return $value;
        }
        return ['bytes' => strlen($text), 'sha256' => hash('sha256', $text)];
    }

    private static function sorted(array $values): array
    {
        $values = array_values($values);
        sort($values);
        return $values;
    }
}

$changes = new ProductChanges();
$changes->listen();
add_action('shutdown', [$changes, 'close'], 0);
