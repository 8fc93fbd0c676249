"""A shop with https and a domain of its own, on the sandbox's ingress: verified certificates, one address, and back."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.instance import Instance
from tests.e2e.project import Project, store

pytestmark = pytest.mark.cluster

STORE = "tea-house-h7k2m"
PLATFORM = f"{STORE}.127.0.0.1.nip.io"
SHOP, WWW = "tea.example.test", "www.tea.example.test"


@dataclass(frozen=True)
class Browser:
    """Reaches every host at this machine, as `curl --connect-to` does, and believes only the sandbox's authority."""

    http_port: int
    https_port: int
    ca_file: Path

    def get(self, url_scheme: str, host: str, path: str = "/") -> tuple[int, str, str]:
        """Return status, location and body; the certificate is verified for the host."""
        secure = url_scheme == "https"
        port = self.https_port if secure else self.http_port
        connection = http.client.HTTPConnection(host, port, timeout=30)
        plain = socket.create_connection(("127.0.0.1", port), timeout=30)
        context = ssl.create_default_context(cafile=str(self.ca_file))
        connection.sock = context.wrap_socket(plain, server_hostname=host) if secure else plain
        try:
            connection.request("GET", path, headers={"Host": f"{host}:{port}"})
            response = connection.getresponse()
            return response.status, response.headers.get("Location", ""), response.read().decode(errors="replace")
        finally:
            connection.close()


@pytest.fixture(scope="module")
def project(make_project: Callable[[], Project]) -> Project:
    return make_project()


@pytest.fixture(scope="module")
def browser(sandbox_instance: Instance) -> Browser:
    assert sandbox_instance.https_port is not None
    return Browser(sandbox_instance.http_port, sandbox_instance.https_port, sandbox_instance.ca_file)


def up(project: Project, **more: object) -> str:
    project.write(store(STORE, **more))
    done = project.stores("up", "--json")
    assert done.code == 0, done
    (result,) = done.data["stores"]
    assert result["status"] == "Ready", done
    return str(result["url"])


def test_a_shop_is_served_over_https_at_its_own_domain(project: Project, browser: Browser) -> None:
    url = up(project, https=True, domains=[SHOP, WWW])
    assert url == f"https://{SHOP}:{browser.https_port}"
    status, _, body = browser.get("https", SHOP)
    assert status == 200
    assert f"Shop {STORE}" in body
    assert f'action="{url}/wp-login.php"' in browser.get("https", SHOP, "/wp-login.php")[2]
    # Also the platform's host has a certificate, and with plain http nobody is left behind.
    for scheme, host in (("https", PLATFORM), ("https", WWW), ("http", PLATFORM), ("http", SHOP)):
        assert browser.get(scheme, host, "/sample-page/?a=b")[:2] == (301, f"{url}/sample-page/?a=b")


def test_no_certificate_is_given_for_a_host_that_no_store_has(project: Project, browser: Browser) -> None:
    with pytest.raises(ssl.SSLError):
        browser.get("https", "other.example.test")


def test_the_shop_goes_back_to_the_platforms_host_with_all_its_links(project: Project, browser: Browser) -> None:
    before = f"https://{SHOP}:{browser.https_port}"
    assert f'href="{before}/wp-admin/"' in browser.get("https", SHOP, "/sample-page/")[2]
    url = up(project)
    assert url == f"http://{PLATFORM}:{browser.http_port}"
    status, _, body = browser.get("http", PLATFORM, "/sample-page/")
    assert status == 200
    assert f'href="{url}/wp-admin/"' in body
    assert SHOP not in body
    # Nobody else gets what still comes there.
    assert browser.get("http", SHOP)[0] == 404


def test_two_stores_cannot_have_one_domain(project: Project) -> None:
    other = store("coffee-bar-h4n9d", domains=[SHOP])
    project.write(store(STORE, domains=[SHOP]), other)
    done = project.stores("plan", "--json")
    assert done.code == 3
    assert f"the domain '{SHOP}' stands in line" in done.err
    project.write(store(STORE))
