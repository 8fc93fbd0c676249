"""The probe against a real server on this machine; its answers are as a shop, a proxy or a broken shop would give."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from audit import probe
from audit.entrance import Entrance
from sandbox import cache, certificates, packages
from sandbox.progress import silent

Answers = dict[str, tuple[int, dict[str, str], str]]
LINK = {"Link": '<http://shop.test/wp-json/>; rel="https://api.w.org/"'}


SHOP = "shop.example.test"


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    servers: list[ThreadingHTTPServer] = []

    def start(answers: Answers, tls: Path | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = answers.get(self.path, (404, {}, "nothing here"))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("X-Host", self.headers["Host"])
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


def test_wordpress_without_woocommerce_is_called_just_that(serve) -> None:
    answer = probe.ask(serve({"/": (200, LINK, "<title>Tea House &#8211; hello</title>")}))
    assert answer == probe.Answer(ok=True, detail="Tea House &#8211; hello", content="WordPress only")


def test_a_shop_with_a_store_api_is_woocommerce(serve) -> None:
    url = serve({"/": (200, LINK, "<title>Tea</title>"), "/wp-json/wc/store/v1/products": (200, {}, "[]")})
    assert probe.ask(url).content == "WooCommerce"


def test_a_page_that_is_not_wordpress_is_no_answer(serve) -> None:
    answer = probe.ask(serve({"/": (200, {}, "<title>Welcome to nginx!</title>")}))
    assert (answer.ok, answer.detail) == (False, "GET / answered 200, but it is not WordPress that answered")


def test_an_uninstalled_shop_is_no_answer(serve) -> None:
    answer = probe.ask(serve({"/": (302, {"Location": "/wp-admin/install.php"}, "")}))
    assert (answer.ok, answer.detail) == (False, "GET / answered 302 to /wp-admin/install.php, not 200")


def test_a_shop_whose_database_is_down_is_no_answer(serve) -> None:
    assert probe.ask(serve({"/": (500, {}, "Error establishing a database connection")})).detail == (
        "GET / answered 500, not 200"
    )


def test_nobody_listening_is_no_answer(serve) -> None:
    url = serve({})
    free = url.rsplit(":", 1)[0] + ":1"
    answer = probe.ask(free)
    assert not answer.ok
    assert "ConnectionRefusedError" in answer.detail


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
    """Return a folder with an authority, and a certificate of it for SHOP."""
    folder = tmp_path_factory.mktemp("keys")
    built = packages.build(cache.root(), silent)
    leaf = certificates.Leaf("shop", "/CN=shop", "serverAuth", [f"DNS:{SHOP}"])
    certificates.issue(folder, [leaf], openssl=built.program("openssl"), environment=built.environment())
    return folder


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


def test_a_shops_own_domain_is_asked_for_where_the_platforms_host_leads(serve) -> None:
    port = port_of(serve({"/": (200, LINK, "<title>Tea</title>")}))
    entrance = Entrance("127.0.0.1.nip.io")
    answer = entrance.ask("tea-house-x7k2m", f"http://{SHOP}:{port}")
    assert answer == probe.Answer(ok=True, detail="Tea", content="WordPress only")
    page = probe._get(f"http://{SHOP}:{port}", "/", entrance.way_to("tea-house-x7k2m"))
    assert page.headers["x-host"] == f"{SHOP}:{port}"


def test_a_certificate_of_the_named_authority_is_believed(serve, keys: Path) -> None:
    port = port_of(serve({"/": (200, LINK, "<title>Tea</title>")}, keys))
    assert Entrance("127.0.0.1.nip.io", keys / "ca.crt").ask("tea-house-x7k2m", f"https://{SHOP}:{port}").ok


@pytest.mark.parametrize(
    ("host", "authority", "told"),
    [
        (SHOP, None, "self-signed certificate in certificate chain|unable to get local issuer certificate"),
        ("other.example.test", "ca.crt", "Hostname mismatch"),
        (SHOP, "none.crt", "FileNotFoundError"),
    ],
)
def test_a_certificate_that_nobody_would_believe_is_no_answer(
    serve, keys: Path, host: str, authority: str | None, told: str
) -> None:
    port = port_of(serve({"/": (200, LINK, "<title>Tea</title>")}, keys))
    way = probe.Way(via="127.0.0.1.nip.io", ca_file=None if authority is None else keys / authority)
    answer = probe.ask(f"https://{host}:{port}", way)
    assert not answer.ok
    assert re.search(told, answer.detail), answer.detail
