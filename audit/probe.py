"""Whether a store sells, asked the way a customer would: its pages, by its host, through the ingress.

A container that runs is no shop. What counts is the shop page, the login page and the API that the cart works with; a
page that says "coming soon", and somebody else's page on the same host, do not.
"""

from __future__ import annotations

import html
import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

TIMEOUT_S: Final = 10.0

# `anything.127.0.0.1.nip.io` is 127.0.0.1 by the service's definition, so it need not be asked.
_NIP_IO: Final = re.compile(r"(?:^|\.)((?:\d{1,3}\.){3}\d{1,3})\.nip\.io$")
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title>", re.DOTALL | re.IGNORECASE)
_DIED: Final = re.compile(r"class=[\"']wp-die-message[\"'][^>]*>(.*?)</div>", re.DOTALL)
_TAG: Final = re.compile(r"<[^>]*>")
_MAX_BODY: Final = 512 * 1024
_MAX_REDIRECTS: Final = 3
_LONGEST_QUOTE: Final = 120

# WordPress names its REST API, with its own address, in this header of every page; a proxy's default page does not.
_REST_LINK: Final = re.compile(r"<([^>]*)>;\s*rel=\"https://api\.w\.org/\"")
# WooCommerce marks every page that it hides behind "coming soon" (ComingSoonRequestHandler), and names itself in all.
_COMING_SOON: Final = re.compile(r"<meta\s+name=['\"]woo-coming-soon-page['\"]\s+content=['\"]yes['\"]")
_GENERATOR: Final = re.compile(r"<meta\s+name=['\"]generator['\"]\s+content=['\"](WooCommerce[^'\"]*)['\"]")
_LOGIN_FORM: Final = re.compile(r"<form[^>]*\bid=['\"]loginform['\"]")

# WordPress' own texts; it takes them too where the declared language's pack is missing, and says so only in its log.
SPOKEN_BY_ALL: Final = "en_US"
_ENGLISH: Final = re.compile(r"<html[^>]*\blang=['\"]en-US['\"]")
# What the ledger keeps. A shop's pages can say anything.
_LONGEST_CONTENT: Final = 64

WORDPRESS_ONLY: Final = "WordPress only"
WOOCOMMERCE: Final = "WooCommerce"

FRONT_PAGE: Final = "front page"
SHOP_PAGE: Final = "shop page"
LOGIN_PAGE: Final = "login page"
STORE_API: Final = "store API"

_SHOP: Final = "/shop/"
# The shop page whatever its slug is: WordPress redirects this to it.
_PRODUCTS: Final = "/?post_type=product"
_LOGIN: Final = "/wp-login.php"
_STORE_API: Final = "/wp-json/wc/store/v1/products"


@dataclass(frozen=True)
class Check:
    """One thing that was asked of a store. `code` is None where nobody answered; `problem` is None if it went well."""

    name: str
    path: str
    code: int | None
    milliseconds: int
    problem: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the answer was what a shop answers."""
        return self.problem is None


@dataclass(frozen=True)
class Answer:
    """What a store said. `ok`: everything that was asked went well; `content` says what is installed, and if its texts
    are not in the language that was declared.

    `detail` is the front page's or the shop's title, or what went wrong.
    """

    ok: bool
    detail: str
    content: str | None = None
    checks: tuple[Check, ...] = ()


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


class _WrongError(Exception):
    """The answer was not the one that a shop gives."""


def ask(url: str, way: Way = DIRECT, *, sells: bool = False, locale: str = SPOKEN_BY_ALL) -> Answer:
    """Return what the store at `url` answers. Never raises: no answer is an answer.

    `sells`: WooCommerce is declared, so shop page and store API must work; else WordPress' front page is enough.
    `locale`: the declared language; English in its place does not stop a shop from selling, and is noted only.
    """
    asked = _Asked(url, way)
    front = asked.check(SHOP_PAGE, _SHOP, asked.shop) if sells else asked.check(FRONT_PAGE, "/", asked.page)
    if asked.checks[0].code is None:
        return Answer(ok=False, detail=_told(asked.checks), checks=asked.checks)
    asked.check(LOGIN_PAGE, _LOGIN, asked.login)
    api = asked.check(STORE_API, _STORE_API, asked.products) if sells else None
    content = _content(front, api if sells else asked.quietly(_STORE_API, asked.products), locale)
    if any(not check.ok for check in asked.checks):
        return Answer(ok=False, detail=_told(asked.checks), content=content, checks=asked.checks)
    return Answer(ok=True, detail=_title(front) if front else "", content=content, checks=asked.checks)


def address_of(host: str) -> str:
    """Return what to connect to for a host: the address inside a nip.io name, else the host itself."""
    match = _NIP_IO.search(host)
    return match.group(1) if match else host


class _Asked:
    """The checks of one store, in the order in which they were made."""

    def __init__(self, url: str, way: Way) -> None:
        self._url = url
        self._way = way
        self._code: int | None = None
        self.checks: tuple[Check, ...] = ()

    def check(self, name: str, path: str, question: Callable[[str], _Page]) -> _Page | None:
        """Return the page, or None with what was wrong with it among the checks."""
        self._code, began, problem, page = None, time.monotonic(), None, None
        try:
            page = question(path)
        except _WrongError as error:
            problem = str(error)
        except (OSError, http.client.HTTPException) as error:
            self._code = None
            problem = f"no answer: {type(error).__name__}: {error}"
        milliseconds = round((time.monotonic() - began) * 1000)
        self.checks = (*self.checks, Check(name, path, self._code, milliseconds, problem))
        return page

    def quietly(self, path: str, question: Callable[[str], _Page]) -> _Page | None:
        """Return the page, or None; nothing depends on it."""
        try:
            return question(path)
        except (_WrongError, OSError, http.client.HTTPException):
            return None

    def page(self, path: str) -> _Page:
        """Return a page that this very shop's WordPress made."""
        page = self._get(path)
        found = _REST_LINK.search(page.headers.get("link", ""))
        if found is None:
            raise _WrongError("answered 200, but it is not WordPress that answered")
        if urlsplit(found.group(1)).netloc != urlsplit(self._url).netloc:
            raise _WrongError(f"answered 200, but it is another site: {found.group(1)}")
        if _COMING_SOON.search(page.body):
            raise _WrongError('answered 200, but it only says "coming soon"')
        return page

    def shop(self, path: str) -> _Page:
        """Return the shop page, also where its slug or place is another."""
        try:
            return self.page(path)
        except _WrongError:
            if self._code != 404:
                raise
        return self.page(_PRODUCTS)

    def login(self, path: str) -> _Page:
        """Return the login page."""
        page = self._get(path)
        if not _LOGIN_FORM.search(page.body):
            raise _WrongError("answered 200, but without WordPress' login form")
        return page

    def products(self, path: str) -> _Page:
        """Return the store API's list of products; an empty one is a list too."""
        page = self._get(f"{path}?per_page=1", redirects=0)
        try:
            found = json.loads(page.body)
        except ValueError:
            found = None
        if not isinstance(found, list):
            raise _WrongError("answered 200, but not with a list of products")
        return page

    def _get(self, path: str, *, redirects: int = _MAX_REDIRECTS) -> _Page:
        """Return what answers with 200, after redirects within the shop."""
        page = _get(self._url, path, self._way)
        self._code = page.status
        location = urljoin(f"{self._url}{path}", page.headers.get("location", ""))
        inside = urlsplit(location)[:2] == urlsplit(self._url)[:2] and "/wp-admin/install.php" not in location
        if page.status in (301, 302, 303, 307, 308) and redirects > 0 and inside:
            return self._get(_path_of(location), redirects=redirects - 1)
        if page.status != 200:
            where = f" to {page.headers['location']}" if "location" in page.headers else ""
            said = _said(page)
            raise _WrongError(f"answered {page.status}{where}, not 200" + (f" ({said})" if said else ""))
        return page


def _path_of(location: str) -> str:
    parts = urlsplit(location)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _told(checks: tuple[Check, ...]) -> str:
    return "; ".join(f"{check.name} ({check.path}) {check.problem}" for check in checks if check.problem)


def _content(front: _Page | None, api: _Page | None, locale: str) -> str | None:
    if api is None and front is None:
        return None
    named = _GENERATOR.search(front.body) if front is not None else None
    installed = html.unescape(named.group(1)).strip() if named else WOOCOMMERCE
    english = front is not None and locale != SPOKEN_BY_ALL and _ENGLISH.search(front.body)
    note = f"; in en-US, not {locale}" if english else ""
    return (installed if api is not None else WORDPRESS_ONLY)[: _LONGEST_CONTENT - len(note)] + note


def _said(page: _Page) -> str:
    """Return the error page's own words: WordPress' message, an API's, or the page's title."""
    if "json" in page.headers.get("content-type", ""):
        try:
            document = json.loads(page.body)
        except ValueError:
            return ""
        return _quote(str(document.get("message", ""))) if isinstance(document, dict) else ""
    died = _DIED.search(page.body)
    return _quote(died.group(1)) if died else _title(page)


def _title(page: _Page) -> str:
    found = _TITLE.search(page.body)
    return _quote(found.group(1)) if found else ""


def _quote(markup: str) -> str:
    text = " ".join(html.unescape(_TAG.sub(" ", markup)).split())
    return text if len(text) <= _LONGEST_QUOTE else f"{text[: _LONGEST_QUOTE - 3]}..."


def _get(url: str, path: str, way: Way) -> _Page:
    parts = urlsplit(url)
    connection = _connected(url, way)
    try:
        connection.request("GET", path, headers={"Host": parts.netloc, "User-Agent": "stores-probe"})
        response = connection.getresponse()
        body = response.read(_MAX_BODY).decode("utf-8", errors="replace")
        headers: dict[str, str] = {}
        for name, value in response.getheaders():
            # WordPress sends several of the same name, such as Link.
            headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
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
