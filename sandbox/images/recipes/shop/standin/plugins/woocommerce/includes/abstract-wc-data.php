<?php
/**
 * An object of the shop with its properties, and what was changed of them since it was read.
 * License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

abstract class WC_Data
{
    protected $id = 0;
    protected $data = [];
    protected $changes = [];
    protected $object_read = false;
    /** Names the hooks: `woocommerce_before_<object_type>_object_save`. */
    protected $object_type = 'data';
    protected $default_data = [];
    protected $data_store;
    /** @var array<string, mixed> */
    protected $meta = [];

    public function __construct($read = 0)
    {
        $this->default_data = $this->data;
        $this->data_store = WC_Data_Store::load($this->object_type);
        if ($read instanceof self) {
            $read = $read->get_id();
        } elseif ($read instanceof WP_Post) {
            $read = $read->ID;
        }
        if (is_numeric($read) && $read > 0) {
            $this->set_id((int) $read);
            $this->data_store->read($this);
        }
        $this->set_object_read(true);
    }

    public function get_id()
    {
        return $this->id;
    }

    public function set_id($id)
    {
        $this->id = (int) $id;
    }

    public function get_object_read()
    {
        return $this->object_read;
    }

    public function set_object_read($read = true)
    {
        $this->object_read = (bool) $read;
    }

    public function get_data_store()
    {
        return $this->data_store;
    }

    /** All properties as they were read, without what was changed since. */
    public function get_data()
    {
        return array_merge(['id' => $this->get_id()], $this->data, ['meta_data' => $this->get_meta_data()]);
    }

    public function get_changes()
    {
        return $this->changes;
    }

    public function apply_changes()
    {
        $this->data = array_replace($this->data, $this->changes);
        $this->changes = [];
    }

    public function set_props($props, $context = 'set')
    {
        foreach ($props as $name => $value) {
            if ($value !== null && is_callable([$this, "set_$name"])) {
                $this->{"set_$name"}($value);
            }
        }
        return true;
    }

    public function get_meta_data()
    {
        $found = [];
        foreach ($this->meta as $key => $value) {
            $found[] = (object) ['id' => 0, 'key' => $key, 'value' => $value];
        }
        return $found;
    }

    public function get_meta($key = '', $single = true, $context = 'view')
    {
        return $this->meta[$key] ?? '';
    }

    public function update_meta_data($key, $value, $meta_id = 0)
    {
        $this->meta[$key] = $value;
    }

    public function add_meta_data($key, $value, $unique = false)
    {
        $this->meta[$key] = $value;
    }

    public function delete_meta_data($key)
    {
        unset($this->meta[$key]);
    }

    /** For the data store: all further values, by name. */
    public function all_meta()
    {
        return $this->meta;
    }

    public function save()
    {
        do_action("woocommerce_before_{$this->object_type}_object_save", $this, $this->data_store);
        if ($this->get_id()) {
            $this->data_store->update($this);
        } else {
            $this->data_store->create($this);
        }
        do_action("woocommerce_after_{$this->object_type}_object_save", $this, $this->data_store);
        return $this->get_id();
    }

    public function delete($force_delete = false)
    {
        if (!$this->get_id()) {
            return false;
        }
        $this->data_store->delete($this, ['force_delete' => $force_delete]);
        $this->set_id(0);
        return true;
    }

    /** `get_<property>($context)` and `set_<property>($value)` of every property that has no method of its own. */
    public function __call($name, $arguments)
    {
        $property = substr($name, 4);
        if (strncmp($name, 'get_', 4) === 0 && array_key_exists($property, $this->data)) {
            return $this->get_prop($property, $arguments[0] ?? 'view');
        }
        if (strncmp($name, 'set_', 4) === 0 && array_key_exists($property, $this->data)) {
            $this->set_prop($property, $arguments[0] ?? null);
            return null;
        }
        throw new BadMethodCallException(sprintf('%s has no method %s', static::class, $name));
    }

    protected function get_prop($prop, $context = 'view')
    {
        $value = array_key_exists($prop, $this->changes) ? $this->changes[$prop] : ($this->data[$prop] ?? null);
        return $context === 'view'
            ? apply_filters("woocommerce_{$this->object_type}_get_$prop", $value, $this)
            : $value;
    }

    protected function set_prop($prop, $value)
    {
        if (!$this->object_read) {
            $this->data[$prop] = $value;
        } elseif ($value !== $this->data[$prop] || array_key_exists($prop, $this->changes)) {
            $this->changes[$prop] = $value;
        }
    }
}
