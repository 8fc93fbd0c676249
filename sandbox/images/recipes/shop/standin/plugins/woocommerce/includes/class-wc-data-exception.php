<?php
/**
 * A value that an object does not take. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;

class WC_Data_Exception extends Exception
{
    private string $error_code;

    public function __construct(string $error_code, string $message, int $http_status = 400)
    {
        parent::__construct($message, $http_status);
        $this->error_code = $error_code;
    }

    public function getErrorCode(): string
    {
        return $this->error_code;
    }
}
