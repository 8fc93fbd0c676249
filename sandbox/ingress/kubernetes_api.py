"""The cluster's objects, listed and watched with the pod's own account."""

from __future__ import annotations

import http.client
import json
import logging
import os
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sandbox.ingress.routes import Object

log = logging.getLogger(__name__)

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_WATCH_S = 300
# A watch that asked for bookmarks is sent one about every minute, so a longer silence is a broken connection.
_SILENCE_S = 150
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0


class ApiError(Exception):
    """The API server refused, or cannot be reached."""


class Api:
    """The API server, as a pod finds it."""

    def __init__(self) -> None:
        self._host = os.environ["KUBERNETES_SERVICE_HOST"]
        self._port = int(os.environ["KUBERNETES_SERVICE_PORT"])
        self._context = ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt"))

    def list(self, path: str) -> tuple[list[Object], str]:
        """Return all objects and the version of the list. Raises ApiError."""
        connection, response = self._request("GET", path)
        try:
            document = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ApiError(f"GET {path}: {error!r}") from error
        finally:
            connection.close()
        return document.get("items") or [], document["metadata"]["resourceVersion"]

    def watch(self, path: str, version: str) -> Iterator[tuple[str, Object]]:
        """Yield the kind of change and the object, until the server ends the watch. Raises ApiError."""
        query = f"watch=1&allowWatchBookmarks=true&timeoutSeconds={_WATCH_S}&resourceVersion={version}"
        connection, response = self._request("GET", f"{path}?{query}")
        try:
            while line := response.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(f"watch {path}: {event['object'].get('message')}")
                yield event["type"], event["object"]
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ApiError(f"watch {path}: {error!r}") from error
        finally:
            connection.close()

    def merge(self, path: str, change: Any) -> None:
        """Apply a merge patch. Raises ApiError."""
        self._request("PATCH", path, json.dumps(change), "application/merge-patch+json")[0].close()

    def _request(
        self, method: str, path: str, body: str | None = None, kind: str = "application/json"
    ) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=_SILENCE_S, context=self._context)
        # Read each time: the kubelet replaces the token before it expires.
        headers = {"Authorization": f"Bearer {(_ACCOUNT / 'token').read_text()}", "Content-Type": kind}
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ApiError(f"{method} {path}: {error!r}") from error
        if response.status >= 300:
            said = response.read(500).decode(errors="replace")
            connection.close()
            raise ApiError(f"{method} {path}: {response.status} {said}")
        return connection, response


class Mirror:
    """A copy of all objects of one kind, kept up to date by a thread of its own."""

    def __init__(self, api: Api, path: str, changed: threading.Event) -> None:
        self._api = api
        self._path = path
        self._changed = changed
        self._lock = threading.Lock()
        self._objects: dict[str, Object] | None = None

    def start(self) -> None:
        """Begin to follow the objects. A defect in doing so ends the process, so that it is started anew."""
        threading.Thread(target=self._run, name=self._path, daemon=True).start()

    def objects(self) -> Sequence[Object] | None:
        """Return the objects, or None as long as they were never listed."""
        with self._lock:
            return None if self._objects is None else list(self._objects.values())

    def _run(self) -> None:
        try:
            self._follow()
        except BaseException:
            log.exception("following %s failed", self._path)
            os._exit(1)

    def _follow(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                # Listed anew after each watch, so that nothing that a watch may have missed lasts for long.
                version = self._list()
                pause_s = _FIRST_PAUSE_S
                for kind, changed in self._api.watch(self._path, version):
                    self._take(kind, changed)
            except ApiError as error:
                log.warning("%s", error)
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _list(self) -> str:
        objects, version = self._api.list(self._path)
        with self._lock:
            self._objects = {item["metadata"]["uid"]: item for item in objects}
        self._changed.set()
        return version

    def _take(self, kind: str, changed: Object) -> None:
        if kind == "BOOKMARK":
            return
        uid = changed["metadata"]["uid"]
        with self._lock:
            if self._objects is None:
                raise AssertionError("a watch follows a list")
            if kind == "DELETED":
                self._objects.pop(uid, None)
            else:
                self._objects[uid] = changed
        self._changed.set()
