<?php
/**
 * Plugin Name: Store platform: mail
 * Description: Mail leaves by the SMTP server that the chart's values name.
 * License:     GPL-2.0-or-later
 */

declare(strict_types=1);

namespace StorePlatform;

require_once __DIR__ . '/store-platform.php';

const SMTP_PASSWORD_FILE = '/etc/store/smtp/password';

/** A visitor waits while the mail of an order is handed over. PHPMailer's own limits are five minutes for each answer. */
const SMTP_TIMEOUT_S = 15;

add_action('phpmailer_init', static function ($mailer): void {
    $mail = settings()['mail'];
    if ($mail === null) {
        return;
    }
    $mailer->isSMTP();
    $mailer->Host = $mail['host'];
    $mailer->Port = $mail['port'];
    $mailer->Timeout = SMTP_TIMEOUT_S;
    $mailer->getSMTPInstance()->Timelimit = SMTP_TIMEOUT_S;
    $mailer->SMTPDebug = 0;
    // `starttls`: a server that does not offer it is not spoken to. `none`: not even tried, so that it is no surprise.
    $mailer->SMTPSecure = ['starttls' => 'tls', 'tls' => 'ssl', 'none' => ''][$mail['encryption']];
    $mailer->SMTPAutoTLS = false;
    $mailer->SMTPOptions = ['ssl' => [
        'verify_peer' => true,
        'verify_peer_name' => true,
        'allow_self_signed' => false,
        'peer_name' => $mail['host'],
    ] + ($mail['ca'] === '' ? [] : ['cafile' => $mail['ca']])];
    $mailer->SMTPAuth = $mail['user'] !== '';
    if ($mailer->SMTPAuth) {
        $mailer->Username = $mail['user'];
        $mailer->Password = secret(SMTP_PASSWORD_FILE);
    }
    if ($mail['from'] !== '') {
        $asked = $mailer->From;
        $mailer->setFrom($mail['from'], $mail['fromName'] !== '' ? $mail['fromName'] : $mailer->FromName, true);
        // Answers still go to whom the sender was to be, unless that is nobody: WordPress' own invention.
        if ($asked !== $mail['from'] && !str_starts_with($asked, 'wordpress@') && $mailer->getReplyToAddresses() === []) {
            $mailer->addReplyTo($asked);
        }
    } elseif ($mail['fromName'] !== '') {
        $mailer->FromName = $mail['fromName'];
    }
}, 100);

/**
 * A text without the people in it: each mail address, and whatever stands before the @ of these recipients.
 *
 * PHPMailer names whom a server has refused, and a server's own answer may repeat them, whole or in part.
 *
 * @param string[] $recipients
 */
function without_addresses(string $text, array $recipients = []): string
{
    $patterns = ['/(?:"[^"]*"|[^\s<>@"]+)@[^\s<>@"]+/'];
    foreach ($recipients as $recipient) {
        $name = substr($recipient, 0, (int) strrpos($recipient, '@'));
        // Two letters are a word of the message rather than somebody's name.
        if (strlen($name) > 2) {
            $patterns[] = '/(?<![\w.+-])' . preg_quote($name, '/') . '(?![\w+-]|\.\w)/i';
        }
    }
    return (string) preg_replace($patterns, '(address)', $text);
}

// An order does not fail when its mail does; so somebody must be told. Neither addresses nor text are in the log.
add_action('wp_mail_failed', static function ($error): void {
    $mail = settings()['mail'];
    $reason = trim(preg_replace('/\s+/', ' ', wp_strip_all_tags((string) $error->get_error_message())));
    $reason = without_addresses($reason, array_keys(($GLOBALS['phpmailer'] ?? null)?->getAllRecipientAddresses() ?? []));
    if ($mail === null) {
        complain('mail', "a mail was not sent ($reason): there is no mail server; set mail.smtp.host in the values");
    } else {
        complain('mail', "a mail was not sent by {$mail['host']}:{$mail['port']}: $reason");
    }
    update_option('store_mail_failure', ['at' => time(), 'reason' => mb_substr($reason, 0, 300)], false);
});
add_action('wp_mail_succeeded', static function (): void {
    if (get_option('store_mail_failure')) {
        delete_option('store_mail_failure');
    }
});
