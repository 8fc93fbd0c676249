"""The one transaction before the engine starts: what of a request may go, and the proof that it was asked.

In it: the claim on the idempotency key, the slots, the hourly log, one intent or denial entry per change, and the
status of each store. All of it is committed, or nothing, and without it no engine may start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import Connection, Row, Select, bindparam, insert, select, update

from audit import entries, idempotency, leases, slots
from audit.chain import from_json
from audit.database import Clock
from audit.limits import NO_OWN_LIMITS, Claim, LimitName, Limits, OwnerLimits, Tally, Verdict, judge
from audit.records import (
    LIMIT_OVERRIDE,
    STORE_CREATE,
    STORE_DELETE,
    STORE_RETRY,
    Admission,
    Change,
    Denial,
    NewEntry,
    RunRequest,
)
from audit.tables import ALL_OWNERS, NAME_LENGTH, Moment, audit_logs, from_us, intents, stores, to_us
from stacks.errors import InternalError, ManifestError, UsageError


@dataclass(frozen=True)
class _Judged:
    """One change with what the ledger knows of its store and what the limits say."""

    change: Change
    row: Row[Any] | None
    claim: Claim
    verdict: Verdict

    @property
    def is_creation(self) -> bool:
        return self.claim.new


_KNOWN: Final[Select[Any]] = select(
    stores.c.store_id, stores.c.owner, stores.c.cell, stores.c.status, stores.c.holds_slot
).where(stores.c.environment == bindparam("environment"), stores.c.store_id.in_(bindparam("ids", expanding=True)))
_STARTS: Final[Select[Any]] = select(intents.c.owner, intents.c.admitted_at).where(
    intents.c.environment == bindparam("environment"),
    intents.c.creation == 1,
    intents.c.admitted_at > bindparam("since", type_=Moment),
)
_STARTS_OF: Final[Select[Any]] = _STARTS.where(intents.c.owner.in_(bindparam("owners", expanding=True)))


def check(request: RunRequest) -> None:
    """Raise for a request that cannot be kept as it is; nothing has been read or written then."""
    if request.idempotency_key is not None:
        idempotency.check_key(request.idempotency_key)
    if request.override_reason is not None and not request.override_reason.strip():
        raise UsageError("override", "has no reason", "say why the limit may be passed this time")
    twice = [store_id for store_id, count in Counter(c.store_id for c in request.changes).items() if count > 1]
    if twice:
        raise InternalError(f"run '{request.run_id}'", f"changes {twice[0]!r} twice", "give one change per store")
    for name in (request.run_id, request.environment, *(n for c in request.changes for n in _names(c))):
        if not 0 < len(name) <= NAME_LENGTH or entries.clean(name, NAME_LENGTH) != name:
            raise InternalError(f"run '{request.run_id}'", f"cannot keep the name {name[:50]!r}", "check names first")


def admit(connection: Connection, clock: Clock, request: RunRequest) -> Admission:
    """Return what may go; all of it is recorded when the transaction commits.

    A run of which something was admitted cannot be admitted again: its intents have its id as their key.
    """
    locked = slots.lock(connection, clock, request.environment, _owners(request))
    if request.idempotency_key is not None:
        earlier = idempotency.replay(connection, request, locked.now)
        if earlier is not None:
            return Admission((), (), earlier)
    fencing = leases.check_held(connection, request.environment, request.leases, locked.now)
    judged, locked = _judge(connection, request, locked)
    admitted = [j for j in judged if j.verdict.allowed or request.override_reason is not None]
    denied = [j for j in judged if j not in admitted]
    if admitted:
        if request.idempotency_key is not None:
            idempotency.claim(connection, request, locked.now)
        _take_slots(connection, request, locked, admitted)
    for item in admitted:
        _store_admitted(connection, request, locked.now, item)
    denials = {id(item): _denial(item, request.limits) for item in denied}
    for item in denied:
        _store_denied(connection, request, locked.now, item.row, denials[id(item)])
    if admitted:
        rows = [_intent(request, number, locked.now, item, fencing) for number, item in enumerate(admitted)]
        connection.execute(insert(intents), rows)
    entries.append(connection, clock, _entries(request, judged, denials))
    return Admission(tuple(item.change for item in admitted), tuple(denials[id(item)] for item in denied))


def foresee(connection: Connection, clock: Clock, request: RunRequest) -> tuple[Denial, ...]:
    """Return what the limits would deny if the request were made now. It locks and records nothing."""
    state = slots.seen(connection, clock, request.environment, _owners(request))
    judged, _ = _judge(connection, request, state)
    return tuple(_denial(item, request.limits) for item in judged if not item.verdict.allowed)


def find(connection: Connection, clock: Clock, request: RunRequest) -> Admission | None:
    """Return what an earlier try of the same run recorded, or None. It waits for a try that is still under way."""
    slots.lock(connection, clock, request.environment)
    query = select(audit_logs).where(
        audit_logs.c.run_id == request.run_id, audit_logs.c.outcome.in_(("unknown", "denied"))
    )
    by_store = {row.store_id: row for row in connection.execute(query)}
    found = [(change, by_store[change.store_id]) for change in request.changes if change.store_id in by_store]
    if not found:
        return None
    return Admission(
        tuple(replace(change, action=row.action) for change, row in found if row.outcome == "unknown"),
        tuple(_denial_of(replace(change, action=row.action), row) for change, row in found if row.outcome == "denied"),
    )


def _names(change: Change) -> tuple[str, ...]:
    return (change.store_id, change.name, change.owner, change.cell, change.action)


def _owners(request: RunRequest) -> set[str]:
    return {change.owner for change in request.changes}


def _judge(connection: Connection, request: RunRequest, locked: slots.Locked) -> tuple[list[_Judged], slots.Locked]:
    """Return each change with its verdict, and the counters of every owner that is concerned."""
    ids = [change.store_id for change in request.changes]
    found = connection.execute(_KNOWN, {"environment": request.environment, "ids": ids}) if ids else ()
    rows = {row.store_id: row for row in found}
    claims = [_claim(change, rows.get(change.store_id)) for change in request.changes]
    left = {claim.moved_from for claim in claims if claim.moved_from is not None}
    locked = slots.with_owners(connection, locked, left - locked.used.keys())
    new_owners = {claim.owner for claim in claims if claim.new}
    begun = starts(connection, request.environment, request.limits, locked.now, new_owners)
    tally = Tally(locked.total, locked.used, begun)
    verdicts = judge(claims, tally, limits=request.limits, owner_limits=request.owner_limits, now=locked.now)
    judged = [
        _Judged(_as_it_is(change, claim), rows.get(change.store_id), claim, verdict)
        for change, claim, verdict in zip(request.changes, claims, verdicts, strict=True)
    ]
    return judged, locked


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


def _take_slots(connection: Connection, request: RunRequest, locked: slots.Locked, admitted: Sequence[_Judged]) -> None:
    deltas: Counter[str] = Counter()
    for item in admitted:
        if item.claim.new or item.claim.moved_from is not None:
            deltas[item.claim.owner] += 1
        if item.claim.moved_from is not None:
            deltas[item.claim.moved_from] -= 1
    if not deltas:
        return
    ceilings: dict[str, int] | None = None
    if request.override_reason is None:
        ceilings = {ALL_OWNERS: request.limits.stores_total}
        for owner in deltas:
            ceilings[owner] = request.limits.of(_own(request.owner_limits, owner)).stores_per_owner
    slots.change(connection, locked, deltas, ceilings)


def _own(owner_limits: Mapping[str, OwnerLimits], owner: str) -> OwnerLimits:
    return owner_limits.get(owner, NO_OWN_LIMITS)


def _store_admitted(connection: Connection, request: RunRequest, now: datetime, item: _Judged) -> None:
    change, row = item.change, item.row
    deleting = change.action == STORE_DELETE
    status = "Deleting" if deleting else "Provisioning"
    values = {
        "name": change.name,
        "owner": change.owner,
        "status": status,
        "status_reason": None,
        "pending_until": None,
        "holds_slot": (row.holds_slot if row is not None else 0) if deleting else 1,
        "run_id": request.run_id,
    }
    _write_store(connection, now, (request.environment, change), row, values)


def _store_denied(
    connection: Connection, request: RunRequest, now: datetime, row: Row[Any] | None, denial: Denial
) -> None:
    if row is not None and row.holds_slot:
        return  # it exists and stays as it is; only what was asked for it is denied
    change = denial.change
    values = {
        "name": change.name,
        "owner": change.owner,
        "status": "Pending",
        "status_reason": entries.clean(str(denial), 4000),
        "pending_until": denial.retry_at,
        "holds_slot": 0,
        "run_id": request.run_id,
    }
    _write_store(connection, now, (request.environment, change), row, values)


def _write_store(
    connection: Connection, now: datetime, of: tuple[str, Change], row: Row[Any] | None, values: dict[str, Any]
) -> None:
    environment, change = of
    if row is None:
        fixed = {"environment": environment, "store_id": change.store_id, "cell": change.cell}
        connection.execute(insert(stores).values(**fixed, **values, since_at=now, created_at=now))
        return
    if row.status != values["status"]:
        values = values | {"since_at": now}
    this = (stores.c.environment == environment, stores.c.store_id == change.store_id)
    connection.execute(update(stores).where(*this).values(**values))


def _entries(request: RunRequest, judged: Sequence[_Judged], denials: Mapping[int, Denial]) -> list[NewEntry]:
    written: list[NewEntry] = []
    for item in judged:
        change = item.change
        common = NewEntry(
            actor=request.actor,
            action=change.action,
            outcome="unknown",
            environment=request.environment,
            store_id=change.store_id,
            owner=change.owner,
            run_id=request.run_id,
            reason=request.reason,
            metadata={**change.metadata, "name": change.name, "cell": change.cell},
        )
        denial = denials.get(id(item))
        if denial is not None:
            facts = {**common.metadata, "denial": _facts(denial)}
            written.append(replace(common, outcome="denied", reason=str(denial), metadata=facts))
            continue
        if not item.verdict.allowed:
            passed = {"denial": _facts(_denial(item, request.limits))}
            written.append(
                replace(
                    common, action=LIMIT_OVERRIDE, outcome="success", reason=request.override_reason, metadata=passed
                )
            )
        written.append(common)
    return written


def _intent(
    request: RunRequest, number: int, now: datetime, item: _Judged, fencing: Mapping[str, int]
) -> dict[str, Any]:
    change = item.change
    return {
        "run_id": request.run_id,
        "store_id": change.store_id,
        "number": number,
        "environment": request.environment,
        "owner": change.owner,
        "cell": change.cell,
        "action": change.action,
        "creation": int(item.is_creation),
        "admitted_at": now,
        "fencing": fencing.get(change.cell),
    }


def _denial(item: _Judged, limits: Limits) -> Denial:
    verdict = item.verdict
    return Denial(
        item.change,
        cast("LimitName", verdict.limit),
        verdict.used,
        verdict.limit_value,
        verdict.retry_at,
        limits.window_s,
    )


def _facts(denial: Denial) -> dict[str, object]:
    return {
        "limit": denial.limit,
        "used": denial.used,
        "limit_value": denial.limit_value,
        "retry_at_us": None if denial.retry_at is None else to_us(denial.retry_at),
        "window_s": denial.window_s,
    }


def _denial_of(change: Change, row: Row[Any]) -> Denial:
    facts = cast("dict[str, Any]", from_json(row.metadata)["denial"])
    retry = facts["retry_at_us"]
    return Denial(
        change,
        facts["limit"],
        facts["used"],
        facts["limit_value"],
        None if retry is None else from_us(retry),
        facts["window_s"],
    )
