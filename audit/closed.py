"""Shops that are closed while their data is replaced: which they are, and how they come back.

The mark is on the web pods' Deployment, so that it outlives whoever set it. As long as it is there the data may be half
of two states, and nothing may start a web pod but what replaces the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Self

from audit import live
from components import naming
from stacks.cluster import Cluster

RESTORING: Final = "stores.platform/restoring"
"""On the web pods' Deployment while a store is restored; its value is the restore's run."""
_ASKED_AT_ONCE: Final = 8
_NO_UNDO: Final = "-"


@dataclass(frozen=True)
class Closed:
    """Why a shop is closed: the run that replaces its data, or broke off in it.

    `undo` is the snapshot of what was there before, or None where there is none. `replicas`: its web pods when open.
    """

    run_id: str
    undo: str | None
    replicas: int

    @classmethod
    def of(cls, web: Mapping[str, Any]) -> Self | None:
        """Return what the mark on a Deployment says; None where there is no mark."""
        mark = (web["metadata"].get("annotations") or {}).get(RESTORING)
        if mark is None:
            return None
        run_id, *undo, replicas = str(mark).split(" ")
        return cls(run_id, undo[0] if undo and undo[0] != _NO_UNDO else None, int(replicas))

    @property
    def mark(self) -> str:
        """Return the mark."""
        return f"{self.run_id} {self.undo or _NO_UNDO} {self.replicas}"

    @property
    def reason(self) -> str:
        """Return in one line why no web pod may start."""
        return f"closed: {self.run_id} replaces its data, or broke off in it, so the data may not be whole"

    def cure(self, store_id: str) -> str:
        """Return what brings it back."""
        before = f", or `stores restore {store_id} --at {self.undo[:8]}` for what was there before" if self.undo else ""
        return f"once that run is over, give its command again (`stores restore`, `stores rollback`){before}"


def find(cluster: Cluster, store_ids: Iterable[str]) -> dict[str, Closed]:
    """Return which of these shops are closed, by id. Raises ClusterUnreachableError."""
    wanted = sorted(store_ids)
    if not wanted:
        return {}
    _ = cluster.address  # loads the client once, before threads do
    with ThreadPoolExecutor(max_workers=_ASKED_AT_ONCE) as pool:
        found = zip(wanted, pool.map(lambda store_id: _closed(cluster, store_id), wanted), strict=True)
        return {store_id: closed for store_id, closed in found if closed is not None}


def _closed(cluster: Cluster, store_id: str) -> Closed | None:
    web = live.read(cluster, "apps/v1", "Deployment", naming.namespace(store_id), f"{store_id}-wordpress")
    return None if web is None else Closed.of(web)
