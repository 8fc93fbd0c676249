<?php
/**
 * The one kind of product that the stand-in knows. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Product_Simple extends WC_Product
{
}
