"""Which locks of the engine may be broken, and the word of it in the audit log.

The engine's lock has no end: it says which process of which host took it, and stays when that process is killed. Ours
are the leases. A lock is broken only under the cell's lease, when its process was of this machine and is gone, or when
it was taken during a run's lease of its host on this cell that is over: who loses a lease stops its engine, and no
engine outlives its command (`audit.engine.guard`). Any other lock is somebody's who asks no lease, and stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from audit.context import RunContext
from audit.engine.locks import EngineLockedError, LockHolder
from audit.leases import of_takeover
from audit.records import ENGINE_UNLOCK, LEASE_TAKEOVER, Lease, NewEntry, PastLease

CLOCKS_APART: Final = timedelta(minutes=2)
"""How far the clocks of a runner and of the database may be apart."""
_LOOKED_AT: Final = 200


@dataclass(frozen=True)
class Locks:
    """The judge of engine locks for one run and its leases, which are looked at anew each time.

    `ttl_s` is what a run's leases have: a ticket's is longer, and its engine is a plain one, which nothing stops.
    """

    run: RunContext
    leases: Sequence[Lease]
    ttl_s: int

    def may_break(self, cell: str, error: EngineLockedError) -> None:
        """Leave on record that the lock is broken. Raises the error where its holder may live."""
        lease = next((lease for lease in self.leases if lease.cell == cell), None)
        if lease is None or not error.holders:
            raise error
        past = self._past(lease)
        if not all(holder.is_gone if holder.is_here else _was_within(holder, past) for holder in error.holders):
            raise error
        told = ", ".join(map(str, error.holders))
        self.run.ledger.record(
            NewEntry(
                self.run.actor,
                ENGINE_UNLOCK,
                "success",
                environment=lease.environment,
                run_id=self.run.run_id,
                reason=f"the engine's lock of {told} is removed: the lease under which it was taken is over",
                metadata={"cell": cell, "holders": [f"{holder.host}/{holder.pid}" for holder in error.holders]},
            )
        )
        self.run.tell(None, f"cell {cell}: the engine's lock of {told}, whose run is over, is removed")

    def _past(self, lease: Lease) -> list[PastLease]:
        """Return the runs' leases on the cell that are over: the last one, and those that were not given back."""
        taken = self.run.ledger.entries(lease.environment, action=LEASE_TAKEOVER, limit=_LOOKED_AT)
        found = [of_takeover(entry.metadata) for entry in taken if entry.metadata.get("cell") == lease.cell]
        return [past for past in (lease.before, *found) if past is not None and past.ttl_s == self.ttl_s]


def _was_within(holder: LockHolder, past: Sequence[PastLease]) -> bool:
    """Return whether the lock was taken by a host while it held the cell.

    Where the lock does not say when, its host alone does not prove it.
    """
    at = holder.since_at
    return at is not None and any(
        holder.host == lease.host and lease.acquired_at - CLOCKS_APART <= at <= lease.ended_at + CLOCKS_APART
        for lease in past
    )
