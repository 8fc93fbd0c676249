"""Whether a store answers, asked the way a customer would: by its host, through the ingress."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

TIMEOUT_S: Final = 10.0

# `anything.127.0.0.1.nip.io` is 127.0.0.1 by the service's definition, so it need not be asked.
_NIP_IO: Final = re.compile(r"(?:^|\.)((?:\d{1,3}\.){3}\d{1,3})\.nip\.io$")
_TITLE: Final = re.compile(r"<title>(.*?)</title>", re.DOTALL | re.IGNORECASE)
_MAX_BODY: Final = 512 * 1024

# WordPress names its REST API in this header of every page; a default page of a proxy or web server does not.
_REST_LINK: Final = 'rel="https://api.w.org/"'

WORDPRESS_ONLY: Final = "WordPress only"
WOOCOMMERCE: Final = "WooCommerce"


@dataclass(frozen=True)
class Answer:
    """What a store said. `ok` means that WordPress itself served its front page; `content` says what is installed."""

    ok: bool
    detail: str
    content: str | None = None


@dataclass(frozen=True)
class Way:
    """How a store is reached where its address alone does not say it.

    `via` is a host that leads to the ingress, whatever the store's own domain leads to yet: the request keeps the host
    of its address, as `curl --connect-to` does. `ca_file` is trusted in place of the machine's authorities.
    """

    via: str | None = None
    ca_file: Path | None = None


DIRECT: Final = Way()


@dataclass(frozen=True)
class _Page:
    status: int
    headers: dict[str, str]
    body: str


def ask(url: str, way: Way = DIRECT) -> Answer:
    """Return what the store at `url` answers. Never raises: no answer is an answer."""
    try:
        front = _get(url, "/", way)
        if front.status != 200:
            where = f" to {front.headers['location']}" if "location" in front.headers else ""
            return Answer(ok=False, detail=f"GET / answered {front.status}{where}, not 200")
        if _REST_LINK not in front.headers.get("link", ""):
            return Answer(ok=False, detail="GET / answered 200, but it is not WordPress that answered")
        shop = _get(url, "/wp-json/wc/store/v1/products", way)
    except (OSError, http.client.HTTPException) as error:
        return Answer(ok=False, detail=f"no answer: {type(error).__name__}: {error}")
    content = WOOCOMMERCE if shop.status == 200 and shop.body.lstrip().startswith("[") else WORDPRESS_ONLY
    title = _TITLE.search(front.body)
    return Answer(ok=True, detail=" ".join(title.group(1).split()) if title else "", content=content)


def address_of(host: str) -> str:
    """Return what to connect to for a host: the address inside a nip.io name, else the host itself."""
    match = _NIP_IO.search(host)
    return match.group(1) if match else host


def _get(url: str, path: str, way: Way) -> _Page:
    parts = urlsplit(url)
    connection = _connected(url, way)
    try:
        connection.request("GET", path, headers={"Host": parts.netloc, "User-Agent": "stores-probe"})
        response = connection.getresponse()
        body = response.read(_MAX_BODY).decode("utf-8", errors="replace")
        headers = {name.lower(): value for name, value in response.getheaders()}
        return _Page(response.status, headers, body)
    finally:
        connection.close()


def _connected(url: str, way: Way) -> http.client.HTTPConnection:
    """Return a connection to where the store is, for the host of its address: its certificate must be for that host."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    plain = socket.create_connection((address_of(way.via or host), port), timeout=TIMEOUT_S)
    try:
        connection.sock = _secured(plain, host, way.ca_file) if secure else plain
    except BaseException:
        plain.close()
        raise
    return connection


def _secured(plain: socket.socket, host: str, ca_file: Path | None) -> socket.socket:
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    return context.wrap_socket(plain, server_hostname=host)
