"""The counters of stores in use, per environment and per owner.

Whoever changes slots, stores or intents of an environment calls `lock` first, and `entries.append` last. One order for
everybody: environment, lease, audit head. So nobody can wait for someone who waits for him.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, case, insert, select, update

from audit.database import Clock, Database, insert_if_missing
from audit.tables import ALL_OWNERS, slots
from stacks.errors import InternalError


@dataclass(frozen=True)
class Counted:
    """The counters of an environment. From `lock`, nobody else changes them until the transaction ends."""

    environment: str
    total: int
    used: Mapping[str, int]
    """The slots of the owners that were asked for; one that never had any is missing."""
    now: datetime


def ensure(database: Database, environment: str) -> None:
    """Leave the environment with a row to lock.

    It has a transaction of its own: of two that insert the same row and then lock it, both would hold a share of the
    row and wait for each other.
    """
    exists = select(slots.c.used).where(slots.c.environment == environment, slots.c.owner == ALL_OWNERS)
    if database.read(lambda connection: connection.execute(exists).one_or_none()) is None:
        values = {"environment": environment, "owner": ALL_OWNERS, "used": 0, "ceiling": 0}
        database.write(lambda connection: insert_if_missing(connection, slots, values))


def lock(connection: Connection, clock: Clock, environment: str, owners: Collection[str] = ()) -> Counted:
    """Return the environment, locked, with what the owners use and the database's time after the lock."""
    counted = _read(connection, _locked_counters(clock), environment, owners)
    if counted is None:
        raise InternalError(f"environment '{environment}'", "has no counters", "call slots.ensure first")
    return counted


def seen(connection: Connection, clock: Clock, environment: str, owners: Collection[str] = ()) -> Counted:
    """Return the environment as it is now, without a lock: good for a forecast only."""
    seen_now = _read(connection, _counters(clock), environment, owners)
    return seen_now or Counted(environment, 0, {}, connection.execute(select(clock.label("now"))).scalar_one())


def with_owners(connection: Connection, counted: Counted, owners: Collection[str]) -> Counted:
    """Return the environment with more owners read; nobody else can change their counters meanwhile."""
    if not owners:
        return counted
    query = select(slots.c.owner, slots.c.used)
    query = query.where(slots.c.environment == counted.environment, slots.c.owner.in_(sorted(owners)))
    return replace(counted, used={**counted.used, **{row.owner: row.used for row in connection.execute(query)}})


def change(
    connection: Connection, counted: Counted, deltas: Mapping[str, int], ceilings: Mapping[str, int] | None = None
) -> None:
    """Add each owner's delta to its counter and their sum to the environment's.

    `ceilings` (ALL_OWNERS for the environment) is how far the counters may grow; the database refuses more, whatever
    the rules have said. None: what grows is beyond the limits knowingly, so its ceiling follows.
    """
    deltas = {owner: delta for owner, delta in deltas.items() if delta}
    if not deltas:
        return
    counted = with_owners(connection, counted, deltas.keys() - counted.used.keys())
    missing = sorted(deltas.keys() - counted.used.keys())
    if missing:
        fresh = {"environment": counted.environment, "used": 0, "ceiling": 0}
        connection.execute(insert(slots), [fresh | {"owner": owner} for owner in missing])
    deltas = {ALL_OWNERS: sum(deltas.values()), **deltas}
    grown = slots.c.used + case(deltas, value=slots.c.owner)
    if ceilings is None:
        ceiling: ColumnElement[int] = case((grown > slots.c.ceiling, grown), else_=slots.c.ceiling)
    else:
        allowed = {owner: ceilings[owner] for owner, delta in deltas.items() if delta > 0}
        ceiling = case(allowed, value=slots.c.owner, else_=slots.c.ceiling) if allowed else slots.c.ceiling
    # In this order: MariaDB lets an assignment see those before it.
    connection.execute(
        update(slots)
        .where(slots.c.environment == counted.environment, slots.c.owner.in_(sorted(deltas)))
        .ordered_values((slots.c.ceiling, ceiling), (slots.c.used, grown))
    )


@lru_cache(maxsize=8)
def _counters(clock: Clock) -> Select[Any]:
    query = select(slots.c.owner, slots.c.used, clock.label("now")).order_by(slots.c.owner)
    return query.where(
        slots.c.environment == bindparam("environment"), slots.c.owner.in_(bindparam("owners", expanding=True))
    )


@lru_cache(maxsize=8)
def _locked_counters(clock: Clock) -> Select[Any]:
    return _counters(clock).with_for_update()


def _read(connection: Connection, query: Select[Any], environment: str, owners: Collection[str]) -> Counted | None:
    found = connection.execute(query, {"environment": environment, "owners": [ALL_OWNERS, *sorted(owners)]})
    rows = {row.owner: row for row in found}
    total = rows.pop(ALL_OWNERS, None)
    if total is None:
        return None
    return Counted(environment, total.used, {owner: row.used for owner, row in rows.items()}, total.now)
