"""The counters of stores in use, per environment and per owner.

Whoever changes slots, stores or intents of an environment calls `hold` or `lock` first. One order for everybody: the
log's head, environment, lease. So nobody can wait for someone who waits for him; and since all wait at the head, each
comes in its turn (with the environment first, some waited 600 ms behind those who only wrote an entry; tried).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Boolean, Connection, Integer, Select, bindparam, case, literal_column, select, text, update

from audit import entries
from audit.database import Clock, Database, insert_if_missing
from audit.deferral import DEFERRED
from audit.tables import ALL_OWNERS, slots
from stacks.errors import InternalError


def ensure(database: Database, environment: str) -> None:
    """Leave the environment with a row to lock.

    It has a transaction of its own: of two that insert the same row and then lock it, both would hold a share of the
    row and wait for each other.
    """
    exists = select(slots.c.used).where(slots.c.environment == environment, slots.c.owner == ALL_OWNERS)
    if database.read(lambda connection: connection.execute(exists).one_or_none()) is None:
        values = {"environment": environment, "owner": ALL_OWNERS, "used": 0, "ceiling": 0}
        database.write(lambda connection: insert_if_missing(connection, slots, values))


def hold(connection: Connection, environment: str, *, below: int | None = None) -> None:
    """Leave the log's head and the environment locked when the next statement is executed.

    `below`: only while fewer slots than that are in use; of many who wait for an environment that fills up meanwhile,
    none keeps the next one waiting for a way to the server and back. It must be the first write of its transaction,
    then. Whether it is held is said by `HELD`, in a statement of the same transaction. On SQLite a writer holds
    everything already.
    """
    if connection.dialect.name == "sqlite":
        return
    entries.hold(connection)
    connection.execute(_NOT_HELD, execution_options=DEFERRED)
    values = {"of_environment": environment, "all_owners": ALL_OWNERS}
    connection.execute(_HOLD, values, execution_options=DEFERRED)
    if below is not None:
        connection.execute(_LET_GO, {"below": below}, execution_options=DEFERRED)


def lock(connection: Connection, clock: Clock, environment: str) -> datetime:
    """Return the database's time after the log's head and the environment were locked."""
    entries.hold(connection)
    now: datetime | None = connection.execute(_locked(clock), {"environment": environment}).scalar_one_or_none()
    if now is None:
        raise missing(environment)
    return now


def missing(environment: str) -> InternalError:
    """Return the error for an environment that cannot be locked."""
    return InternalError(f"environment '{environment}'", "has no counters", "call slots.ensure first")


def change(
    connection: Connection,
    environment: str,
    deltas: Mapping[str, int],
    *,
    known: Collection[str] = (),
    ceilings: Mapping[str, int] | None = None,
) -> None:
    """Add each owner's delta to its counter and their sum to the environment's, which the caller has locked.

    `known`: owners that are known to have a counter. `ceilings` (ALL_OWNERS for the environment) is how far the
    counters may grow; the database refuses more, whatever the rules have said. None: what grows is beyond the limits
    knowingly, so its ceiling follows.
    """
    deltas = {owner: delta for owner, delta in deltas.items() if delta}
    if not deltas:
        return
    for owner in sorted(deltas.keys() - set(known)):
        fresh = {"environment": environment, "owner": owner, "used": 0, "ceiling": 0}
        insert_if_missing(connection, slots, fresh)
    for owner, delta in {ALL_OWNERS: sum(deltas.values()), **deltas}.items():
        counter = {"of_environment": environment, "of_owner": owner, "delta": delta}
        if delta <= 0:
            connection.execute(_SHRINK, counter, execution_options=DEFERRED)
        elif ceilings is None:
            connection.execute(_GROW_BEYOND, counter, execution_options=DEFERRED)
        else:
            connection.execute(_GROW, counter | {"to": ceilings[owner]}, execution_options=DEFERRED)


_COUNTER: Final = update(slots).where(
    slots.c.environment == bindparam("of_environment"), slots.c.owner == bindparam("of_owner")
)
_GROWN: Final = slots.c.used + bindparam("delta", type_=Integer)
_SHRINK: Final = _COUNTER.values(used=_GROWN)
# In this order: MariaDB lets an assignment see those before it.
_GROW: Final = _COUNTER.ordered_values((slots.c.ceiling, bindparam("to", type_=Integer)), (slots.c.used, _GROWN))
_GROW_BEYOND: Final = _COUNTER.ordered_values(
    (slots.c.ceiling, case((slots.c.ceiling < _GROWN, _GROWN), else_=slots.c.ceiling)), (slots.c.used, _GROWN)
)
# Into a variable: an answer would need a way of its own.
_NOT_HELD: Final = text("SET @held = NULL")
_HOLD: Final = text(
    "SELECT used INTO @held FROM slots WHERE environment = :of_environment AND owner = :all_owners FOR UPDATE"
)
_LET_GO: Final = text("IF @held >= :below THEN ROLLBACK; SET @held = NULL; END IF")
HELD: Final = literal_column("@held IS NOT NULL", Boolean)


@lru_cache(maxsize=8)
def _locked(clock: Clock) -> Select[Any]:
    query = select(clock.label("now")).select_from(slots)
    return query.where(slots.c.environment == bindparam("environment"), slots.c.owner == ALL_OWNERS).with_for_update()
