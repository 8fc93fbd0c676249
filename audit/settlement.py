"""What became of what was admitted: outcomes, status, and slots given back when a store is really gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, and_, bindparam, insert, select, update

from audit import entries, leases, slots
from audit.chain import from_json, to_json
from audit.database import Clock
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
from audit.tables import REASON_LENGTH, audit_logs, intents, stores
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
    locked = slots.lock(connection, clock, environment)
    rows = {row.store_id: row for row in connection.execute(_INTENTS, {"of_run": run_id})}
    new = [o for o in (_as_it_is(run_id, outcome, rows) for outcome in outcomes) if _is_new(run_id, o, rows)]
    if not new:
        return
    _check_fence(connection, run_id, [rows[outcome.store_id] for outcome in new], held)
    known = _stores(connection, environment, [outcome.store_id for outcome in new])
    deltas: Counter[str] = Counter()
    written: list[NewEntry] = []
    for outcome in new:
        intent, store = rows[outcome.store_id], known[outcome.store_id]
        if intent.action not in LEAVES_AS_IT_IS:
            deltas[store.owner] += _write_status(connection, locked, store, Seen.of(outcome, run_id))
        _write_outcome(connection, locked.now, intent, outcome)
        written.append(_outcome_entry(intent, outcome, actor))
    slots.change(connection, locked, deltas)
    entries.append(connection, clock, written)


def adopt(connection: Connection, clock: Clock, environment: str, records: Sequence[StoreRecord], actor: Actor) -> None:
    """Leave each store that exists with a slot, whatever the limits say, and an entry that says so.

    A store that holds a slot already is left as it is.
    """
    locked = slots.lock(connection, clock, environment)
    known = _stores(connection, environment, [record.store_id for record in records])
    deltas: Counter[str] = Counter()
    written: list[NewEntry] = []
    for record in records:
        row = known.get(record.store_id)
        if row is not None and row.holds_slot:
            continue
        if not holds_slot(record.status, held_before=True):
            raise InternalError(f"store '{record.store_id}'", f"exists, but as {record.status}", "adopt what exists")
        _write_adopted(connection, locked, record, row)
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
    slots.change(connection, locked, deltas)
    entries.append(connection, clock, written)


def mark(
    connection: Connection, clock: Clock, environment: str, store_id: str, *, seen: Seen, actor: Actor | None
) -> None:
    """Leave the store with the status that was seen. A changed status is audited; seeing the same again is not."""
    status = seen.status
    locked = slots.lock(connection, clock, environment)
    store = _stores(connection, environment, [store_id]).get(store_id)
    if store is None:
        raise InternalError(f"store '{store_id}'", f"is not known in '{environment}'", "admit or adopt it first")
    if holds_slot(status, held_before=bool(store.holds_slot)) and not store.holds_slot:
        raise InternalError(f"store '{store_id}'", f"is {status}, but holds no slot", "admit or adopt it first")
    delta = _write_status(connection, locked, store, seen)
    if store.status == status:
        return
    slots.change(connection, locked, {store.owner: delta})
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


_INTENTS: Final[Select[Any]] = (
    select(intents, *_ACTOR).join(audit_logs, _IS_ITS_INTENT).where(intents.c.run_id == bindparam("of_run"))
)
_STORES: Final[Select[Any]] = select(stores.c.store_id, stores.c.owner, stores.c.status, stores.c.holds_slot).where(
    stores.c.environment == bindparam("environment"), stores.c.store_id.in_(bindparam("ids", expanding=True))
)


def _stores(connection: Connection, environment: str, ids: Sequence[str]) -> dict[str, Row[Any]]:
    return {row.store_id: row for row in connection.execute(_STORES, {"environment": environment, "ids": ids})}


def _as_it_is(run_id: str, outcome: StoreOutcome, rows: dict[str, Row[Any]]) -> StoreOutcome:
    """Return the outcome; of a creation that the engine never began, nothing exists, so the store is Pending again."""
    intent = rows.get(outcome.store_id)
    if intent is None:
        where, cure = f"run '{run_id}'", "give outcomes only for admitted changes"
        raise InternalError(where, f"store '{outcome.store_id}' was not admitted", cure)
    if intent.action == STORE_CREATE and not outcome.reached_engine:
        return replace(outcome, status="Pending")
    return outcome


def _is_new(run_id: str, outcome: StoreOutcome, rows: dict[str, Row[Any]]) -> bool:
    """Return whether the outcome is still to be recorded."""
    intent = rows[outcome.store_id]
    if intent.outcome is None:
        return True
    recorded = (intent.outcome, intent.status, intent.reason, intent.url, intent.metadata)
    given = (outcome.outcome, outcome.status, _reason(outcome), outcome.url, to_json(outcome.metadata))
    if recorded != given:
        raise LockedError(
            f"run '{run_id}', store '{outcome.store_id}'",
            f"its outcome is {outcome.outcome}, but {intent.outcome} was recorded meanwhile",
            "look with `stores status`, then run again",
        )
    return False


def _reason(outcome: StoreOutcome) -> str | None:
    return None if outcome.reason is None else entries.clean(outcome.reason, REASON_LENGTH)


def _check_fence(connection: Connection, run_id: str, rows: Sequence[Row[Any]], held: Sequence[Lease]) -> None:
    environment = rows[0].environment
    settled_under = leases.check_held(connection, environment, held, None)
    for cell, fencing in sorted({(row.cell, row.fencing) for row in rows if row.fencing is not None}):
        if cell not in settled_under and leases.current_fencing(connection, environment, cell) != fencing:
            raise LockedError(
                f"run '{run_id}', cell {environment}/{cell}",
                "the cell was taken over by another run, so this outcome is not accepted",
                "look with `stores status`; the next `stores up` closes what is open",
            )


def _write_status(connection: Connection, locked: slots.Counted, store: Row[Any], seen: Seen) -> int:
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
        values["since_at"] = locked.now
    if seen.status == "Ready":
        values["ready_at"] = locked.now
    if seen.url is not None:
        values["url"] = seen.url
    if seen.run_id is not None:
        values["run_id"] = seen.run_id
    this = (stores.c.environment == locked.environment, stores.c.store_id == store.store_id)
    connection.execute(update(stores).where(*this).values(**values))
    return int(holds) - int(store.holds_slot)


def _write_outcome(connection: Connection, now: datetime, intent: Row[Any], outcome: StoreOutcome) -> None:
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
    this = (intents.c.run_id == intent.run_id, intents.c.store_id == intent.store_id)
    connection.execute(update(intents).where(*this).values(**values))


def _outcome_entry(intent: Row[Any], outcome: StoreOutcome, actor: Actor | None) -> NewEntry:
    return NewEntry(
        actor=actor or _actor(intent),
        action=intent.action,
        outcome=outcome.outcome,
        environment=intent.environment,
        store_id=intent.store_id,
        owner=intent.owner,
        run_id=intent.run_id,
        reason=outcome.reason,
        metadata={**outcome.metadata, "status": outcome.status},
    )


def _write_adopted(connection: Connection, locked: slots.Counted, record: StoreRecord, row: Row[Any] | None) -> None:
    values: dict[str, Any] = {
        "name": record.name,
        "owner": record.owner,
        "cell": record.cell,
        "status": record.status,
        "status_reason": "found in the engine's state",
        "since_at": locked.now,
        "pending_until": None,
        "holds_slot": 1,
        "content": record.content,
    }
    if record.status == "Ready":
        # Who adopts has asked it: a store that sells is never taken for one that never did.
        values["ready_at"] = locked.now
    if record.url is not None:
        values["url"] = record.url
    if row is None:
        keys = {"environment": locked.environment, "store_id": record.store_id}
        connection.execute(insert(stores).values(**keys, **values, created_at=locked.now))
    else:
        this = (stores.c.environment == locked.environment, stores.c.store_id == record.store_id)
        connection.execute(update(stores).where(*this).values(**values))
