"""How the stores are, as people see them: what the ledger knows, who is held, and on demand what each answers now.

It asks only; what it finds is not put on record.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from audit import closed as closing
from audit import held as holding
from audit import probe
from audit.backup_ages import BackupAge
from audit.engine.driver import Engine
from audit.entrance import AT_ONCE, Entrance
from audit.ledger import Ledger
from audit.records import StoreRow
from audit.waiting import Waiting
from components.desired import DesiredStore
from stacks.cluster import Cluster
from stacks.errors import StoresError
from stacks.manifest import Manifest


@dataclass(frozen=True)
class StoreStatus:
    """One store as people see it. `checked_at` is when it was last asked; `content` says what answered."""

    store_id: str
    name: str
    owner: str
    cell: str
    status: str
    url: str | None
    content: str | None
    since_at: datetime | None
    checked_at: datetime | None
    reason: str | None
    held: str | None = None
    """What somebody has done to its release by plain Helm, of a store that is held."""
    checks: tuple[probe.Check, ...] = ()
    """What the store was asked just now; empty unless that was wanted."""
    backup: BackupAge | None = None
    """Its last good backup; None where the environment makes none, or there is no store yet."""


def known(
    manifest: Manifest, rows: Mapping[str, StoreRow], held: Mapping[str, str], backups: Mapping[str, BackupAge]
) -> list[StoreStatus]:
    """Return every store that the manifest or the ledger knows, in the manifest's order.

    `held` says what is to be said of those that are, `backups` the age of each store's last one.
    """
    listed = [store.id for store in manifest.stores if not (store.deleted and store.id not in rows)]
    return [
        replace(_known(store_id, rows.get(store_id), manifest), held=held.get(store_id), backup=backups.get(store_id))
        for store_id in listed + sorted(set(rows) - set(listed))
    ]


def _known(store_id: str, row: StoreRow | None, manifest: Manifest) -> StoreStatus:
    if row is None:
        store = next(store for store in manifest.stores if store.id == store_id)
        reason = "not applied yet; run `stores up`"
        return StoreStatus(store_id, store.name, store.owner, store.cell, "Pending", None, None, None, None, reason)
    return StoreStatus(
        store_id=store_id,
        name=row.name,
        owner=row.owner,
        cell=row.cell,
        status=row.status,
        url=row.url,
        content=row.content,
        since_at=row.since_at,
        checked_at=row.ready_at,
        reason=row.status_reason,
    )


def held_stores(
    engine: Engine,
    cluster: Cluster,
    manifest: Manifest,
    rows: Mapping[str, StoreRow],
    unsure: Callable[[str], None],
) -> dict[str, str]:
    """Return what is to be said of each held store, and of each that is closed; what cannot be asked `unsure` tells."""
    if not any(row.holds_slot for row in rows.values()):
        return {}
    cells = {store.cell for store in manifest.stores} | {row.cell for row in rows.values()}
    try:
        snapshots = [engine.snapshot(cell) for cell in sorted(cells)]
        found = {store_id: held.reason for store_id, held in holding.find(cluster, snapshots, rows).items()}
        applied = {store_id for snapshot in snapshots for store_id in snapshot.applied}
        closed = closing.find(cluster, applied).items()
        return found | {store_id: f"{how.reason}; {how.cure(store_id)}" for store_id, how in closed}
    except StoresError as error:
        unsure(f"which stores are held is not known: {error}")
        return {}


@dataclass(frozen=True)
class Inquiry:
    """Asks stores what they answer now."""

    cluster: Cluster
    entrance: Entrance
    ledger: Ledger

    def of(self, statuses: list[StoreStatus], wanted: Mapping[str, DesiredStore]) -> list[StoreStatus]:
        """Return the statuses as they are now; `wanted` by id, of the stores that are."""
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            return list(pool.map(lambda status: self._asked(status, wanted.get(status.store_id)), statuses))

    def _asked(self, status: StoreStatus, wanted: DesiredStore | None) -> StoreStatus:
        """Return the status as it is now: what the store answers, and where it does not, why."""
        if status.url is None or status.status not in ("Ready", "Failed", "Provisioning", "Deleting"):
            return status
        if wanted is None:
            return self._leaving(status)
        answer = self._waiting.ask(wanted)
        seen = replace(status, content=answer.content, checked_at=self.ledger.now(), checks=answer.checks)
        if not answer.ok:
            return replace(seen, status="Failed", reason=self._waiting.why_not(wanted, answer))
        full = self._waiting.full_volumes(status.store_id)
        return replace(seen, reason=str(full[0]) if full else status.reason)

    def _leaving(self, status: StoreStatus) -> StoreStatus:
        """Return the status of a store that is being removed, with what of it is still there."""
        left = self._waiting.what_is_left(status.store_id) if status.status == "Deleting" else None
        return replace(status, reason=left or status.reason)

    @property
    def _waiting(self) -> Waiting:
        return Waiting(self.cluster, self.entrance, threading.Event(), lambda _store, _text, _status: None)
