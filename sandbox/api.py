"""The instance's API server, asked with nothing but the standard library.

Reads only kubeconfigs that `sandbox.node` wrote. It is for small programs that run as long as the node, where the
official client would cost fifty MiB each, and for questions of the machine's side that must answer at once.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

_TIMEOUT_S: Final = 20.0

Object = Mapping[str, Any]


class ApiError(Exception):
    """The API server answered that it will not."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


# What a request can fail with besides ApiError: nobody answers, or in the middle of the answer the other side ends.
UNREACHABLE: Final = (OSError, http.client.HTTPException)


class Api:
    """One API server, with the rights of one kubeconfig. Can be used from several threads."""

    def __init__(self, kubeconfig: Path) -> None:
        content = json.loads(kubeconfig.read_text())
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._address = urlsplit(cluster["server"]).netloc
        self._tls = ssl.create_default_context(cadata=authority)
        self._headers = {"Authorization": f"Bearer {user['token']}", "Accept": "application/json"}

    def get(self, path: str, *, timeout_s: float = _TIMEOUT_S) -> Object:
        """Return the object or list at `path`."""
        return self._request("GET", path, timeout_s=timeout_s)

    def text(self, path: str, *, timeout_s: float = _TIMEOUT_S) -> str:
        """Return what is at `path` as text."""
        return self._answer("GET", path, None, self._headers, timeout_s).decode()

    def apply(self, path: str, body: Object, *, manager: str) -> Object:
        """Make the object at `path` as `body` says, and return it as it is then."""
        query = urlencode({"fieldManager": manager, "force": "true"})
        return self._request("PATCH", f"{path}?{query}", body, "application/apply-patch+yaml")

    def create(self, path: str, body: Object) -> Object:
        """Make a new object in the collection at `path`, and return it."""
        return self._request("POST", path, body)

    def patch(self, path: str, change: Object) -> Object:
        """Change the object at `path` where `change` says so, and return it."""
        return self._request("PATCH", path, change, "application/merge-patch+json")

    def delete(self, path: str) -> None:
        """Ask for the deletion of the object at `path`."""
        self._request("DELETE", path)

    def watch(self, path: str, version: str, *, seconds: int) -> Iterator[tuple[str, Object]]:
        """Yield (event type, object) for the collection at `path` since `version`, for at most about `seconds`.

        Raises ApiError when the server cannot tell what happened since then (410).
        """
        query = urlencode({"watch": "true", "resourceVersion": version, "timeoutSeconds": seconds})
        with closing(self._connect(seconds + _TIMEOUT_S)) as connection:
            connection.request("GET", f"{path}?{query}", headers=self._headers)
            response = connection.getresponse()
            if response.status != 200:
                raise ApiError(response.status, response.read().decode(errors="replace"))
            while line := response.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(event["object"].get("code", 500), event["object"].get("message", ""))
                yield event["type"], event["object"]

    def _request(
        self, method: str, path: str, body: Object | None = None, content_type: str = "application/json",
        *, timeout_s: float = _TIMEOUT_S,
    ) -> Object:  # fmt: skip
        headers = {**self._headers, "Content-Type": content_type} if body is not None else self._headers
        data = None if body is None else json.dumps(body).encode()
        result: Object = json.loads(self._answer(method, path, data, headers, timeout_s))
        return result

    def _answer(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> bytes:
        with closing(self._connect(timeout_s)) as connection:
            connection.request(method, path, data, dict(headers))
            response = connection.getresponse()
            answer = response.read()
        if response.status >= 400:
            raise ApiError(response.status, _message(answer))
        return answer

    def _connect(self, timeout_s: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._address, timeout=timeout_s, context=self._tls)


# Kinds of the sandbox's own manifests whose plural is not just the kind with an "s".
_PLURALS: Final = {"IngressClass": "ingressclasses", "StorageClass": "storageclasses"}


def path_of(body: Object) -> str:
    """Return where the API server has an object of our own manifests."""
    version, kind, metadata = body["apiVersion"], body["kind"], body["metadata"]
    start = f"/apis/{version}" if "/" in version else f"/api/{version}"
    namespace = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{start}{namespace}/{_PLURALS.get(kind, kind.lower() + 's')}/{metadata['name']}"


def _message(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return answer.decode(errors="replace")[:500]
