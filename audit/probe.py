"""Whether a store answers, asked the way a customer would: by its host, through the ingress."""

from __future__ import annotations

import http.client
import re
import ssl
from dataclasses import dataclass
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
class _Page:
    status: int
    headers: dict[str, str]
    body: str


def ask(url: str) -> Answer:
    """Return what the store at `url` answers. Never raises: no answer is an answer."""
    try:
        front = _get(url, "/")
        if front.status != 200:
            where = f" to {front.headers['location']}" if "location" in front.headers else ""
            return Answer(ok=False, detail=f"GET / answered {front.status}{where}, not 200")
        if _REST_LINK not in front.headers.get("link", ""):
            return Answer(ok=False, detail="GET / answered 200, but it is not WordPress that answered")
        shop = _get(url, "/wp-json/wc/store/v1/products")
    except (OSError, http.client.HTTPException) as error:
        return Answer(ok=False, detail=f"no answer: {type(error).__name__}: {error}")
    content = WOOCOMMERCE if shop.status == 200 and shop.body.lstrip().startswith("[") else WORDPRESS_ONLY
    title = _TITLE.search(front.body)
    return Answer(ok=True, detail=" ".join(title.group(1).split()) if title else "", content=content)


def address_of(host: str) -> str:
    """Return what to connect to for a host: the address inside a nip.io name, else the host itself."""
    match = _NIP_IO.search(host)
    return match.group(1) if match else host


def _get(url: str, path: str) -> _Page:
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(address_of(host), parts.port, timeout=TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection(address_of(host), parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"Host": parts.netloc, "User-Agent": "stores-probe"})
        response = connection.getresponse()
        body = response.read(_MAX_BODY).decode("utf-8", errors="replace")
        headers = {name.lower(): value for name, value in response.getheaders()}
        return _Page(response.status, headers, body)
    finally:
        connection.close()
