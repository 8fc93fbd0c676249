"""The one transaction before the engine starts: what of a request may go, and the proof that it was asked.

In it: the claim on the idempotency key, the slots, the hourly log, one intent or denial entry per change, and the
status of each store. All of it is committed, or nothing, and without it no engine may start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import Connection, Row, insert, select, update

from audit import deferral, entries, idempotency, judgement, leases, slots
from audit.chain import from_json
from audit.database import Clock, insert_if_missing
from audit.deferral import DEFERRED
from audit.judgement import Judged, Known
from audit.limits import NO_OWN_LIMITS, OwnerLimits
from audit.records import (
    LEAVES_AS_IT_IS,
    LIMIT_OVERRIDE,
    STORE_CREATE,
    STORE_DELETE,
    STORE_OWNER_LEFT,
    Admission,
    Change,
    Denial,
    NewEntry,
    RunRequest,
)
from audit.tables import ALL_OWNERS, NAME_LENGTH, audit_logs, from_us, intents, stores, to_us
from stacks.errors import InternalError, UsageError

_INSERT_INTENTS: Final = insert(intents)
_INSERT_STORE: Final = insert(stores)


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


@dataclass(frozen=True)
class Judgement:
    """What the limits say to a request. Nothing of it is recorded yet."""

    judged: Sequence[Judged]
    now: datetime


def decide(connection: Connection, clock: Clock, request: RunRequest) -> Admission:
    """Return what was said to the request; all of it is recorded when the transaction commits.

    On MariaDB, who cannot go keeps nobody waiting who can: it is looked for without a lock first. SQLite has one lock
    for everything.
    """
    denied = None if connection.dialect.name == "sqlite" else foresee(connection, clock, request)
    answer = denied or admit(connection, clock, request)
    return answer if isinstance(answer, Admission) else deny(connection, clock, request, answer)


def foresee(connection: Connection, clock: Clock, request: RunRequest) -> Judgement | None:
    """Return the denial of a request of which nothing can go; None if something might.

    It counts without a lock, so that who cannot go keeps nobody waiting who can. The denial is true all the same: at
    that moment the limit was reached.
    """
    if request.override_reason is not None or not request.changes:
        return None
    judged, now = judgement.forecast(connection, clock, request)
    return None if any(item.verdict.allowed for item in judged) else Judgement(judged, now)


def admit(connection: Connection, clock: Clock, request: RunRequest, *, again: bool = False) -> Admission | Judgement:
    """Return what may go and what not; all of it is recorded when the transaction commits. Of a judgement, nothing is.

    A run of which something was admitted cannot be admitted again: its intents have its id as their key.
    """
    creates = request.override_reason is None and all(change.action == STORE_CREATE for change in request.changes)
    below = request.limits.stores_total if creates and not again else None
    facts = judgement.look(connection, clock, request, held=True, below=below)
    now = facts.now
    earlier = _replay(connection, request, now)
    if earlier is not None:
        return earlier
    judged = judgement.judge_request(request, facts)
    admitted = [item for item in judged if item.verdict.allowed or request.override_reason is not None]
    if facts.head is None:
        # By now there is room after all, or a store exists and needs none.
        return admit(connection, clock, request, again=True) if admitted else Judgement(judged, now)
    fencing = leases.check_held(connection, request.environment, request.leases, now)
    if admitted:
        if request.idempotency_key is not None:
            idempotency.claim(connection, request, now)
        _take_slots(connection, request, facts.used.keys(), admitted)
        rows = [_intent(request, number, now, item, fencing) for number, item in enumerate(admitted)]
        deferral.later(connection, _INSERT_INTENTS, rows)
    return _record(connection, clock, request, Judgement(judged, now), head=facts.head)


def deny(connection: Connection, clock: Clock, request: RunRequest, denied: Judgement) -> Admission:
    """Record a denial and return it. It takes no lock but the log's, so that many who are denied stop nobody."""
    earlier = _replay(connection, request, denied.now)
    if earlier is not None:
        return earlier
    leases.check_held(connection, request.environment, request.leases, denied.now)
    return _record(connection, clock, request, denied)


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


def _replay(connection: Connection, request: RunRequest, now: datetime) -> Admission | None:
    if request.idempotency_key is None:
        return None
    earlier = idempotency.replay(connection, request, now)
    return None if earlier is None else Admission((), (), earlier)


def _record(
    connection: Connection, clock: Clock, request: RunRequest, said: Judgement, head: entries.Head | None = None
) -> Admission:
    """Write the status of each store and the entries; return what was said."""
    if head is None:
        entries.hold(connection)  # before the stores, as everybody does
    judged, now = said.judged, said.now
    admitted: list[Change] = []
    denials: dict[str, Denial] = {}
    for item in judged:
        if item.verdict.allowed or request.override_reason is not None:
            admitted.append(item.change)
        else:
            denials[item.change.store_id] = item.denial(request.limits)
    # By id: of two requests that write the same stores, none waits for one that waits for it.
    for item in sorted(judged, key=lambda one: one.change.store_id):
        denial = denials.get(item.change.store_id)
        if denial is None:
            _store_admitted(connection, request, now, item)
        else:
            _store_denied(connection, request, now, item.row, denial)
    entries.append(connection, clock, _entries(request, judged, denials), head=head)
    return Admission(tuple(admitted), tuple(denials.values()))


def _take_slots(
    connection: Connection, request: RunRequest, known: Collection[str], admitted: Sequence[Judged]
) -> None:
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
    slots.change(connection, request.environment, deltas, known=known, ceilings=ceilings)


def _own(owner_limits: Mapping[str, OwnerLimits], owner: str) -> OwnerLimits:
    return owner_limits.get(owner, NO_OWN_LIMITS)


def _store_admitted(connection: Connection, request: RunRequest, now: datetime, item: Judged) -> None:
    change, row = item.change, item.row
    if change.action in LEAVES_AS_IT_IS:
        return
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
    connection: Connection, request: RunRequest, now: datetime, row: Known | None, denial: Denial
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
    connection: Connection, now: datetime, of: tuple[str, Change], row: Known | None, values: dict[str, Any]
) -> None:
    environment, change = of
    if row is None:
        keys = {"environment": environment, "store_id": change.store_id, "cell": change.cell}
        fresh = keys | values | {"since_at": now, "created_at": now}
        if values["holds_slot"]:
            deferral.later(connection, _INSERT_STORE, [fresh])
        else:
            insert_if_missing(connection, stores, fresh)
        return
    if row.status != values["status"]:
        values = values | {"since_at": now}
    # A denial is written without the lock on the counters: it must not touch a store that was admitted meanwhile.
    this = (stores.c.environment == environment, stores.c.store_id == change.store_id)
    unchanged = update(stores).where(*this, stores.c.holds_slot == row.holds_slot).values(**values)
    connection.execute(unchanged, execution_options=DEFERRED)


def _entries(request: RunRequest, judged: Sequence[Judged], denials: Mapping[str, Denial]) -> list[NewEntry]:
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
            metadata={**change.metadata, **_moved(item), "name": change.name, "cell": change.cell},
        )
        denial = denials.get(change.store_id)
        if denial is not None:
            facts = {**common.metadata, "denial": _facts(denial)}
            written.append(replace(common, outcome="denied", reason=str(denial), metadata=facts))
            continue
        if not item.verdict.allowed:
            passed = {"denial": _facts(item.denial(request.limits))}
            written.append(
                replace(
                    common, action=LIMIT_OVERRIDE, outcome="success", reason=request.override_reason, metadata=passed
                )
            )
        written.append(common)
        if item.claim.moved_from is not None:
            # Beside the intent, which is the new owner's: who lost the store finds it among his own.
            left = replace(
                common,
                action=STORE_OWNER_LEFT,
                outcome="success",
                owner=item.claim.moved_from,
                metadata={**_moved(item), "name": change.name, "cell": change.cell},
            )
            written.append(left)
    return written


def _moved(item: Judged) -> dict[str, object]:
    """Return from whom to whom a store goes, for an entry; nothing where it stays."""
    left = item.claim.moved_from
    return {} if left is None else {"owner": {"from": left, "to": item.claim.owner}}


def _intent(
    request: RunRequest, number: int, now: datetime, item: Judged, fencing: Mapping[str, int]
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


def _facts(denial: Denial) -> dict[str, object]:
    return {
        "limit": denial.limit,
        "used": denial.used,
        "limit_value": denial.limit_value,
        "retry_at_us": None if denial.retry_at is None else to_us(denial.retry_at),
        "window_s": denial.window_s,
        "waiting": denial.waiting,
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
        facts.get("waiting", 0),
    )
