"""The counters of stores in use, per environment and per owner.

Whoever changes slots, stores or intents of an environment calls `lock` first, and `entries.append` last. One order for
everybody: environment, lease, audit head. So nobody can wait for someone who waits for him.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, insert, literal, select, update
from sqlalchemy.dialects import mysql, sqlite

from audit.database import Clock, Database
from audit.tables import ALL_OWNERS, slots
from stacks.errors import InternalError


@dataclass(frozen=True)
class Locked:
    """An environment whose counters nobody else changes until the transaction ends."""

    environment: str
    total: int
    now: datetime


def ensure(database: Database, environment: str) -> None:
    """Leave the environment with a row to lock.

    It has a transaction of its own: of two that insert the same row and then lock it, both would hold a share of the
    row and wait for each other.
    """
    exists = select(slots.c.used).where(slots.c.environment == environment, slots.c.owner == ALL_OWNERS)
    if database.read(lambda connection: connection.execute(exists).one_or_none()) is None:
        database.write(lambda connection: _insert_missing(connection, environment))


def lock(connection: Connection, clock: Clock, environment: str) -> Locked:
    """Return the environment, locked, with the database's time after the lock."""
    row = connection.execute(_total(clock, environment).with_for_update()).one_or_none()
    if row is None:
        raise InternalError(f"environment '{environment}'", "has no counters", "call slots.ensure first")
    return Locked(environment, row.used, row.now)


def seen(connection: Connection, clock: Clock, environment: str) -> Locked:
    """Return the environment as it is now, without a lock: good for a forecast only."""
    row = connection.execute(_total(clock, environment)).one_or_none()
    if row is None:
        return Locked(environment, 0, connection.execute(select(clock().label("now"))).scalar_one())
    return Locked(environment, row.used, row.now)


def used(connection: Connection, environment: str, owners: Iterable[str]) -> dict[str, int]:
    """Return how many slots each owner uses; owners that never had one are missing."""
    query = select(slots.c.owner, slots.c.used).where(slots.c.environment == environment, slots.c.owner.in_(owners))
    return {row.owner: row.used for row in connection.execute(query)}


def change(
    connection: Connection,
    locked: Locked,
    deltas: Mapping[str, int],
    ceilings: Mapping[str, int] | None = None,
) -> None:
    """Add each owner's delta to its counter and their sum to the environment's.

    `ceilings` (ALL_OWNERS for the environment) is how far the counters may grow; the database refuses more, whatever
    the rules have said. None: what grows is beyond the limits knowingly, so its ceiling follows.
    """
    total = sum(deltas.values())
    known = used(connection, locked.environment, deltas)
    for owner in sorted(deltas.keys() - known.keys()):
        connection.execute(insert(slots).values(environment=locked.environment, owner=owner, used=0, ceiling=0))
    for owner, delta in [(ALL_OWNERS, total), *sorted(deltas.items())]:
        if delta == 0:
            continue
        grown = slots.c.used + delta
        if ceilings is None:
            ceiling: ColumnElement[int] = case((grown > slots.c.ceiling, grown), else_=slots.c.ceiling)
        else:
            ceiling = literal(ceilings[owner]) if delta > 0 else slots.c.ceiling
        # In this order: MariaDB lets an assignment see those before it.
        connection.execute(
            update(slots)
            .where(slots.c.environment == locked.environment, slots.c.owner == owner)
            .ordered_values((slots.c.ceiling, ceiling), (slots.c.used, grown))
        )


def _total(clock: Clock, environment: str) -> Select[Any]:
    return select(slots.c.used, clock().label("now")).where(
        slots.c.environment == environment, slots.c.owner == ALL_OWNERS
    )


def _insert_missing(connection: Connection, environment: str) -> None:
    values = {"environment": environment, "owner": ALL_OWNERS, "used": 0, "ceiling": 0}
    if connection.dialect.name == "sqlite":
        connection.execute(sqlite.insert(slots).values(values).on_conflict_do_nothing())
    else:
        connection.execute(mysql.insert(slots).values(values).on_duplicate_key_update(used=slots.c.used))
