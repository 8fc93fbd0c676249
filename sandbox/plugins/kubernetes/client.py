"""The API server over HTTP with kept connections. The official Python client costs a second at each start."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from sandbox.plugins.failures import PluginError
from sandbox.plugins.kubernetes.kubeconfig import Access

_CONNECT_TIMEOUT_S: Final = 10.0
# Long enough for a webhook that is slow, short enough to notice a server that is gone.
_ANSWER_TIMEOUT_S: Final = 60.0
# Below the server's own limit for an idle connection, so that a request is never sent into one that is closing.
_KEEP_S: Final = 30.0
_BUSY_TRIES: Final = 8
_JSON: Final = "application/json"

Query = Mapping[str, str] | None


class ApiError(PluginError):
    """The API server answered that it will not."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        super().__init__(document.get("message") or f"HTTP status {status}")
        self.status = status
        self.reason: str = document.get("reason", "")
        self.causes: tuple[Mapping[str, Any], ...] = tuple((document.get("details") or {}).get("causes") or ())

    def caused_by(self, reason: str) -> bool:
        """Say whether one of the listed causes is `reason`."""
        return any(cause.get("reason") == reason for cause in self.causes)


class UnreachableError(PluginError):
    """The API server did not answer."""


class CancelledError(PluginError):
    """The engine asked to end everything that waits."""


@dataclass(frozen=True)
class _Call:
    method: str
    path: str
    query: Query
    body: bytes | None
    headers: Mapping[str, str]


@dataclass
class _Kept:
    connection: http.client.HTTPConnection
    since: float


class Throttle:
    """Lets `burst` requests through at once, and `per_second` in the long run."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._step_s = 1 / per_second
        self._burst_s = burst / per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock() - self._burst_s

    def delay_s(self) -> float:
        """Take a place; return how long to wait for it."""
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now - self._burst_s) + self._step_s
            return max(0.0, self._free_at - now)


class Client:
    """Speaks to one API server, from any number of threads."""

    def __init__(self, access: Access, *, throttle: Throttle | None = None, timeout_s: float | None = None) -> None:
        self._access = access
        self._throttle = throttle
        self._timeout_s = timeout_s or _ANSWER_TIMEOUT_S
        self._host = urlsplit(access.server)
        self._tls = _tls(access) if self._host.scheme == "https" else None
        self._idle: list[_Kept] = []
        self._watching: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        """End every watch and every wait, now and in future."""
        self.cancelled.set()
        with self._lock:
            for connection in self._watching:
                if connection.sock is not None:
                    # The base class' method: that of a TLS socket would take the socket apart under its reader.
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            while self._idle:
                self._idle.pop().connection.close()

    def sleep(self, seconds: float) -> None:
        """Wait. Raises CancelledError at once when cancelled."""
        if self.cancelled.wait(seconds):
            raise CancelledError("cancelled")

    def get(self, path: str, query: Query = None) -> dict[str, Any]:
        """Return the object or list at `path`."""
        return self._request("GET", path, query)

    def list_metadata(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the metadata of each object of a list, without the objects' contents."""
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        items = self._request("GET", path, query, accept=accept).get("items") or ()
        return [item["metadata"] for item in items]

    def text(self, path: str, query: Mapping[str, str]) -> str:
        """Return what is at `path` as text, such as a log."""
        status, answer, _ = self._answer(_Call("GET", path, query, None, {}))
        if status >= 400:
            raise ApiError(status, {"message": answer.decode(errors="replace")})
        return answer.decode(errors="replace")

    def apply(
        self, path: str, document: Mapping[str, Any], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        """Return the object after a server-side apply."""
        query = {"fieldManager": manager, "fieldValidation": "Strict", "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"
        return self._request("PATCH", path, query, document, content_type="application/apply-patch+yaml")

    def delete(self, path: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for deletion. Whether the object is gone then is another question."""
        return self._request("DELETE", path, None, options)

    def watch(self, path: str, *, name: str, version: str, seconds: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (event type, object) for one object since `version`, for at most about `seconds`.

        It ends early, without an error, whenever the server or the connection does: the caller looks again.
        """
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": version,
            "timeoutSeconds": str(max(1, round(seconds))),
        }
        connection = self._connect(seconds + _CONNECT_TIMEOUT_S)
        with self._watched(connection):
            try:
                connection.request("GET", f"{path}?{urlencode(query)}", headers=self._headers())
                response = connection.getresponse()
                if response.status == 200:
                    yield from _events(response)
            except (OSError, http.client.HTTPException, ValueError):
                return

    @contextmanager
    def _watched(self, connection: http.client.HTTPConnection) -> Iterator[None]:
        with self._lock:
            self._watching.add(connection)
        try:
            if not self.cancelled.is_set():
                yield
        finally:
            with self._lock:
                self._watching.discard(connection)
            connection.close()
        if self.cancelled.is_set():
            raise CancelledError("cancelled")

    def _request(
        self, method: str, path: str, query: Query = None, document: Mapping[str, Any] | None = None, **headers: str
    ) -> dict[str, Any]:
        body = None if document is None else json.dumps(document).encode()
        if self._throttle is not None:
            self.sleep(self._throttle.delay_s())
        call = _Call(method, path, query, body, {"Accept": _JSON, "Content-Type": _JSON, **_named(headers)})
        for attempt in range(_BUSY_TRIES):
            status, answer, retry_after_s = self._answer(call)
            if status != 429:
                break
            # The server sheds load and says when to come back.
            self.sleep(max(retry_after_s, 0.2 * attempt))
        return _document(status, answer)

    def _answer(self, call: _Call) -> tuple[int, bytes, float]:
        target = self._host.path + call.path + (f"?{urlencode(call.query)}" if call.query else "")
        headers = {**self._headers(), **call.headers}
        while True:
            connection, used = self._take()
            try:
                connection.request(call.method, target, call.body, headers)
                response = connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if used and isinstance(error, (http.client.RemoteDisconnected, ConnectionError)):
                    continue  # the server had closed the idle connection; the request was never read
                raise self._unreachable(error) from error
            self._keep(connection, response)
            return response.status, answer, float(response.headers.get("Retry-After") or 0)

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        oldest = time.monotonic() - _KEEP_S
        with self._lock:
            while self._idle:
                kept = self._idle.pop()
                if kept.since > oldest:
                    return kept.connection, True
                kept.connection.close()
        return self._connect(self._timeout_s), False

    def _keep(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        if response.will_close:
            connection.close()
            return
        with self._lock:
            self._idle.append(_Kept(connection, time.monotonic()))

    def _connect(self, answer_timeout_s: float) -> http.client.HTTPConnection:
        host, port = self._host.hostname or "", self._host.port
        connection: http.client.HTTPConnection
        if self._tls is None:
            connection = http.client.HTTPConnection(host, port, timeout=_CONNECT_TIMEOUT_S)
        else:
            connection = _TlsConnection(
                host, port, timeout=_CONNECT_TIMEOUT_S, context=self._tls, server_name=self._access.server_name
            )
        try:
            connection.connect()
        except OSError as error:
            raise self._unreachable(error) from error
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock.settimeout(answer_timeout_s)
        return connection

    def _headers(self) -> dict[str, str]:
        headers = {"User-Agent": "stores-sandbox"}
        token = self._access.token
        if self._access.token_file is not None:
            # Read each time: whoever provides the file renews it.
            token = self._access.token_file.read_text(encoding="utf-8").strip()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _unreachable(self, error: Exception) -> UnreachableError:
        return UnreachableError(
            f"cluster {self._access.server}: no answer ({error or type(error).__name__}); "
            "check that it runs and that the kubeconfig is right"
        )


class _TlsConnection(http.client.HTTPSConnection):
    """A TLS connection that can expect another name in the certificate than the one it connects to."""

    def __init__(
        self, host: str, port: int | None, *, timeout: float, context: ssl.SSLContext, server_name: str | None
    ) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._tls = context
        self._server_name = server_name or host

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._server_name)


def _tls(access: Access) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=access.authority_pem)
    if not access.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if access.certificate_pem and access.key_pem:
        # Python takes a certificate from files only; these two live in memory.
        with _in_memory(access.certificate_pem) as certificate, _in_memory(access.key_pem) as key:
            context.load_cert_chain(certificate, key)
    return context


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    descriptor = os.memfd_create("pem")
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _events(response: http.client.HTTPResponse) -> Iterator[tuple[str, dict[str, Any]]]:
    while line := response.readline():
        event = json.loads(line)
        if event["type"] == "ERROR":
            return
        yield event["type"], event["object"]


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-").title(): value for name, value in headers.items()}


def _document(status: int, answer: bytes) -> dict[str, Any]:
    try:
        document = json.loads(answer) if answer else {}
    except ValueError:
        document = {"message": answer.decode(errors="replace")}
    if status >= 400:
        raise ApiError(status, document)
    result: dict[str, Any] = document
    return result
