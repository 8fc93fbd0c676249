"""What became of what was admitted: outcomes, status, and slots given back when a store is really gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, and_, bindparam, insert, select, update

from audit import entries, leases, slots
from audit.chain import from_json, to_json
from audit.database import Clock
from audit.deferral import DEFERRED
from audit.judgement import Known
from audit.records import (
    LEAVES_AS_IT_IS,
    STORE_ADOPT,
    STORE_CREATE,
    STORE_STATUS,
    Actor,
    Change,
    Lease,
    NewEntry,
    OpenRun,
    Status,
    StoreOutcome,
    StoreRecord,
    holds_slot,
)
from audit.tables import HEAD_ID, REASON_LENGTH, audit_head, audit_logs, intents, stores
from stacks.errors import InternalError, LockedError

PLATFORM = Actor("stores", "service")


@dataclass(frozen=True)
class Seen:
    """The status of a store, as its run or somebody who looked has seen it."""

    status: Status
    reason: str | None
    url: str | None
    run_id: str | None
    content: str | None = None

    @classmethod
    def of(cls, outcome: StoreOutcome, run_id: str) -> Seen:
        return cls(outcome.status, outcome.reason, outcome.url, run_id, outcome.content)


def settle(
    connection: Connection,
    clock: Clock,
    run_id: str,
    outcomes: Sequence[StoreOutcome],
    *,
    actor: Actor | None,
    held: Sequence[Lease],
) -> None:
    """Record each outcome once. The same outcome again changes nothing.

    `held`: leases under which another run's changes are settled. Without, the run's own lease must not have been taken
    over. Raises LockedError if it was, or if somebody else has recorded another outcome.
    """
    environment = connection.execute(
        select(intents.c.environment).where(intents.c.run_id == run_id).limit(1)
    ).scalar_one_or_none()
    if environment is None:
        raise InternalError(f"run '{run_id}'", "was never admitted", "admit a run before its outcome")
    slots.hold(connection, environment)
    rows = {row.store_id: row for row in connection.execute(_intents(clock), {"of_run": run_id})}
    meant = [_as_it_is(run_id, outcome, rows) for outcome in outcomes]
    new = [outcome for outcome in meant if rows[outcome.store_id].outcome is None]
    for outcome in meant:
        if outcome not in new:
            _check_same(connection, run_id, outcome)
    if not new:
        return
    _check_fence(connection, environment, run_id, [rows[outcome.store_id] for outcome in new], held)
    first = rows[new[0].store_id]
    head = entries.Head(first.head_seq, first.head_hash, first.now)
    deltas: Counter[str] = Counter()
    written: list[NewEntry] = []
    for outcome in new:
        intent = rows[outcome.store_id]
        if intent.action not in LEAVES_AS_IT_IS:
            store = Known(
                intent.store_id, intent.store_owner, intent.cell, intent.store_status, intent.store_holds_slot
            )
            deltas[store.owner] += _write_status(connection, environment, intent.now, store, Seen.of(outcome, run_id))
        _write_outcome(connection, run_id, intent.now, outcome)
        entry = NewEntry(
            actor or _actor(intent),
            intent.action,
            outcome.outcome,
            environment=environment,
            store_id=intent.store_id,
            owner=intent.owner,
            run_id=run_id,
            reason=outcome.reason,
            metadata={**outcome.metadata, "status": outcome.status},
        )
        written.append(entry)
    slots.change(connection, environment, deltas)
    entries.append(connection, clock, written, head=head)


def adopt(
    connection: Connection,
    clock: Clock,
    environment: str,
    records: Sequence[StoreRecord],
    actor: Actor,
    *,
    held: Sequence[Lease] = (),
) -> None:
    """Leave each store that exists with a slot, whatever the limits say, and an entry that says so.

    A store that holds a slot already is left as it is. Raises LockedError if one of the leases was taken over.
    """
    now = slots.lock(connection, clock, environment)
    leases.check_held(connection, environment, held, None)
    known = _stores(connection, environment, [record.store_id for record in records])
    deltas: Counter[str] = Counter()
    written: list[NewEntry] = []
    for record in records:
        row = known.get(record.store_id)
        if row is not None and row.holds_slot:
            continue
        if not holds_slot(record.status, held_before=True):
            raise InternalError(f"store '{record.store_id}'", f"exists, but as {record.status}", "adopt what exists")
        _write_adopted(connection, environment, now, record, row)
        deltas[record.owner] += 1
        written.append(
            NewEntry(
                actor=actor,
                action=STORE_ADOPT,
                outcome="success",
                environment=environment,
                store_id=record.store_id,
                owner=record.owner,
                reason="found in the engine's state, but not in the ledger",
                metadata={"name": record.name, "cell": record.cell, "status": record.status},
            )
        )
    slots.change(connection, environment, deltas)
    entries.append(connection, clock, written)


def mark(
    connection: Connection,
    clock: Clock,
    environment: str,
    store_id: str,
    *,
    seen: Seen,
    actor: Actor | None,
    held: Sequence[Lease] = (),
) -> None:
    """Leave the store with the status that was seen. A changed status is audited; seeing the same again is not.

    Raises LockedError if one of the leases was taken over: what was seen under it may be long past.
    """
    status = seen.status
    now = slots.lock(connection, clock, environment)
    leases.check_held(connection, environment, held, None)
    store = _stores(connection, environment, [store_id]).get(store_id)
    if store is None:
        raise InternalError(f"store '{store_id}'", f"is not known in '{environment}'", "admit or adopt it first")
    if holds_slot(status, held_before=bool(store.holds_slot)) and not store.holds_slot:
        raise InternalError(f"store '{store_id}'", f"is {status}, but holds no slot", "admit or adopt it first")
    delta = _write_status(connection, environment, now, store, seen)
    if store.status == status:
        return
    slots.change(connection, environment, {store.owner: delta})
    entry = NewEntry(
        actor=actor or PLATFORM,
        action=STORE_STATUS,
        outcome="success",
        environment=environment,
        store_id=store_id,
        owner=store.owner,
        run_id=seen.run_id,
        reason=seen.reason,
        metadata={"from": store.status, "to": status},
    )
    entries.append(connection, clock, [entry])


def open_runs(connection: Connection, environment: str) -> list[OpenRun]:
    """Return the runs with changes that have no outcome, oldest first."""
    query = (
        select(intents, *_ACTOR, audit_logs.c.metadata.label("asked"))
        .join(audit_logs, _IS_ITS_INTENT)
        .where(intents.c.environment == environment, intents.c.outcome.is_(None))
        .order_by(audit_logs.c.seq)
    )
    runs: dict[str, OpenRun] = {}
    for row in connection.execute(query):
        asked = dict(from_json(row.asked))
        name, _cell = str(asked.pop("name", "")), asked.pop("cell", None)
        change = Change(row.store_id, name, row.owner, row.cell, row.action, asked)
        run = runs.get(row.run_id) or OpenRun(row.run_id, environment, _actor(row), row.admitted_at)
        runs[row.run_id] = OpenRun(run.run_id, environment, run.actor, run.admitted_at, (*run.changes, change))
    return list(runs.values())


_IS_ITS_INTENT = and_(
    audit_logs.c.run_id == intents.c.run_id,
    audit_logs.c.store_id == intents.c.store_id,
    audit_logs.c.outcome == "unknown",
)
_ACTOR = (audit_logs.c.actor, audit_logs.c.actor_kind, audit_logs.c.source_ip)


def _actor(row: Row[Any]) -> Actor:
    return Actor(row.actor, row.actor_kind, row.source_ip)


# What is needed of it and no more: each column is told with each answer.
_OF_INTENT = (
    intents.c.store_id, intents.c.owner, intents.c.cell, intents.c.action, intents.c.fencing, intents.c.outcome,
)  # fmt: skip
_ITS_STORE = and_(stores.c.environment == intents.c.environment, stores.c.store_id == intents.c.store_id)


@lru_cache(maxsize=8)
def _intents(clock: Clock) -> Select[Any]:
    store = (
        stores.c.owner.label("store_owner"),
        stores.c.status.label("store_status"),
        stores.c.holds_slot.label("store_holds_slot"),
    )
    seq, last = (select(column).where(audit_head.c.id == HEAD_ID) for column in (audit_head.c.seq, audit_head.c.hash))
    head = (seq.scalar_subquery().label("head_seq"), last.scalar_subquery().label("head_hash"))
    query = select(*_OF_INTENT, *_ACTOR, *store, *head, clock.label("now"))
    query = query.join(audit_logs, _IS_ITS_INTENT).outerjoin(stores, _ITS_STORE)
    return query.where(intents.c.run_id == bindparam("of_run"))


_UPDATE_STORE: Final = update(stores).where(
    stores.c.environment == bindparam("of_environment"), stores.c.store_id == bindparam("of_store")
)
_UPDATE_INTENT: Final = update(intents).where(
    intents.c.run_id == bindparam("of_run"), intents.c.store_id == bindparam("of_store")
)
_STORES: Final[Select[Any]] = select(
    stores.c.store_id, stores.c.owner, stores.c.cell, stores.c.status, stores.c.holds_slot
).where(stores.c.environment == bindparam("environment"), stores.c.store_id.in_(bindparam("ids", expanding=True)))


def _stores(connection: Connection, environment: str, ids: Sequence[str]) -> dict[str, Known]:
    found = connection.execute(_STORES, {"environment": environment, "ids": ids})
    return {row.store_id: Known(*row) for row in found}


def _as_it_is(run_id: str, outcome: StoreOutcome, rows: dict[str, Row[Any]]) -> StoreOutcome:
    """Return the outcome; of a creation that the engine never began, nothing exists, so the store is Pending again."""
    intent = rows.get(outcome.store_id)
    if intent is None:
        where, cure = f"run '{run_id}'", "give outcomes only for admitted changes"
        raise InternalError(where, f"store '{outcome.store_id}' was not admitted", cure)
    if intent.action == STORE_CREATE and not outcome.reached_engine:
        return replace(outcome, status="Pending")
    return outcome


def _check_same(connection: Connection, run_id: str, outcome: StoreOutcome) -> None:
    """Raise LockedError if another outcome than this one is on record."""
    this = (intents.c.run_id == run_id, intents.c.store_id == outcome.store_id)
    found = select(intents.c.outcome, intents.c.status, intents.c.reason, intents.c.url, intents.c.metadata)
    recorded = connection.execute(found.where(*this)).one()
    given = (outcome.outcome, outcome.status, _reason(outcome), outcome.url, to_json(outcome.metadata))
    if tuple(recorded) != given:
        raise LockedError(
            f"run '{run_id}', store '{outcome.store_id}'",
            f"its outcome is {outcome.outcome}, but {recorded.outcome} was recorded meanwhile",
            "look with `stores status`, then run again",
        )


def _reason(outcome: StoreOutcome) -> str | None:
    return None if outcome.reason is None else entries.clean(outcome.reason, REASON_LENGTH)


def _check_fence(
    connection: Connection, environment: str, run_id: str, rows: Sequence[Row[Any]], held: Sequence[Lease]
) -> None:
    settled_under = leases.check_held(connection, environment, held, None)
    for cell, fencing in sorted({(row.cell, row.fencing) for row in rows if row.fencing is not None}):
        if cell not in settled_under and leases.current_fencing(connection, environment, cell) != fencing:
            raise LockedError(
                f"run '{run_id}', cell {environment}/{cell}",
                "the cell was taken over by another run, so this outcome is not accepted",
                "look with `stores status`; the next `stores up` closes what is open",
            )


def _write_status(connection: Connection, environment: str, now: datetime, store: Known, seen: Seen) -> int:
    """Write what was seen; return by how much the owner's slots change."""
    holds = holds_slot(seen.status, held_before=bool(store.holds_slot))
    values: dict[str, Any] = {
        "status": seen.status,
        "status_reason": None if seen.reason is None else entries.clean(seen.reason, REASON_LENGTH),
        "holds_slot": int(holds),
        "pending_until": None,
        "content": seen.content if seen.status == "Ready" else None,
    }
    if store.status != seen.status:
        values["since_at"] = now
    if seen.status == "Ready":
        values["ready_at"] = now
    if seen.url is not None:
        values["url"] = seen.url
    if seen.run_id is not None:
        values["run_id"] = seen.run_id
    this = {"of_environment": environment, "of_store": store.store_id}
    connection.execute(_UPDATE_STORE, this | values, execution_options=DEFERRED)
    return int(holds) - int(store.holds_slot)


def _write_outcome(connection: Connection, run_id: str, now: datetime, outcome: StoreOutcome) -> None:
    values: dict[str, Any] = {
        "outcome": outcome.outcome,
        "status": outcome.status,
        "reason": _reason(outcome),
        "url": outcome.url,
        "metadata": to_json(outcome.metadata),
        "settled_at": now,
    }
    if not outcome.reached_engine:
        values["creation"] = 0
    this = {"of_run": run_id, "of_store": outcome.store_id}
    connection.execute(_UPDATE_INTENT, this | values, execution_options=DEFERRED)


def _write_adopted(
    connection: Connection, environment: str, now: datetime, record: StoreRecord, row: Known | None
) -> None:
    values: dict[str, Any] = {
        "name": record.name,
        "owner": record.owner,
        "cell": record.cell,
        "status": record.status,
        "status_reason": "found in the engine's state",
        "since_at": now,
        "pending_until": None,
        "holds_slot": 1,
        "content": record.content,
    }
    if record.status == "Ready":
        # Who adopts has asked it: a store that sells is never taken for one that never did.
        values["ready_at"] = now
    if record.url is not None:
        values["url"] = record.url
    if row is None:
        keys = {"environment": environment, "store_id": record.store_id}
        connection.execute(insert(stores).values(**keys, **values, created_at=now))
    else:
        this = (stores.c.environment == environment, stores.c.store_id == record.store_id)
        connection.execute(update(stores).where(*this).values(**values))
