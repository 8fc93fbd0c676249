"""The probe against a real server on this machine; its answers are as a shop, a proxy or a broken shop would give."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from audit import probe

Answers = dict[str, tuple[int, dict[str, str], str]]
LINK = {"Link": '<http://shop.test/wp-json/>; rel="https://api.w.org/"'}


@pytest.fixture
def serve() -> Iterator[Callable[[Answers], str]]:
    servers: list[ThreadingHTTPServer] = []

    def start(answers: Answers) -> str:
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
