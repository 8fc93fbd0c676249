"""Copies of the cluster's objects, kept up to date by threads of their own."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

from sandbox.api import UNREACHABLE, Api, ApiError
from sandbox.policies.objects import Object

log = logging.getLogger(__name__)

_WATCH_S: Final = 600
_RETRY_S: Final = 0.5

T = TypeVar("T")
Key = tuple[str, str]


class Mirror(Generic[T]):
    """Every object of one kind, reduced by `reduce` to what is needed of it, by namespace and name."""

    def __init__(self, api: Api, collection: str, reduce: Callable[[Object], T], changed: Callable[[], None]) -> None:
        self._api = api
        self._collection = collection
        self._reduce = reduce
        self._changed = changed
        self._lock = threading.Lock()
        self._found: dict[Key, tuple[int, T]] | None = None

    def start(self) -> None:
        """Begin to follow the objects."""
        threading.Thread(target=self._follow, name=self._collection, daemon=True).start()

    def all(self) -> Mapping[Key, T] | None:
        """Return the objects, or None as long as they were never listed."""
        with self._lock:
            return None if self._found is None else {key: value for key, (_, value) in self._found.items()}

    def take(self, item: Object) -> bool:
        """Know this version of an object at least, and return whether it says anything new.

        One that is older than what is known does not; nor does a pod's new status, of which nothing is kept.
        """
        with self._lock:
            return self._found is not None and self._keep(self._found, item)

    def _keep(self, found: dict[Key, tuple[int, T]], item: Object) -> bool:
        # Versions of this API server are numbers of etcd, which only grow.
        key, version = key_of(item), int(item["metadata"]["resourceVersion"])
        before = found.get(key)
        if before is not None and before[0] > version:
            return False
        reduced = self._reduce(item)
        found[key] = (version, reduced)
        return before is None or before[1] != reduced

    def _follow(self) -> None:
        try:
            while True:
                try:
                    self._follow_once()
                # An API server that ends in the middle of a line leaves half of an object.
                except (ApiError, json.JSONDecodeError, *UNREACHABLE) as error:
                    log.warning("listing %s again: %s", self._collection, error)
                    time.sleep(_RETRY_S)
        except BaseException:
            log.exception("following %s failed", self._collection)
            os._exit(1)  # a copy that is never renewed would be worse; the supervisor starts the program anew

    def _follow_once(self) -> None:
        listed = self._api.get(self._collection)
        version = int(listed["metadata"]["resourceVersion"])
        found: dict[Key, tuple[int, T]] = {}
        for item in listed["items"]:
            self._keep(found, item)
        with self._lock:
            # What was taken while the list was on its way is newer than the list.
            newer = {key: kept for key, kept in (self._found or {}).items() if kept[0] > version}
            self._found = found | newer
        self._changed()
        for kind, item in self._api.watch(self._collection, listed["metadata"]["resourceVersion"], seconds=_WATCH_S):
            if self._forget(item) if kind == "DELETED" else self.take(item):
                self._changed()

    def _forget(self, item: Object) -> bool:
        with self._lock:
            key = key_of(item)
            # Another object of the same name may have been taken in the meantime.
            version = int(item["metadata"]["resourceVersion"])
            if self._found is None or key not in self._found or self._found[key][0] > version:
                return False
            del self._found[key]
            return True


def key_of(item: Object) -> Key:
    """Return namespace (empty for kinds without one) and name."""
    metadata = item["metadata"]
    return (metadata.get("namespace") or "", metadata["name"])
