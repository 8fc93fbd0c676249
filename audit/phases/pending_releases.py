"""Helm's records of operations that were cut short, taken away before the engine works on the release again.

Helm notes an operation as pending while it is at it, and refuses any other work on the release from then on ("another
operation is in progress"), for good where its process was killed. Its own cure is to remove that record. What the
operation had done of the objects stays; the next one brings it to what is wanted, and takes over what bears the
release's name. No object of a shop, and no record of an operation that ended, is touched here.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from audit import live
from audit.context import RunContext
from audit.observation import Observation
from audit.phases.broken_locks import CLOCKS_APART
from audit.records import BROKE_OFF, NewEntry, StoreRow
from components import naming
from stacks import helm_history

RELEASE_SETTLE: Final = "release.settle"


def settle(run: RunContext, observation: Observation, store_ids: Iterable[str]) -> None:
    """Leave no operation of ours pending in the releases of these stores. Only under their cells' leases.

    One that may be somebody else's is told and stays: whoever runs Helm by hand may be at it.
    """
    for store_id in store_ids:
        namespace, release = naming.namespace(store_id), naming.release(store_id)
        # The newest first: while there is one behind it, Helm does not look at it.
        for revision in reversed(run.cluster.revisions(namespace, release)):
            if not revision.status.startswith("pending-"):
                break
            name = helm_history.secret_name(release, revision.number)
            record = live.read(run.cluster, "v1", "Secret", namespace, name)
            if record is None:
                continue
            told = f"Helm's revision {revision.number} is {revision.status}"
            if not _is_ours(observation, store_id, datetime.fromisoformat(record["metadata"]["creationTimestamp"])):
                run.tell(store_id, f"{told}, by somebody else: wait for its end, or run `helm rollback {release}`")
                break
            row = observation.rows.get(store_id)
            run.ledger.record(
                NewEntry(
                    run.actor,
                    RELEASE_SETTLE,
                    "success",
                    environment=run.settings.environment,
                    store_id=store_id,
                    owner=None if row is None else row.owner,
                    run_id=run.run_id,
                    reason=f"{told} since a run was killed; that record is removed",
                    metadata={"release": release, "revision": revision.number, "was": revision.status},
                )
            )
            live.delete(run.cluster, "v1", "Secret", (namespace, name), record["metadata"]["resourceVersion"])
            run.tell(store_id, f"{told} since a run was killed; that record is removed")


def _is_ours(observation: Observation, store_id: str, begun_at: datetime) -> bool:
    """Return whether a run of ours began the operation, and is over."""
    if store_id in observation.held:
        return False
    row: StoreRow | None = observation.rows.get(store_id)
    # The status is from the end of that run, or from when its end was found: what began later is not of it.
    return row is not None and row.status in BROKE_OFF and begun_at <= row.since_at + CLOCKS_APART
