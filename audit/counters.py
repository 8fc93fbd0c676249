"""Whether the counters of slots say what the stores say, and bringing them back in line.

Every statement that changes one changes the other, in one transaction. They can only come apart by hands other than the
program's, or by a defect; limits would then be wrong for ever, since nothing else ever counts again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from audit import entries, leases, slots
from audit.database import Clock, insert_if_missing
from audit.records import SLOTS_REPAIR, Actor, Lease, NewEntry
from audit.tables import ALL_OWNERS, stores
from audit.tables import slots as counters


@dataclass(frozen=True)
class Drift:
    """One counter that is wrong: what it says, and how many stores hold a slot. `owner` "" counts all of them."""

    environment: str
    owner: str
    counted: int
    stores: int

    def __str__(self) -> str:
        whose = f"owner '{self.owner}'" if self.owner != ALL_OWNERS else "all owners"
        return f"{whose} of {self.environment}: the counter says {self.counted}, {self.stores} stores hold a slot"


def drifts(connection: Connection, environment: str | None = None) -> list[Drift]:
    """Return every counter that is wrong, by environment and owner; environment None: of all."""
    here = [] if environment is None else [counters.c.environment == environment]
    of_stores = [] if environment is None else [stores.c.environment == environment]
    said = {
        (row.environment, row.owner): row.used
        for row in connection.execute(select(counters.c.environment, counters.c.owner, counters.c.used).where(*here))
    }
    query = select(stores.c.environment, stores.c.owner, func.count()).where(stores.c.holds_slot == 1, *of_stores)
    held: dict[tuple[str, str], int] = {}
    for where, owner, count in connection.execute(query.group_by(stores.c.environment, stores.c.owner)):
        for whose in (owner, ALL_OWNERS):
            held[where, whose] = held.get((where, whose), 0) + count
    return [
        Drift(where, owner, said.get((where, owner), 0), held.get((where, owner), 0))
        for where, owner in sorted(said.keys() | held.keys())
        if said.get((where, owner), 0) != held.get((where, owner), 0)
    ]


def repair(
    connection: Connection, clock: Clock, environment: str, actor: Actor, run_id: str, *, held: Sequence[Lease]
) -> list[Drift]:
    """Leave the environment's counters as the stores say, and return what was wrong; it is on record.

    Raises LockedError if one of the leases was taken over.
    """
    slots.lock(connection, clock, environment)
    leases.check_held(connection, environment, held, None)
    found = drifts(connection, environment)
    for drift in found:
        counter = {"environment": environment, "owner": drift.owner}
        insert_if_missing(connection, counters, {**counter, "used": 0, "ceiling": 0})
        # The ceiling with it: an admission sets it anew, and until then the counter may not be over it.
        connection.execute(
            update(counters)
            .where(counters.c.environment == environment, counters.c.owner == drift.owner)
            .values(used=drift.stores, ceiling=drift.stores)
        )
    if found:
        wrong = {drift.owner: {"was": drift.counted, "is": drift.stores} for drift in found if drift.owner}
        total = {"was": found[0].counted, "is": found[0].stores} if found[0].owner == ALL_OWNERS else None
        entry = NewEntry(
            actor,
            SLOTS_REPAIR,
            "success",
            environment=environment,
            run_id=run_id,
            reason="; ".join(map(str, found)),
            metadata={"owners": wrong, "all": total},
        )
        entries.append(connection, clock, [entry])
    return found
