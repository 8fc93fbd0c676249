"""What a request would take, by what the ledger knows, and what the limits say to it. It reads, and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    Select,
    String,
    bindparam,
    literal_column,
    null,
    select,
    type_coerce,
    union_all,
)

from audit import slots
from audit.database import Clock
from audit.limits import Claim, LimitName, Limits, Tally, Verdict, judge
from audit.records import STORE_CREATE, STORE_DELETE, STORE_RETRY, Change, Denial, RunRequest
from audit.tables import Moment, from_us, intents, stores
from stacks.errors import ManifestError


@dataclass(frozen=True)
class Known:
    """What the ledger knows of one store."""

    store_id: str
    owner: str
    cell: str
    status: str
    holds_slot: int


@dataclass(frozen=True)
class Judged:
    """One change with what the ledger knows of its store and what the limits say."""

    change: Change
    row: Known | None
    claim: Claim
    verdict: Verdict

    @property
    def is_creation(self) -> bool:
        """Return whether the change takes a slot and counts for the hour."""
        return self.claim.new

    def denial(self, limits: Limits) -> Denial:
        """Return the limit that stands in the way; only of a change that is not allowed."""
        verdict = self.verdict
        return Denial(
            self.change,
            cast("LimitName", verdict.limit),
            verdict.used,
            verdict.limit_value,
            verdict.retry_at,
            limits.window_s,
            verdict.waiting,
        )


_STARTS: Final[Select[Any]] = select(intents.c.owner, intents.c.admitted_at).where(
    intents.c.environment == bindparam("environment"),
    intents.c.creation == 1,
    intents.c.admitted_at > bindparam("since", type_=Moment),
)
# The stores and the starts of a request in one answer: each statement is a way to the server and back, and most of an
# admission's time is spent on those ways, with others waiting for the lock.
_KNOWN: Final = union_all(
    select(
        stores.c.store_id.label("store_id"),
        stores.c.owner.label("owner"),
        stores.c.cell.label("cell"),
        stores.c.status.label("status"),
        stores.c.holds_slot.label("holds_slot"),
        type_coerce(null(), BigInteger).label("at"),
    ).where(stores.c.environment == bindparam("environment"), stores.c.store_id.in_(bindparam("ids", expanding=True))),
    select(
        type_coerce(null(), String),
        intents.c.owner,
        type_coerce(null(), String),
        type_coerce(null(), String),
        type_coerce(null(), Integer),
        type_coerce(intents.c.admitted_at, BigInteger),
    ).where(
        intents.c.environment == bindparam("environment"),
        intents.c.owner.in_(bindparam("owners", expanding=True)),
        intents.c.creation == literal_column("1"),
        intents.c.admitted_at > bindparam("since", type_=Moment),
    ),
)


def owners(request: RunRequest) -> set[str]:
    """Return the owners that the request names."""
    return {change.owner for change in request.changes}


def forecast(connection: Connection, clock: Clock, request: RunRequest) -> tuple[list[Judged], datetime]:
    """Return each change with what would be said to it now, without a lock, and the time of that."""
    seen = slots.seen(connection, clock, request.environment, owners(request))
    return judge_request(connection, request, seen), seen.now


def judge_request(connection: Connection, request: RunRequest, counted: slots.Counted) -> list[Judged]:
    """Return each change with its verdict. It holds as long as nobody else changes what is counted."""
    rows, begun = _known(connection, request, counted.now)
    claims = [_claim(change, rows.get(change.store_id)) for change in request.changes]
    tally = Tally(counted.total, counted.used, begun)
    verdicts = judge(claims, tally, limits=request.limits, owner_limits=request.owner_limits, now=counted.now)
    return [
        Judged(_as_it_is(change, claim), rows.get(change.store_id), claim, verdict)
        for change, claim, verdict in zip(request.changes, claims, verdicts, strict=True)
    ]


def starts(connection: Connection, environment: str, limits: Limits, now: datetime) -> dict[str, list[datetime]]:
    """Return when the creations of each owner of the environment began that still count."""
    found: dict[str, list[datetime]] = {}
    for row in connection.execute(_STARTS, {"environment": environment, "since": now - limits.window}):
        found.setdefault(row.owner, []).append(row.admitted_at)
    return found


def _known(
    connection: Connection, request: RunRequest, now: datetime
) -> tuple[dict[str, Known], dict[str, list[datetime]]]:
    """Return the request's stores that are known, by id, and when its owners' creations began that still count."""
    known: dict[str, Known] = {}
    begun: dict[str, list[datetime]] = {}
    if not request.changes:
        return known, begun
    values = {
        "environment": request.environment,
        "ids": [change.store_id for change in request.changes],
        "owners": sorted(owners(request)),
        "since": now - request.limits.window,
    }
    for store_id, owner, cell, status, holds_slot, at in connection.execute(_KNOWN, values):
        if store_id is None:
            begun.setdefault(owner, []).append(from_us(at))
        else:
            known[store_id] = Known(store_id, owner, cell, status, holds_slot)
    return known, begun


def _claim(change: Change, row: Known | None) -> Claim:
    """Return what the change takes, by what the ledger knows and not by what its caller calls it."""
    if row is not None and row.cell != change.cell:
        raise ManifestError(
            f"store '{change.store_id}'",
            f"its cell was {row.cell} and is now {change.cell}, but a store never changes its cell",
            f'write back cell: "{row.cell}"',
        )
    if change.action == STORE_DELETE:
        return Claim(change.owner, gives_back=row.owner if row is not None and row.holds_slot else None)
    if row is None or not row.holds_slot:
        return Claim(change.owner, new=True)
    return Claim(change.owner, moved_from=row.owner if row.owner != change.owner else None)


def _as_it_is(change: Change, claim: Claim) -> Change:
    if claim.new:
        return replace(change, action=STORE_CREATE)
    if not claim.new and change.action == STORE_CREATE:
        return replace(change, action=STORE_RETRY)
    return change
