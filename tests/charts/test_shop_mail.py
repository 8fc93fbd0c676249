"""Mail of a whole shop, by a mail server that really takes it: an order's mail arrives, or its absence is told."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers.mail_sink import MailSink, server_context
from tests.containers.serving import RECEIVER_IP, ServingShop

from .test_shop_events import buy, plugin, product

PORT = 2525
HEALTH = "/wp-json/store-platform/v1/health"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return certificate and key of the mail server, which nobody has signed but itself."""
    folder = tmp_path_factory.mktemp("mail")
    files = folder / "server.crt", folder / "server.key"
    name = f"subjectAltName=IP:{RECEIVER_IP}"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=mail", "-addext", name, "-out", files[0], "-keyout", files[1],
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return files


@pytest.fixture
def mail_of(shop: ServingShop, certificates: tuple[Path, Path]) -> Iterator[Any]:
    """Return a maker of mail servers, each with the shop set up to use it."""
    with contextlib.ExitStack() as stack:

        def make(*, trusted: bool = True, starttls: bool = True, offers_tls: bool = True, **smtp: Any) -> MailSink:
            context = server_context(*certificates) if offers_tls else None
            listening = shop.network.listen(RECEIVER_IP, PORT)
            sink = MailSink(
                listening, context, starttls=starttls, user="shops", password=shop.shop.secret("smtp-password")
            )
            stack.callback(sink.close)
            authority = certificates[0].read_text() if trusted else ""
            shop.shop.config_maps["authorities"] = {"ca.crt": authority}
            shop.configure(
                mail={
                    "smtp": {
                        "host": RECEIVER_IP,
                        "port": PORT,
                        "user": "shops",
                        "existingSecret": "smtp",
                        "ca": {"configMap": "authorities"} if trusted else {},
                        **smtp,
                    }
                }
            )
            return sink

        yield make
    shop.configure(mail={})


def test_the_mails_of_an_order_arrive_encrypted_and_from_who_the_server_wants(shop: ServingShop, mail_of: Any) -> None:
    sink = mail_of(**{"from": "shops@example.com", "fromName": "Tea House"})
    order = buy(shop, product(shop), 1)
    mails = {mail.recipients[0]: mail for mail in sink.mails}
    assert set(mails) == {"admin@example.com", "ann@example.com"}
    for mail in sink.mails:
        assert mail.encrypted
        assert (mail.user, mail.sender) == ("shops", "shops@example.com")
        assert mail.message["From"].addresses[0].addr_spec == "shops@example.com"
        assert mail.message["From"].addresses[0].display_name == "Tea House"
    assert f"#{order['order_id']}" in mails["admin@example.com"].message["Subject"]


def test_tls_from_the_first_byte_works_too(shop: ServingShop, mail_of: Any) -> None:
    sink = mail_of(starttls=False, encryption="tls")
    assert shop.php("return wp_mail('ann@example.com', 'Subject', 'Text');") is True
    assert [mail.encrypted for mail in sink.mails] == [True]


@pytest.mark.parametrize("flaw", ["an authority that nobody knows", "no encryption on offer"])
def test_a_server_that_cannot_be_trusted_gets_neither_mail_nor_password_and_the_order_stands(
    shop: ServingShop, mail_of: Any, flaw: str
) -> None:
    sink = mail_of(trusted=False) if "authority" in flaw else mail_of(offers_tls=False)
    order = buy(shop, product(shop), 1)
    assert order["status"] == "processing"
    assert sink.connections > 0
    assert sink.mails == []
    assert sink.refused_passwords == 0
    log = shop.web_log()
    assert f"store mail: a mail was not sent by {RECEIVER_IP}:{PORT}" in log
    assert shop.shop.secret("smtp-password") not in log
    assert "ann@example.com" not in log
    _, health, _ = shop.ask("GET", HEALTH, password=shop.application_password)
    assert any("The last mail was not sent" in problem for problem in health["problems"])


def test_a_wrong_password_is_told_without_it(shop: ServingShop, mail_of: Any) -> None:
    sink = mail_of()
    sink.password = "another"
    assert shop.php("return wp_mail('ann@example.com', 'Subject', 'Text');") is False
    assert sink.refused_passwords > 0
    _, health, _ = shop.ask("GET", HEALTH, password=shop.application_password)
    assert "authenticate" in health["mail"]["last_failure"]
    sink.password = shop.shop.secret("smtp-password")
    # The first mail that leaves ends the complaint.
    assert shop.php("return wp_mail('ann@example.com', 'Subject', 'Text');") is True
    _, health, _ = shop.ask("GET", HEALTH, password=shop.application_password)
    assert health["mail"]["last_failure"] is None


CUSTOMER = "Secret.Customer+shop@example.com"


@pytest.mark.parametrize(
    ("refusal", "kept"),
    [
        ("5.1.1 <{address}>: no such user here", "no such user here"),
        ("5.1.1 {address}: mailbox unavailable", "mailbox unavailable"),
        ("5.1.1 user {name} is not known. Ask postmaster@example.com", "is not known. Ask (address)"),
        ('5.1.1 "{name} x"@example.com is not known', "is not known"),
    ],
)
def test_a_customer_whom_the_server_refuses_is_named_nowhere(
    shop: ServingShop, mail_of: Any, refusal: str, kept: str
) -> None:
    sink = mail_of()
    sink.refusal = refusal
    before = len(shop.web_log())
    # By the web server, whose log the pod's is: as the mail of an order goes.
    shop.php(f"update_option('test_mail_to', '{CUSTOMER}');")
    with plugin(
        shop,
        "if (isset($_GET['test_mail'])) { add_action('init', fn () =>"
        " wp_die(wp_mail(get_option('test_mail_to'), 'Subject', 'Text') ? 'sent' : 'not sent')); }",
    ):
        _, page, _ = shop.ask("GET", "/?test_mail=1")
    assert "not sent" in str(page)
    said = shop.web_log()[before:]
    stored = str(shop.shop.option("store_mail_failure"))
    _, health, _ = shop.ask("GET", HEALTH, password=shop.application_password)
    for text in (said, stored, json.dumps(health)):
        assert "customer" not in text.lower(), text
        assert "(address)" in text
        assert kept in text


def test_a_failure_that_an_older_version_has_kept_names_nobody(shop: ServingShop, mail_of: Any) -> None:
    mail_of()
    shop.php(f"update_option('store_mail_failure', ['at' => 1000, 'reason' => 'refused: {CUSTOMER}: unknown']);")
    _, health, _ = shop.ask("GET", HEALTH, password=shop.application_password)
    assert health["mail"]["last_failure"] == "1970-01-01T00:16:40Z: refused: (address) unknown"


def test_without_a_mail_server_an_order_stands_and_the_administrator_is_told(shop: ServingShop) -> None:
    order = buy(shop, product(shop), 1)
    assert order["status"] == "processing"
    assert "there is no mail server; set mail.smtp.host" in shop.web_log()
    _, health, _ = shop.ask("GET", HEALTH, password=shop.application_password)
    assert health["mail"]["configured"] is False
    assert any("No mail leaves this shop" in problem for problem in health["problems"])
