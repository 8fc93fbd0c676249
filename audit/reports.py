"""What the ledger knows, for people: stores and use of the limits. It reads without any lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from audit.database import Clock
from audit.judgement import starts
from audit.limits import NO_OWN_LIMITS, Limits, OwnerLimits, retry_at, within_window
from audit.records import OwnerUsage, StoreRow, Usage
from audit.tables import stores


def stores_of(connection: Connection, environment: str, *, include_deleted: bool) -> list[StoreRow]:
    """Return the environment's stores by id."""
    query = select(stores).where(stores.c.environment == environment).order_by(stores.c.store_id)
    if not include_deleted:
        query = query.where(stores.c.status != "Deleted")
    return [to_store(row) for row in connection.execute(query)]


def usage(
    connection: Connection,
    clock: Clock,
    environment: str,
    limits: Limits,
    owner_limits: Mapping[str, OwnerLimits],
) -> Usage:
    """Return what is in use, counted from the stores themselves: a reader needs no right on the counters."""
    now = connection.execute(select(clock.label("now"))).scalar_one()
    counted = (
        select(stores.c.owner, func.count().label("used"))
        .where(stores.c.environment == environment, stores.c.holds_slot == 1)
        .group_by(stores.c.owner)
    )
    used = {row.owner: row.used for row in connection.execute(counted)}
    begun = starts(connection, environment, limits, now)
    return summed(environment, now, used, begun, limits=limits, owner_limits=owner_limits)


def summed(
    environment: str,
    now: datetime,
    used: Mapping[str, int],
    begun: Mapping[str, Sequence[datetime]],
    *,
    limits: Limits,
    owner_limits: Mapping[str, OwnerLimits],
) -> Usage:
    """Return the use of the limits. `used`: slots per owner; `begun`: when each owner's creations began."""
    owners = []
    for owner in sorted(used.keys() | begun.keys() | owner_limits.keys()):
        own = limits.of(owner_limits.get(owner, NO_OWN_LIMITS))
        counting = within_window(begun.get(owner, []), limits.window, now)
        retry = retry_at(counting, limit=own.creates_per_hour, window=limits.window, now=now)
        owners.append(
            OwnerUsage(owner, used.get(owner, 0), own.stores_per_owner, len(counting), own.creates_per_hour, retry)
        )
    return Usage(environment, tuple(owners), sum(used.values()), limits.stores_total, limits.window_s, now)


def to_store(row: Row[Any]) -> StoreRow:
    """Return a row of `stores` as what the ledger knows of a store."""
    values = row._asdict()
    return StoreRow(**{**values, "holds_slot": bool(values["holds_slot"])})
