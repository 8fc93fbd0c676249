"""What a run starts from: the manifest's wish beside the engine's state and the ledger, store by store.

Reads only. Everything that a plan says and a run does follows from one observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from audit import closed as closing
from audit import database_image
from audit import held as holding
from audit.closed import Closed
from audit.engine.driver import Engine
from audit.engine.state import Snapshot
from audit.held import Held
from audit.ledger import Ledger
from audit.plan import CHANGING, Action, PropertyChange, StorePlan, changes
from audit.records import Change, StoreRow
from components import naming
from components.desired import DesiredStore, flatten
from stacks import platform_key
from stacks.cluster import Cluster
from stacks.desired import Plans, store_values
from stacks.errors import ManifestError, Problem, RefusedError
from stacks.manifest import Manifest, Store
from stacks.settings import Settings
from stacks.transition import AppliedStore, check_transition

# A volume's size among the planned changes, and the manifest's key for it.
_VOLUMES: Final = {"uploads.size": "uploads.storage", "database.storage.size": "database.storage"}


@dataclass(frozen=True)
class Observation:
    """One look at everything. `snapshots` are by cell, `rows` and `desired` by store id."""

    settings: Settings
    manifest: Manifest
    snapshots: Mapping[str, Snapshot]
    rows: Mapping[str, StoreRow]
    desired: Mapping[str, DesiredStore]
    now: datetime
    held: Mapping[str, Held] = field(default_factory=dict)
    """Stores whose Helm release somebody has worked on by hand."""
    overwrite_held: bool = False
    """Whether this run brings held stores back to what the manifest says."""
    closed: Mapping[str, Closed] = field(default_factory=dict)
    """Shops that are closed while their data is replaced, by a run that may have broken off."""

    @property
    def store_ids(self) -> frozenset[str]:
        """Return every store that is wanted, recorded or in a state."""
        in_states = {store_id for snapshot in self.snapshots.values() for store_id in snapshot.known}
        return frozenset({store.id for store in self.manifest.stores} | set(self.rows) | in_states)

    def cell_of(self, store_id: str) -> str | None:
        """Return the cell whose state holds something of the store, or None."""
        return next((cell for cell, snapshot in self.snapshots.items() if store_id in snapshot.known), None)

    def applied(self, store_id: str) -> Mapping[str, Any] | None:
        """Return the store as it was last applied in full, or None."""
        for snapshot in self.snapshots.values():
            if store_id in snapshot.applied:
                return snapshot.applied[store_id]
        return None

    def unrecorded(self) -> list[Store]:
        """Return the stores that the engine's state holds and the ledger does not know, or does not count."""
        return [store for store in self.manifest.stores if self._is_uncounted(store.id)]

    def _is_uncounted(self, store_id: str) -> bool:
        row = self.rows.get(store_id)
        return self.cell_of(store_id) is not None and (row is None or row.status == "Pending")

    def only_in_ledger(self) -> list[StoreRow]:
        """Return the stores that hold a slot, that no run removes, and of which no state holds anything."""
        return [
            row
            for row in self.rows.values()
            if row.holds_slot and row.status != "Deleting" and self.cell_of(row.store_id) is None
        ]

    def removable_at(self, store: Store) -> datetime:
        """Return when a tombstoned store may go: at once, but in a protected environment after its grace."""
        if not self.settings.protected:
            return self.now
        row = self.rows.get(store.id)
        since = row.since_at if row is not None and row.status == "Deleting" else self.now
        return since + timedelta(hours=self.settings.deletion_grace_hours)


def observe(root: Path, settings: Settings, manifest: Manifest, engine: Engine, ledger: Ledger) -> Observation:
    """Return one look at the manifest, every cell's state and the ledger."""
    rows = {row.store_id: row for row in ledger.stores(settings.environment)}
    cells = {store.cell for store in manifest.stores} | {row.cell for row in rows.values()} | {naming.FIRST_CELL}
    snapshots = {cell: engine.snapshot(cell) for cell in sorted(cells)}
    desired = Plans(root, settings).of(manifest)
    return Observation(settings, manifest, snapshots, rows, desired, ledger.now())


def with_rows(observation: Observation, ledger: Ledger) -> Observation:
    """Return the observation with what the ledger says now."""
    return replace(observation, rows={row.store_id: row for row in ledger.stores(observation.settings.environment)})


def with_held(observation: Observation, cluster: Cluster, *, overwrite: bool = False) -> Observation:
    """Return the observation with what the live releases say, and which shops are closed.

    Raises ClusterUnreachableError.
    """
    found = holding.find(cluster, observation.snapshots.values(), observation.rows)
    applied = {store_id for snapshot in observation.snapshots.values() for store_id in snapshot.applied}
    return replace(observation, held=found, overwrite_held=overwrite, closed=closing.find(cluster, applied))


def check(observation: Observation) -> None:
    """Raise ManifestError or RefusedError when the manifest asks for what would lose data. For what changes things."""
    check_identity(observation)
    if found := dangers(plan_stores(observation), observation.manifest):
        raise RefusedError.of(found)


def check_identity(observation: Observation) -> None:
    """Raise ManifestError when a store's block is gone, or its id or cell is another than it was.

    No plan can be made then: it would say that one store goes and another comes.
    """
    # What only the ledger knows counts too: its state may be lost, or its run was killed before it was written.
    cells = {row.store_id: row.cell for row in observation.rows.values() if row.holds_slot}
    cells |= {store_id: cell for cell, snapshot in observation.snapshots.items() for store_id in snapshot.known}
    applied = {store_id: _applied_store(observation, store_id, cell) for store_id, cell in cells.items()}
    problems = check_transition(observation.manifest, applied)
    if problems:
        raise ManifestError.of(problems)


def dangers(stores: Sequence[StorePlan], manifest: Manifest) -> tuple[Problem, ...]:
    """Return what of a plan is refused whatever is confirmed: what would replace, move or shrink a store's data."""
    return tuple(_danger(manifest, store, change) for store in stores for change in store.dangers)


def _danger(manifest: Manifest, store: StorePlan, change: PropertyChange) -> Problem:
    key = _VOLUMES.get(change.path)
    if key is not None and None not in (change.before, change.after):
        return Problem(
            manifest.location(store.store_id, key),
            f"store '{store.store_id}': {key} {change.after} is smaller than the {change.before} that exist, and a "
            "volume cannot shrink",
            f"write {key}: {change.before} or more",
        )
    return Problem(
        f"store '{store.store_id}'",
        f"{change.path} {change.before} -> {change.after} would replace, move or shrink its data",
        "undo that change; move the data by backup and restore instead",
    )


def _applied_store(observation: Observation, store_id: str, cell: str) -> AppliedStore:
    """Return what exists of a store; one whose first attempt failed is known only by the ledger, or by its id."""
    applied = observation.applied(store_id)
    row = observation.rows.get(store_id)
    if applied is None:
        name, owner = (row.name, row.owner) if row is not None else (store_id, "unknown")
        return AppliedStore(store_id, name, owner, cell)
    return AppliedStore(store_id, str(applied["name"]), str(applied["owner"]), cell)


def plan_stores(observation: Observation) -> tuple[StorePlan, ...]:
    """Return what would happen to each store, in the manifest's order."""
    return tuple(_plan_store(observation, store) for store in observation.manifest.stores)


def _plan_store(observation: Observation, store: Store) -> StorePlan:
    verdict = _leaving(observation, store) if store.deleted else _staying(observation, store)
    return StorePlan(
        store.id, store.name, store.owner, store.cell, verdict.action, changes=verdict.changes, reason=verdict.reason
    )


@dataclass(frozen=True)
class _Verdict:
    action: Action
    reason: str | None = None
    changes: tuple[PropertyChange, ...] = ()


def _leaving(observation: Observation, store: Store) -> _Verdict:
    row = observation.rows.get(store.id)
    if observation.cell_of(store.id) is None and (row is None or row.status == "Deleted"):
        return _Verdict(Action.UNTOUCHED, "deleted")
    removable_at = observation.removable_at(store)
    if removable_at > observation.now:
        begun = row is not None and row.status == "Deleting"
        kept = f"tombstoned; kept until {removable_at:%Y-%m-%dT%H:%M:%SZ}"
        return _Verdict(Action.LEAVING if begun else Action.SCHEDULED, kept)
    return _Verdict(Action.DELETE, "tombstoned")


def _staying(observation: Observation, store: Store) -> _Verdict:
    row = observation.rows.get(store.id)
    applied = observation.applied(store.id)
    if applied is None:
        begun = observation.cell_of(store.id) is not None or (row is not None and row.holds_slot)
        return _Verdict(Action.RETRY, "an earlier attempt did not finish") if begun else _Verdict(Action.CREATE)
    differs = changes(applied, observation.desired[store.id])
    if store.id in observation.closed:
        return _Verdict(Action.HELD, observation.closed[store.id].reason, differs)
    if store.id in observation.held:
        return _held(observation, store, differs)
    if differs:
        return _Verdict(Action.UPDATE, _notices(applied, observation.desired[store.id]), differs)
    if row is not None and row.status in ("Deleting", "Failed", "Provisioning"):
        taken_back = "its removal was taken back" if row.status == "Deleting" else None
        return _Verdict(Action.RETRY, taken_back or row.status_reason or f"it was {row.status}")
    return _Verdict(Action.UNTOUCHED)


def _notices(applied: Mapping[str, Any], desired: DesiredStore) -> str | None:
    """Return what people must know of an update: that visitors notice it, or that there is no way back from it."""
    values, found = desired.release.values, []
    if values.get("wpContent", {}).get("mode") == "persistent":
        found.append("wpContent is persistent, so the shop may be away until its new pod serves")
    if (images := database_image.change(applied, desired)) is not None:
        before, after = images
        backed_up = values.get("backup", {}).get("enabled")
        first = "a backup is made first" if backed_up else "NO backup is made first, since backup.enabled is false"
        back = "" if database_image.same_series(before, after) else ", and it is not rolled back if the change fails"
        found.append(f"MariaDB {before} becomes {after}, and the shop is away until it runs: {first}{back}")
    return "; ".join(found) or None


def _held(observation: Observation, store: Store, differs: tuple[PropertyChange, ...]) -> _Verdict:
    held = observation.held[store.id]
    if observation.overwrite_held:
        return _Verdict(Action.UPDATE, f"overwrites what was done by hand ({held.reason})", differs)
    if _block_changed(store, differs):
        return _Verdict(Action.UPDATE, f"its block has changed, so no longer {held.reason}", differs)
    return _Verdict(Action.HELD, held.reason, differs)


def _block_changed(store: Store, differs: Sequence[PropertyChange]) -> bool:
    """Return whether a store's own block asks for something new; a new chart or a new default does not count."""
    own = {"name", "owner", *(path for path, _ in flatten(store_values(store)))}
    return any(change.path in own for change in differs)


def restrained(
    observation: Observation, stores: Sequence[StorePlan], admitted: frozenset[str]
) -> tuple[frozenset[str], dict[str, Mapping[str, Any]]]:
    """Return what the program must not do of a plan, since it was not admitted.

    That is: which stores it must not create, and which it must leave as they were applied, with what that is.
    """
    able = {*CHANGING, Action.HELD}
    held_back = [store.store_id for store in stores if store.action in able and store.store_id not in admitted]
    frozen = {store_id: applied for store_id in held_back if (applied := observation.applied(store_id)) is not None}
    absent = frozenset(store_id for store_id in held_back if observation.cell_of(store_id) is None)
    return absent, frozen


def refuse_other_cluster(settings: Settings, cluster: Cluster, observation: Observation) -> None:
    """Raise RefusedError when the live cluster is not the one that the settings or a state name."""
    live = cluster.uid
    recorded = {snapshot.cluster_uid for snapshot in observation.snapshots.values()} - {None}
    if settings.cluster_uid is not None:
        recorded.add(settings.cluster_uid)
    others = sorted(str(uid) for uid in recorded - {live})
    if others:
        raise RefusedError(
            f"cluster {cluster.address}",
            f"its identity is {live}, but the stores of {settings.environment} live in {', '.join(others)}",
            "choose the right kubeconfig context, or start the right cluster; nothing was changed",
        )


def refuse_other_key(root: Path, settings: Settings, observation: Observation) -> None:
    """Raise RefusedError when the platform key is not the one that the stores' secrets were derived with.

    With another one, shops and receivers would not understand each other, and no backup could be opened.
    """
    ours = platform_key.load(root, settings).fingerprints()
    for snapshot in observation.snapshots.values():
        for version, theirs in snapshot.platform_keys.items():
            if version in ours and ours[version] != theirs:
                raise RefusedError(
                    f"platform key of {settings.environment}",
                    f"its version {version} is {ours[version]}, but the stores were made with {theirs} (fingerprints)",
                    f"set {platform_key.VARIABLE} to the right file; nothing was changed",
                )


def changes_of(observation: Observation, stores: Sequence[StorePlan]) -> tuple[Change, ...]:
    """Return what a plan asks of the limits, in file order."""
    return tuple(
        Change(
            store_id=store.store_id,
            name=store.name,
            owner=store.owner,
            cell=store.cell,
            action=_action_of(observation, store),
            metadata={"changes": [change.path for change in store.changes]} if store.changes else {},
        )
        for store in stores
        if store.action in CHANGING
    )


def _action_of(observation: Observation, store: StorePlan) -> str:
    row = observation.rows.get(store.store_id)
    if store.action is not Action.DELETE and row is not None and row.holds_slot and row.owner != store.owner:
        return "store.owner_change"
    return f"store.{store.action}"
