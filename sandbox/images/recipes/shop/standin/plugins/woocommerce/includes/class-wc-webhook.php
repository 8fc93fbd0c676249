<?php
/**
 * A webhook: hooks of one topic, and the request that tells one address of them. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Webhook extends WC_Data
{
    private const TOPIC_HOOKS = [
        'product.created' => ['woocommerce_process_product_meta', 'woocommerce_new_product'],
        'product.updated' => ['woocommerce_process_product_meta', 'woocommerce_update_product'],
        'product.deleted' => ['wp_trash_post'],
        'product.restored' => ['untrashed_post'],
        'order.created' => ['woocommerce_new_order'],
        'order.updated' => ['woocommerce_update_order'],
        'order.deleted' => ['woocommerce_trash_order'],
    ];

    /** "created" is what happens so soon after a post was made, where one hook serves both. */
    private const NEW_S = 10;

    protected $object_type = 'webhook';
    protected $data = [
        'date_created' => null,
        'date_modified' => null,
        'status' => 'disabled',
        'delivery_url' => '',
        'secret' => '',
        'name' => '',
        'topic' => '',
        'hooks' => '',
        'resource' => '',
        'event' => '',
        'failure_count' => 0,
        'user_id' => 0,
        'api_version' => 3,
        'pending_delivery' => false,
    ];

    /** @var list<mixed> what was queued in this request already */
    private array $processed = [];

    /** The webhook, or one without an id where there is none. */
    public function __construct($read = 0)
    {
        try {
            parent::__construct($read);
        } catch (Exception $error) {
            $this->set_id(0);
            $this->set_object_read(true);
        }
    }

    public function get_api_version($context = 'view')
    {
        return 'wp_api_v' . $this->get_prop('api_version', $context);
    }

    public function set_api_version($version)
    {
        $this->set_prop('api_version', (int) (is_numeric($version) ? $version : substr($version, -1)));
    }

    public function get_resource($context = 'view')
    {
        return explode('.', (string) $this->get_topic($context), 2)[0];
    }

    public function get_event($context = 'view')
    {
        return explode('.', (string) $this->get_topic($context), 2)[1] ?? '';
    }

    public function set_topic($topic)
    {
        $this->set_prop('topic', self::is_valid_topic((string) $topic) ? (string) $topic : '');
    }

    public function set_status($status)
    {
        $this->set_prop('status', in_array($status, ['active', 'paused', 'disabled'], true) ? $status : 'disabled');
    }

    public function set_delivery_url($url)
    {
        $this->set_prop('delivery_url', esc_url_raw($url, ['http', 'https']));
    }

    public function set_user_id($id)
    {
        $this->set_prop('user_id', (int) $id);
    }

    public function set_failure_count($count)
    {
        $this->set_prop('failure_count', (int) $count);
    }

    public function set_pending_delivery($pending)
    {
        $this->set_prop('pending_delivery', (bool) $pending);
    }

    /** @return list<string> the hooks of WordPress that this webhook listens to */
    public function get_hooks($context = 'view')
    {
        $hooks = $this->get_resource() === 'action'
            ? [$this->get_event()]
            : apply_filters('woocommerce_webhook_topic_hooks', self::TOPIC_HOOKS, $this)[$this->get_topic()] ?? [];
        return apply_filters('woocommerce_webhook_hooks', $hooks, $this->get_id());
    }

    /** From now on what its hooks tell is queued. */
    public function enqueue()
    {
        if ($this->get_delivery_url() !== '') {
            foreach ($this->get_hooks() as $hook) {
                add_action($hook, [$this, 'process']);
            }
        }
    }

    /** What the hook tells is queued, once per request. */
    public function process($arg)
    {
        if (!apply_filters('woocommerce_webhook_should_deliver', $this->should_deliver($arg), $this, $arg)) {
            return;
        }
        $this->processed[] = $arg;
        do_action('woocommerce_webhook_process_delivery', $this, $arg);
        return $arg;
    }

    /** The address has been told, with the state of now. A failure is counted and never tried again. */
    public function deliver($arg)
    {
        $started = microtime(true);
        $args = apply_filters('woocommerce_webhook_http_args', [
            'method' => 'POST',
            'timeout' => MINUTE_IN_SECONDS,
            'redirection' => 0,
            'httpversion' => '1.0',
            'blocking' => true,
            'user-agent' => $this->user_agent(),
            'body' => trim(wp_json_encode($this->build_payload($arg))),
            'headers' => ['Content-Type' => 'application/json'],
            'cookies' => [],
        ], $arg, $this->get_id());
        $args['headers'] = [
            'X-WC-Webhook-Source' => home_url('/'),
            'X-WC-Webhook-Topic' => $this->get_topic(),
            'X-WC-Webhook-Resource' => $this->get_resource(),
            'X-WC-Webhook-Event' => $this->get_event(),
            'X-WC-Webhook-Signature' => $this->generate_signature($args['body']),
            'X-WC-Webhook-ID' => $this->get_id(),
            'X-WC-Webhook-Delivery-ID' => $this->get_new_delivery_id(),
        ] + $args['headers'];
        $response = wp_safe_remote_request($this->get_delivery_url(), $args);
        $this->count($response);
        do_action('woocommerce_webhook_delivery', $args, $response, microtime(true) - $started, $arg, $this->get_id());
    }

    /** The body, made in the name of the webhook's user, because a queue runs in nobody's. */
    public function build_payload($resource_id)
    {
        $user = get_current_user_id();
        wp_set_current_user($this->get_user_id());
        try {
            $payload = ['id' => $resource_id];
            if ($this->get_resource() === 'action') {
                $payload = ['action' => current($this->get_hooks()), 'arg' => $resource_id];
            } elseif ($this->get_event() !== 'deleted') {
                $answer = WC()->rest("/wc/v3/{$this->get_resource()}s/$resource_id");
                // What is gone by now is told as the error that it is, with a signature.
                $payload = is_wp_error($answer) ? [
                    'code' => $answer->get_error_code(),
                    'message' => $answer->get_error_message(),
                    'data' => $answer->get_error_data(),
                ] : $answer;
            }
            $filter = 'woocommerce_webhook_payload';
            return apply_filters($filter, $payload, $this->get_resource(), $resource_id, $this->get_id());
        } finally {
            wp_set_current_user($user);
        }
    }

    public function generate_signature($payload)
    {
        $secret = wp_specialchars_decode($this->get_secret(), ENT_QUOTES);
        return base64_encode(hash_hmac('sha256', $payload, $secret, true));
    }

    /** The same for everything that one webhook sends within a second. */
    public function get_new_delivery_id()
    {
        return wp_hash($this->get_id() . time());
    }

    /** Whether the address answers: a request that is neither JSON nor signed. */
    public function deliver_ping()
    {
        $args = ['user-agent' => $this->user_agent(), 'body' => 'webhook_id=' . $this->get_id()];
        $args = apply_filters('woocommerce_webhook_http_args', $args, null, $this->get_id());
        $response = wp_safe_remote_post($this->get_delivery_url(), $args);
        if (is_wp_error($response)) {
            return new WP_Error('error', "Error: Delivery URL cannot be reached: {$response->get_error_message()}");
        }
        $code = wp_remote_retrieve_response_code($response);
        if ($code !== 200) {
            return new WP_Error('error', "Error: Delivery URL returned response code: $code");
        }
        $this->set_pending_delivery(false);
        $this->save();
        return true;
    }

    public static function is_valid_topic(string $topic): bool
    {
        return isset(self::TOPIC_HOOKS[$topic])
            || strncmp($topic, 'action.woocommerce_', 19) === 0 || strncmp($topic, 'action.wc_', 10) === 0;
    }

    private function user_agent(): string
    {
        return sprintf('WooCommerce/%s Hookshot (WordPress/%s)', WC_VERSION, $GLOBALS['wp_version']);
    }

    private function should_deliver($arg): bool
    {
        if ($this->get_status() !== 'active' || in_array($arg, $this->processed, true)) {
            return false;
        }
        $id = is_object($arg) ? $arg->get_id() : absint($arg);
        if ($this->get_resource() === 'product') {
            // Hooks of WordPress tell of pages and pictures, too. A deleted product is still there at this time.
            if (get_post_type($id) !== 'product' || in_array(get_post_status($id), ['auto-draft', 'new'], true)) {
                return false;
            }
        }
        if (current_action() === 'woocommerce_process_product_meta') {
            $is_new = time() - self::NEW_S <= (int) get_post_timestamp($id);
            return $is_new === ($this->get_event() === 'created');
        }
        return true;
    }

    private function count($response): void
    {
        $code = (int) (is_wp_error($response) ? 0 : wp_remote_retrieve_response_code($response));
        $failures = $this->get_failure_count();
        if ($code >= 200 && $code < 303) {
            $this->set_failure_count(0);
        } elseif ($failures > apply_filters('woocommerce_max_webhook_delivery_failures', 5)) {
            $this->set_status('disabled');
            do_action('woocommerce_webhook_disabled_due_delivery_failures', $this->get_id());
        } else {
            $this->set_failure_count($failures + 1);
        }
        $this->save();
    }
}
