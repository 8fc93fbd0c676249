"""What became of a run that ended without saying so, found by looking at state, cluster and shop; never by time.

It reads only. Who settles by it holds the cells' leases, so nothing of the run is still under way.
"""

from __future__ import annotations

from dataclasses import replace

from audit import live
from audit.closed import RESTORING
from audit.entrance import Entrance
from audit.observation import Observation
from audit.records import (
    STORE_BACKUP,
    STORE_BACKUPS_PRUNE,
    STORE_DELETE,
    STORE_RESTORE,
    Change,
    OpenRun,
    StoreOutcome,
)
from components import naming
from stacks.cluster import Cluster


def outcomes(run: OpenRun, observation: Observation, cluster: Cluster, entrance: Entrance) -> list[StoreOutcome]:
    """Return one outcome per change of the run that has none."""
    return [_outcome(run.run_id, change, observation, cluster, entrance) for change in run.changes]


def _outcome(
    run_id: str, change: Change, observation: Observation, cluster: Cluster, entrance: Entrance
) -> StoreOutcome:
    ended = f"run {run_id} ended before it could say what happened"
    namespace = cluster.namespace(naming.namespace(change.store_id))
    exists = namespace is not None or observation.cell_of(change.store_id) is not None
    if change.action == STORE_BACKUP:
        return _of_backup(change.store_id, ended, observation)
    if change.action == STORE_BACKUPS_PRUNE:
        told = f"{ended}; `stores backups --deleted` shows whether its backups are there still"
        return StoreOutcome(change.store_id, "failure", "Deleted", reason=told)
    if change.action == STORE_DELETE:
        return _of_deletion(change.store_id, ended, exists=exists)
    if not exists:
        told = f"{ended}; nothing of the store exists"
        return StoreOutcome(change.store_id, "failure", "Failed", reason=told, reached_engine=False)
    if change.action == STORE_RESTORE:
        return _of_restore(change.store_id, ended, observation, cluster, entrance)
    return _of_change(change.store_id, ended, observation, entrance)


def _of_backup(store_id: str, ended: str, observation: Observation) -> StoreOutcome:
    """A backup's Job may have ended well without its run, which its repository alone says: never a success unseen."""
    row = observation.rows.get(store_id)
    told = f"{ended}; `stores backups {store_id}` shows whether there is a snapshot of it"
    return StoreOutcome(store_id, "failure", "Failed" if row is None else row.status, reason=told)


def _of_restore(
    store_id: str, ended: str, observation: Observation, cluster: Cluster, entrance: Entrance
) -> StoreOutcome:
    """A store that broke off in a restore is closed, and says so. One that is open has the old data, or the new."""
    web = live.read(cluster, "apps/v1", "Deployment", naming.namespace(store_id), f"{store_id}-wordpress")
    cure = f"run `stores restore {store_id}` again"
    if web is not None and RESTORING in (web["metadata"].get("annotations") or {}):
        told = f"{ended}; its data is not whole, and it stays closed until a restore succeeds: {cure}"
        return StoreOutcome(store_id, "failure", "Failed", reason=told)
    found = _of_change(store_id, ended, observation, entrance)
    told = f"{ended}; whether its data was replaced is not known: {cure}"
    return replace(found, outcome="failure", reason=told if found.status == "Ready" else found.reason)


def _of_deletion(store_id: str, ended: str, *, exists: bool) -> StoreOutcome:
    if exists:
        return StoreOutcome(store_id, "failure", "Deleting", reason=f"{ended}; the store is not gone yet")
    return StoreOutcome(store_id, "success", "Deleted", reason=f"{ended}; the store is gone")


def _of_change(store_id: str, ended: str, observation: Observation, entrance: Entrance) -> StoreOutcome:
    wanted, applied = observation.desired.get(store_id), observation.applied(store_id)
    if wanted is None or applied is None:
        return StoreOutcome(store_id, "failure", "Failed", reason=f"{ended}; the store is not complete")
    if applied != wanted.to_dict():
        return StoreOutcome(store_id, "failure", "Failed", reason=f"{ended}; the change is not applied")
    answer = entrance.ask(store_id, wanted.url, sells=wanted.sells, locale=wanted.locale)
    if not answer.ok:
        told = f"{ended}; the change is applied, but {wanted.url}: {answer.detail}"
        return StoreOutcome(store_id, "failure", "Failed", reason=told, url=wanted.url)
    return StoreOutcome(store_id, "success", "Ready", url=wanted.url, content=answer.content)
