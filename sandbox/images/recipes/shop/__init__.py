"""The sandbox's shop: stand-ins for WooCommerce and Storefront, or the real ones where somebody gives them."""
