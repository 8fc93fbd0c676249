"""The right to change a cell: one holder at a time, limited in time, and fenced.

A lease is a row, not a lock of a database session (those vanish silently with their connection). Time alone gives the
cell to the next one who asks, never the slots of a crashed run: they are settled by looking at what exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from audit import entries
from audit.database import Clock
from audit.records import LEASE_TAKEOVER, Actor, Holder, Lease, NewEntry, PastLease
from audit.tables import leases
from stacks.errors import LockedError


def acquire(connection: Connection, clock: Clock, environment: str, cell: str, *, holder: Holder, ttl_s: int) -> Lease:
    """Return the lease. Raises LockedError, which names who holds the cell and since when.

    A run that asks again for the cell it holds gets the same lease. Taking over from a holder that did not release is
    written into the audit log.
    """
    entries.hold(connection)  # before the lease, as everybody does
    row, now = _locked(connection, clock, environment, cell)
    if row is not None and row.released_at is None:
        if row.run_id == holder.run_id:
            return to_lease(row)
        if row.expires_at > now:
            raise _held(row)
    values: dict[str, Any] = {
        "fencing": 1 if row is None else row.fencing + 1,
        "actor": holder.actor.name,
        "actor_kind": holder.actor.kind,
        "source_ip": holder.actor.source_ip,
        "host": entries.clean(holder.host, 255),
        "pid": holder.pid,
        "run_id": holder.run_id,
        "ttl_s": ttl_s,
        "acquired_at": now,
        "expires_at": now + timedelta(seconds=ttl_s),
        "released_at": None,
    }
    if row is None:
        connection.execute(insert(leases).values(environment=environment, cell=cell, **values))
    else:
        connection.execute(update(leases).where(*_is(environment, cell)).values(**values))
        if row.released_at is None:
            entries.append(connection, clock, [_takeover(row, holder)])
    before = None if row is None else _past(row)
    return Lease(environment, cell, values["fencing"], holder, now, values["expires_at"], ttl_s, before)


def renew_all(connection: Connection, clock: Clock, held: Sequence[Lease]) -> list[Lease]:
    """Return the leases with a new end, all of them or none. Raises LockedError as `renew` does."""
    renewed = {lease.cell: renew(connection, clock, lease) for lease in _in_order(held)}
    return [renewed[lease.cell] for lease in held]


def release_all(connection: Connection, clock: Clock, held: Sequence[Lease]) -> None:
    """Leave the cells free for others, as far as the leases still held them."""
    for lease in _in_order(held):
        release(connection, clock, lease)


def renew(connection: Connection, clock: Clock, lease: Lease) -> Lease:
    """Return the lease with a new end. Raises LockedError if somebody else has the cell by now.

    One that has run out but was not taken over can be renewed: nobody was there in between.
    """
    row, now = _locked(connection, clock, lease.environment, lease.cell)
    if row is None or row.fencing != lease.fencing or row.released_at is not None:
        raise _lost(lease, row)
    expires_at = now + timedelta(seconds=lease.ttl_s)
    connection.execute(update(leases).where(*_is(lease.environment, lease.cell)).values(expires_at=expires_at))
    return replace(to_lease(row, expires_at), before=lease.before)


def release(connection: Connection, clock: Clock, lease: Lease) -> None:
    """Leave the cell free for others, if the lease still held it."""
    row, now = _locked(connection, clock, lease.environment, lease.cell)
    if row is not None and row.fencing == lease.fencing and row.released_at is None:
        connection.execute(update(leases).where(*_is(lease.environment, lease.cell)).values(released_at=now))


def check_held(connection: Connection, environment: str, held: Sequence[Lease], now: datetime | None) -> dict[str, int]:
    """Return the fencing number per cell; the rows stay locked. Raises LockedError for a lease that was lost.

    `now` None: one that has run out but was not taken over will do, because it fences all the same.
    """
    numbers: dict[str, int] = {}
    if held:
        entries.hold(connection)  # before the leases, as everybody does
    for lease in _in_order(held):
        query = select(leases).where(*_is(environment, lease.cell)).with_for_update()
        row = connection.execute(query).one_or_none()
        if lease.environment != environment or row is None or row.fencing != lease.fencing:
            raise _lost(lease, row)
        if row.released_at is not None or (now is not None and row.expires_at <= now):
            raise _lost(lease, row)
        numbers[lease.cell] = lease.fencing
    return numbers


def current_fencing(connection: Connection, environment: str, cell: str) -> int | None:
    """Return the number of the latest acquisition of the cell; its row stays locked."""
    query = select(leases.c.fencing).where(*_is(environment, cell)).with_for_update()
    return connection.execute(query).scalar_one_or_none()


def to_lease(row: Row[Any], expires_at: datetime | None = None) -> Lease:
    """Return a row of `leases` as a lease."""
    holder = Holder(Actor(row.actor, row.actor_kind, row.source_ip), row.host, row.pid, row.run_id)
    return Lease(
        row.environment, row.cell, row.fencing, holder, row.acquired_at, expires_at or row.expires_at, row.ttl_s
    )


def _in_order(held: Sequence[Lease]) -> list[Lease]:
    """Return the leases in the one order in which their rows are locked."""
    return sorted(held, key=lambda lease: (lease.environment, lease.cell))


def _is(environment: str, cell: str) -> tuple[Any, ...]:
    return (leases.c.environment == environment, leases.c.cell == cell)


def _locked(connection: Connection, clock: Clock, environment: str, cell: str) -> tuple[Row[Any] | None, datetime]:
    """Return the cell's row, locked, and the time after the lock.

    A cell without a row is not locked: of two who insert it, one fails on the key and is tried again.
    """
    query = select(leases, clock.label("now")).where(*_is(environment, cell)).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        return None, connection.execute(select(clock.label("now"))).scalar_one()
    return row, row.now


def _who(row: Row[Any]) -> str:
    return f"{row.actor} (run {row.run_id}, process {row.pid} on {row.host})"


def _held(row: Row[Any]) -> LockedError:
    return LockedError(
        f"cell {row.environment}/{row.cell}",
        f"is being changed by {_who(row)} since {row.acquired_at:%Y-%m-%dT%H:%M:%SZ}",
        f"wait for its end; if that process is gone, its lease ends by itself at {row.expires_at:%Y-%m-%dT%H:%M:%SZ}",
    )


def _lost(lease: Lease, row: Row[Any] | None) -> LockedError:
    if row is None or (row.fencing == lease.fencing and row.released_at is not None):
        what = "its lease was given back"
    elif row.fencing == lease.fencing:
        what = f"its lease ran out at {row.expires_at:%Y-%m-%dT%H:%M:%SZ}"
    else:
        what = f"was taken over by {_who(row)} at {row.acquired_at:%Y-%m-%dT%H:%M:%SZ}"
    where = f"cell {lease.environment}/{lease.cell}, run {lease.holder.run_id}"
    return LockedError(where, what, "stop this run; look with `stores status`, then run again")


def _takeover(row: Row[Any], holder: Holder) -> NewEntry:
    return NewEntry(
        actor=holder.actor,
        action=LEASE_TAKEOVER,
        outcome="success",
        environment=row.environment,
        run_id=holder.run_id,
        reason=f"the lease of {_who(row)} ran out at {row.expires_at:%Y-%m-%dT%H:%M:%SZ} and was not given back",
        metadata={
            "cell": row.cell,
            "fencing": row.fencing + 1,
            "from_run_id": row.run_id,
            "from_host": row.host,
            "from_acquired_at": row.acquired_at.isoformat(),
            "from_ended_at": row.expires_at.isoformat(),
            "from_ttl_s": row.ttl_s,
        },
    )


def _past(row: Row[Any]) -> PastLease:
    return PastLease(row.host, row.run_id, row.acquired_at, row.released_at or row.expires_at, row.ttl_s)


def of_takeover(metadata: Mapping[str, object]) -> PastLease | None:
    """Return the lease that an entry of a takeover tells of; None for one of before the log said whose it was."""
    if "from_host" not in metadata:
        return None
    said = {name: str(metadata[f"from_{name}"]) for name in ("host", "run_id", "acquired_at", "ended_at", "ttl_s")}
    begun, ended = (datetime.fromisoformat(said[name]) for name in ("acquired_at", "ended_at"))
    return PastLease(said["host"], said["run_id"], begun, ended, int(said["ttl_s"]))
