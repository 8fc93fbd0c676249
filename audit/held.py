"""Which stores are held: somebody has worked on their Helm release without the platform since it last did.

An operator who runs `helm upgrade` or `helm rollback` at night has a reason, so the next run must not undo it in
passing. A held store is left alone until its own block in the manifest changes, or a run is told to
overwrite. Reads only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from audit.engine.state import Snapshot
from audit.plan import PropertyChange, value_changes
from audit.records import StoreRow
from components import desired, naming
from stacks.cluster import Cluster
from stacks.helm_history import Revision

ASKED_AT_ONCE: Final = 8
_SHOWN: Final = 5


@dataclass(frozen=True)
class Held:
    """How a release differs from what the platform left: `ours` is the revision that we left, `live` is Helm's last.

    `changes` are live values that are not ours. They may be none: a changed chart, or a rollback to what was before.
    """

    ours: int
    live: Revision
    changes: tuple[PropertyChange, ...]

    @property
    def reason(self) -> str:
        """Return what is wrong in one line. Of values only names are told, but for the image's tag."""
        told = [
            f"{change.path} {change.before} -> {change.after}" if change.path == "image.tag" else change.path
            for change in self.changes[:_SHOWN]
        ]
        more = len(self.changes) - len(told)
        what = ", ".join(told) + (f" and {more} more" if more > 0 else "")
        return (
            f"held: its Helm revision is {self.live.number} ({self.live.status}), and the platform's was {self.ours}; "
            + (f"changed by hand: {what}" if what else "its values are the platform's")
        )


def find(cluster: Cluster, snapshots: Iterable[Snapshot], rows: Mapping[str, StoreRow]) -> dict[str, Held]:
    """Return the held stores by id. Raises ClusterUnreachableError."""
    known = [
        (store_id, ours, snapshot)
        for snapshot in snapshots
        for store_id, ours in snapshot.revisions.items()
        if not _was_interrupted(snapshot, store_id)
    ]
    if not known:
        return {}
    _ = cluster.address  # loads the client once, before threads do
    with ThreadPoolExecutor(max_workers=ASKED_AT_ONCE) as pool:
        found = pool.map(lambda one: _held(cluster, one[0], one[1], one[2].applied, rows.get(one[0])), known)
        return {one[0]: held for one, held in zip(known, found, strict=True) if held is not None}


def _held(
    cluster: Cluster, store_id: str, ours: int, applied: Mapping[str, Mapping[str, Any]], row: StoreRow | None
) -> Held | None:
    namespace, release = naming.namespace(store_id), naming.release(store_id)
    history = cluster.revisions(namespace, release)
    if not history or history[-1].number == ours:
        return None
    live = history[-1]
    if live.status != "deployed" and row is not None and row.status in ("Failed", "Provisioning"):
        return None  # a run of ours broke off in it, and the next one takes it up
    values = (applied.get(store_id) or {}).get("release", {}).get("values")
    content = cluster.revision(namespace, release, live.number) if values is not None else None
    return Held(ours, live, () if content is None else value_changes(values, content.values))


def _was_interrupted(snapshot: Snapshot, store_id: str) -> bool:
    """Return whether the engine was killed while it worked on the release: then what is live is its own doing."""
    name = naming.logical_name(store_id, desired.RELEASE)
    return any(urn.rsplit("::", 1)[-1] == name for urn in snapshot.pending)
