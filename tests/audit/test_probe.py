"""The probe against a real server on this machine; its answers are as a shop, a proxy or a broken shop would give."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from audit import probe, tables
from audit.entrance import Entrance
from sandbox import cache, certificates, packages
from sandbox.progress import silent

Answer = tuple[int, dict[str, str], str]
Answers = dict[str, Answer | Callable[[str], Answer]]
GENERATOR = '<meta name="generator" content="WooCommerce 11.0.1">'
COMING_SOON = "<meta name='woo-coming-soon-page' content='yes'>"
LOGIN = (200, {}, '<form name="loginform" id="loginform" action="/wp-login.php" method="post">')
API = "/wp-json/wc/store/v1/products?per_page=1"


def wordpress(body: str = "<title>Tea</title>") -> Callable[[str], Answer]:
    """Return a page as WordPress makes it: it names the REST API of the host that it was asked by."""

    def page(host: str) -> Answer:
        return (200, {"Link": f'<http://{host}/wp-json/>; rel="https://api.w.org/"'}, body)

    return page


SHOP: Answers = {
    "/": wordpress(),
    "/shop/": wordpress(f"<title>Shop &#038; Tea</title>{GENERATOR}"),
    "/wp-login.php": LOGIN,
    API: (200, {"Content-Type": "application/json"}, "[]"),
}


DOMAIN = "shop.example.test"


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    servers: list[ThreadingHTTPServer] = []

    def start(answers: Answers, tls: Path | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = answers.get(self.path, (404, {}, "nothing here"))
                status, headers, body = found(self.headers["Host"]) if callable(found) else found
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls / "shop.crt", tls / "shop.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://tea-house-x7k2m.127.0.0.1.nip.io:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_shop_is_asked_for_its_page_its_login_and_its_api(serve) -> None:
    answer = probe.ask(serve(SHOP), sells=True)
    assert (answer.ok, answer.detail, answer.content) == (True, "Shop & Tea", "WooCommerce 11.0.1")
    assert [(check.name, check.path, check.code, check.ok) for check in answer.checks] == [
        ("shop page", "/shop/", 200, True),
        ("login page", "/wp-login.php", 200, True),
        ("store API", "/wp-json/wc/store/v1/products", 200, True),
    ]
    assert all(check.milliseconds >= 0 for check in answer.checks)


@pytest.mark.parametrize(
    ("path", "instead", "told"),
    [
        ("/shop/", (500, {}, "<title>Database Error</title>"),
         "shop page (/shop/) answered 500, not 200 (Database Error)"),
        ("/shop/", wordpress(COMING_SOON), 'shop page (/shop/) answered 200, but it only says "coming soon"'),
        ("/shop/", (404, {}, ""), "shop page (/shop/) answered 404, not 200"),
        ("/shop/", (503, {}, '<div class="wp-die-message"><p>Briefly  unavailable</p></div>'),
         "shop page (/shop/) answered 503, not 200 (Briefly unavailable)"),
        ("/wp-login.php", (200, {}, "<title>Hello</title>"),
         "login page (/wp-login.php) answered 200, but without WordPress' login form"),
        ("/wp-login.php", (302, {"Location": "http://elsewhere.test/"}, ""),
         "login page (/wp-login.php) answered 302 to http://elsewhere.test/, not 200"),
        (API, (404, {"Content-Type": "application/json; charset=UTF-8"}, '{"message": "No route was found"}'),
         "store API (/wp-json/wc/store/v1/products) answered 404, not 200 (No route was found)"),
        (API, (301, {"Location": "/"}, ""), "store API (/wp-json/wc/store/v1/products) answered 301 to /, not 200"),
        (API, (200, {}, "<title>Tea</title>"),
         "store API (/wp-json/wc/store/v1/products) answered 200, but not with a list of products"),
        (API, (200, {}, '{"code": "x"}'),
         "store API (/wp-json/wc/store/v1/products) answered 200, but not with a list of products"),
    ],
)  # fmt: skip
def test_each_of_them_alone_keeps_a_shop_from_being_ready(serve, path: str, instead, told: str) -> None:
    answer = probe.ask(serve({**SHOP, path: instead}), sells=True)
    assert (answer.ok, answer.detail) == (False, told)
    assert [check.ok for check in answer.checks].count(False) == 1


def test_all_that_failed_is_told(serve) -> None:
    answer = probe.ask(serve({}), sells=True)
    assert [check.code for check in answer.checks] == [404, 404, 404]
    assert answer.detail.count("answered 404, not 200") == 3


def test_a_shop_page_with_another_slug_is_found(serve) -> None:
    page = SHOP["/shop/"]
    answers = {**SHOP, "/?post_type=product": (301, {"Location": "/boutique/"}, ""), "/boutique/": page}
    del answers["/shop/"]
    assert probe.ask(serve(answers), sells=True).ok


def test_a_shop_that_is_the_front_page_is_found(serve) -> None:
    assert probe.ask(serve({**SHOP, "/shop/": (301, {"Location": "/"}, "")}), sells=True).ok


def test_a_circle_of_redirects_has_an_end(serve) -> None:
    answer = probe.ask(serve({**SHOP, "/shop/": (301, {"Location": "/shop/"}, "")}), sells=True)
    assert answer.detail == "shop page (/shop/) answered 301 to /shop/, not 200"


def test_the_stand_in_is_called_what_it_is(serve) -> None:
    page = wordpress('<meta name="generator" content="WooCommerce stand-in 11.0.1-standin" />')
    assert probe.ask(serve({**SHOP, "/shop/": page}), sells=True).content == "WooCommerce stand-in 11.0.1-standin"


def test_a_shop_that_hides_its_version_is_still_woocommerce(serve) -> None:
    assert probe.ask(serve({**SHOP, "/shop/": wordpress()}), sells=True).content == "WooCommerce"


@pytest.mark.parametrize(
    ("language", "locale", "note"),
    [
        ("en-US", "de_DE", "; in en-US, not de_DE"),
        ("de-DE", "de_DE", ""),
        ("de", "de_DE_formal", ""),  # a pack may name its language as it likes
        ("en-US", "en_US", ""),
        ("de-DE", "en_US", ""),  # a merchant may choose another in the admin page
        (None, "de_DE", ""),
    ],
)
def test_a_shop_in_english_for_want_of_its_language_is_ready_and_says_so(
    serve, language: str | None, locale: str, note: str
) -> None:
    page = wordpress(f'<html lang="{language}">{GENERATOR}' if language else GENERATOR)
    answer = probe.ask(serve({**SHOP, "/shop/": page}), sells=True, locale=locale)
    assert (answer.ok, answer.content) == (True, f"WooCommerce 11.0.1{note}")


def test_what_a_page_calls_itself_fits_into_the_ledger(serve) -> None:
    page = wordpress(f'<html lang="en-US"><meta name="generator" content="WooCommerce {"x" * 100}">')
    content = probe.ask(serve({**SHOP, "/shop/": page}), sells=True, locale="de_DE_formal").content
    assert content is not None
    assert len(content) == tables.stores.c.content.type.length
    assert content.endswith("x; in en-US, not de_DE_formal")


def test_wordpress_that_should_sell_and_has_no_woocommerce_is_not_ready(serve) -> None:
    answer = probe.ask(serve({"/": wordpress(), "/shop/": wordpress(), "/wp-login.php": LOGIN}), sells=True)
    assert (answer.ok, answer.content) == (False, "WordPress only")


def test_wordpress_is_enough_where_nothing_else_is_declared(serve) -> None:
    answer = probe.ask(serve({"/": wordpress("<title>Tea &#038; hello</title>"), "/wp-login.php": LOGIN}))
    assert (answer.ok, answer.detail, answer.content) == (True, "Tea & hello", "WordPress only")
    assert [check.name for check in answer.checks] == ["front page", "login page"]


def test_a_page_that_is_not_wordpress_is_no_answer(serve) -> None:
    answer = probe.ask(serve({"/": (200, {}, "<title>Welcome to nginx!</title>"), "/wp-login.php": LOGIN}))
    assert (answer.ok, answer.detail) == (
        False, "front page (/) answered 200, but it is not WordPress that answered")  # fmt: skip


def test_another_shop_on_the_same_host_is_no_answer(serve) -> None:
    other = (200, {"Link": '<http://other.test/wp-json/>; rel="https://api.w.org/"'}, GENERATOR)
    answer = probe.ask(serve({**SHOP, "/shop/": other}), sells=True)
    assert answer.detail == "shop page (/shop/) answered 200, but it is another site: http://other.test/wp-json/"


def test_an_uninstalled_shop_is_no_answer(serve) -> None:
    install = (302, {"Location": "/wp-admin/install.php"}, "")
    answer = probe.ask(serve({"/": install, "/wp-login.php": LOGIN, "/wp-admin/install.php": wordpress()}))
    assert answer.detail == "front page (/) answered 302 to /wp-admin/install.php, not 200"


def test_nobody_listening_is_asked_once(serve) -> None:
    url = serve({})
    free = url.rsplit(":", 1)[0] + ":1"
    answer = probe.ask(free, sells=True)
    assert not answer.ok
    assert "no answer: ConnectionRefusedError" in answer.detail
    (check,) = answer.checks
    assert check.code is None


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("tea-house-x7k2m.127.0.0.1.nip.io", "127.0.0.1"),
        ("127.0.0.1.nip.io", "127.0.0.1"),
        ("a.10.1.2.3.nip.io", "10.1.2.3"),
        ("tea-house-x7k2m.example.com", "tea-house-x7k2m.example.com"),
        ("nip.io", "nip.io"),
        ("a.127.0.0.1.nip.io.example.com", "a.127.0.0.1.nip.io.example.com"),
    ],
)
def test_a_nip_io_name_holds_its_own_address(host: str, address: str) -> None:
    assert probe.address_of(host) == address


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an authority, and a certificate of it for DOMAIN."""
    folder = tmp_path_factory.mktemp("keys")
    built = packages.build(cache.root(), silent)
    leaf = certificates.Leaf("shop", "/CN=shop", "serverAuth", [f"DNS:{DOMAIN}"])
    certificates.issue(folder, [leaf], openssl=built.program("openssl"), environment=built.environment())
    return folder


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


def test_a_shops_own_domain_is_asked_for_where_the_platforms_host_leads(serve) -> None:
    port = port_of(serve({"/": wordpress(), "/wp-login.php": LOGIN}))
    entrance = Entrance("127.0.0.1.nip.io")
    answer = entrance.ask("tea-house-x7k2m", f"http://{DOMAIN}:{port}")
    # The page names the host that it was asked by, and the probe compares it with the shop's.
    assert (answer.ok, answer.detail, answer.content) == (True, "Tea", "WordPress only")


def test_a_certificate_of_the_named_authority_is_believed(serve, keys: Path) -> None:
    port = port_of(serve({"/": wordpress(), "/wp-login.php": LOGIN}, keys))
    assert Entrance("127.0.0.1.nip.io", keys / "ca.crt").ask("tea-house-x7k2m", f"https://{DOMAIN}:{port}").ok


@pytest.mark.parametrize(
    ("host", "authority", "told"),
    [
        (DOMAIN, None, "self-signed certificate in certificate chain|unable to get local issuer certificate"),
        ("other.example.test", "ca.crt", "Hostname mismatch"),
        (DOMAIN, "none.crt", "FileNotFoundError"),
    ],
)
def test_a_certificate_that_nobody_would_believe_is_no_answer(
    serve, keys: Path, host: str, authority: str | None, told: str
) -> None:
    port = port_of(serve({"/": wordpress(), "/wp-login.php": LOGIN}, keys))
    way = probe.Way(via="127.0.0.1.nip.io", ca_file=None if authority is None else keys / authority)
    answer = probe.ask(f"https://{host}:{port}", way)
    assert not answer.ok
    assert re.search(told, answer.detail), answer.detail
