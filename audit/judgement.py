"""What a request would take, by what the ledger knows, and what the limits say to it. It reads, and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import Connection, Row, Select, bindparam, select

from audit import slots
from audit.database import Clock
from audit.limits import Claim, LimitName, Limits, Tally, Verdict, judge
from audit.records import STORE_CREATE, STORE_DELETE, STORE_RETRY, Change, Denial, RunRequest
from audit.tables import Moment, intents, stores
from stacks.errors import ManifestError


@dataclass(frozen=True)
class Judged:
    """One change with what the ledger knows of its store and what the limits say."""

    change: Change
    row: Row[Any] | None
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
        )


_KNOWN: Final[Select[Any]] = select(
    stores.c.store_id, stores.c.owner, stores.c.cell, stores.c.status, stores.c.holds_slot
).where(stores.c.environment == bindparam("environment"), stores.c.store_id.in_(bindparam("ids", expanding=True)))
_STARTS: Final[Select[Any]] = select(intents.c.owner, intents.c.admitted_at).where(
    intents.c.environment == bindparam("environment"),
    intents.c.creation == 1,
    intents.c.admitted_at > bindparam("since", type_=Moment),
)
_STARTS_OF: Final[Select[Any]] = _STARTS.where(intents.c.owner.in_(bindparam("owners", expanding=True)))


def owners(request: RunRequest) -> set[str]:
    """Return the owners that the request names."""
    return {change.owner for change in request.changes}


def forecast(connection: Connection, clock: Clock, request: RunRequest) -> tuple[list[Judged], datetime]:
    """Return each change with what would be said to it now, without a lock, and the time of that."""
    seen = slots.seen(connection, clock, request.environment, owners(request))
    return judge_request(connection, request, seen), seen.now


def judge_request(connection: Connection, request: RunRequest, counted: slots.Counted) -> list[Judged]:
    """Return each change with its verdict. It holds as long as nobody else changes what is counted."""
    ids = [change.store_id for change in request.changes]
    found = connection.execute(_KNOWN, {"environment": request.environment, "ids": ids}) if ids else ()
    rows = {row.store_id: row for row in found}
    claims = [_claim(change, rows.get(change.store_id)) for change in request.changes]
    left = {claim.moved_from for claim in claims if claim.moved_from is not None}
    counted = slots.with_owners(connection, counted, left - counted.used.keys())
    new_owners = {claim.owner for claim in claims if claim.new}
    begun = starts(connection, request.environment, request.limits, counted.now, new_owners)
    tally = Tally(counted.total, counted.used, begun)
    verdicts = judge(claims, tally, limits=request.limits, owner_limits=request.owner_limits, now=counted.now)
    return [
        Judged(_as_it_is(change, claim), rows.get(change.store_id), claim, verdict)
        for change, claim, verdict in zip(request.changes, claims, verdicts, strict=True)
    ]


def starts(
    connection: Connection, environment: str, limits: Limits, now: datetime, owners: set[str] | None = None
) -> dict[str, list[datetime]]:
    """Return when the creations of each owner began that still count; of all owners with None."""
    if owners is not None and not owners:
        return {}
    values: dict[str, object] = {"environment": environment, "since": now - limits.window}
    if owners is None:
        rows = connection.execute(_STARTS, values)
    else:
        rows = connection.execute(_STARTS_OF, values | {"owners": sorted(owners)})
    found: dict[str, list[datetime]] = {}
    for row in rows:
        found.setdefault(row.owner, []).append(row.admitted_at)
    return found


def _claim(change: Change, row: Row[Any] | None) -> Claim:
    """Return what the change takes, by what the ledger knows and not by what its caller calls it."""
    if row is not None and row.cell != change.cell:
        raise ManifestError(
            f"store '{change.store_id}'",
            f"its cell was {row.cell} and is now {change.cell}, but a store never changes its cell",
            f'write back cell: "{row.cell}"',
        )
    if change.action == STORE_DELETE:
        return Claim(change.owner)
    if row is None or not row.holds_slot:
        return Claim(change.owner, new=True)
    return Claim(change.owner, moved_from=row.owner if row.owner != change.owner else None)


def _as_it_is(change: Change, claim: Claim) -> Change:
    if claim.new:
        return replace(change, action=STORE_CREATE)
    if not claim.new and change.action == STORE_CREATE:
        return replace(change, action=STORE_RETRY)
    return change
