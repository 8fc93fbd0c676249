"""One request, one effect: what a client may send again under its key.

A key belongs to the actor who used it and is kept for seven days. A run that succeeded answers for its key, whatever
has become due since; one that failed may be resumed under it; one that is still open says so. A request of which
nothing was admitted claims no key, because it may well succeed later. What a key stands for is read from the intents of
its run, or, of a command that is about no single store, from the entry that it leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, delete, insert, select, update

from audit import chain
from audit.records import COMMANDS, IDEMPOTENCY_KEPT, PART, Replay, RunRequest, StoreOutcome
from audit.tables import audit_logs, idempotency_keys, intents
from stacks.errors import LockedError, UsageError

_KEY_LENGTH = 255


def check_key(key: str) -> None:
    """Raise UsageError for a key that cannot be kept as it is."""
    if not 0 < len(key) <= _KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise UsageError("idempotency key", f"{key[:50]!r} cannot be kept", "use 1 to 255 printable ASCII characters")


def asked(command: str, **options: object) -> str:
    """Return what a command was asked for, to be a request's fingerprint: its name and every option that matters."""
    return chain.to_json({"command": command, **options})


def in_part(
    request: RunRequest, before: Sequence[str], *, more: bool
) -> tuple[RunRequest, Mapping[str, dict[str, object]]]:
    """Return the request of one part of it, and what its changes say of that, so that the key stands for the whole.

    `before`: the runs that have done the parts until now, in order. `more`: whether there is something to do after it.
    """
    if request.idempotency_key is None:
        return request, {}
    part: dict[str, object] = {"before": list(before), "more": more}
    return replace(request, follows=before[-1] if before else None), {PART: part}


def fingerprint(request: RunRequest) -> str:
    """Return what was asked, as a hash: two requests under one key are the same if this is."""
    known: dict[str, object] = {"environment": request.environment}
    if request.fingerprint is not None:
        known["given"] = request.fingerprint
    else:
        known["changes"] = [
            [c.store_id, c.name, c.owner, c.cell, c.action, c.metadata]
            for c in sorted(request.changes, key=lambda change: change.store_id)
        ]
    return hashlib.sha256(chain.to_json(known).encode()).hexdigest()


def replay(connection: Connection, request: RunRequest, now: datetime, *, alone: bool = False) -> Replay | None:
    """Return the result of the same request if it has succeeded; None if the request may go on.

    `alone`: nobody else can be at it, so a command about no single store that has left no result is over.
    Raises UsageError if the key was used for another request, LockedError if the same one is in flight.
    """
    row = _claim_of(connection, request, now)
    if row is None or row.run_id == request.follows:
        return None
    done = select(intents).where(intents.c.run_id == row.run_id).order_by(intents.c.number)
    last = connection.execute(done).all()
    if any(intent.outcome is None for intent in last):
        raise _in_flight(request, row, "`stores up` closes it first")
    if not last:
        return _of_command(connection, request, row, alone=alone)
    failed = any(intent.outcome != "success" for intent in last)
    before, more = _part(connection, row.run_id)
    if failed or more or _was_denied_in_part(connection, row.run_id):
        return None
    run_ids = (*before, row.run_id)
    found = connection.execute(select(intents).where(intents.c.run_id.in_(run_ids)).order_by(intents.c.number)).all()
    in_order = sorted(found, key=lambda intent: run_ids.index(intent.run_id))
    outcomes = {intent.store_id: _outcome(intent) for intent in in_order}
    return Replay(row.run_id, tuple(outcomes.values()), _finished_at(last), run_ids)


def runs_of(connection: Connection, request: RunRequest, now: datetime) -> tuple[str, ...]:
    """Return the runs that have done parts of the same request under its key, in order. Raises as `replay` does."""
    row = _claim_of(connection, request, now)
    return () if row is None else (*_part(connection, row.run_id)[0], row.run_id)


def claim(connection: Connection, request: RunRequest, now: datetime) -> None:
    """Leave the key with this request's run, for seven days; drop keys that have expired."""
    values = {
        "fingerprint": fingerprint(request),
        "run_id": request.run_id,
        "claimed_at": now,
        "expires_at": now + IDEMPOTENCY_KEPT,
    }
    connection.execute(delete(idempotency_keys).where(idempotency_keys.c.expires_at <= now))
    if connection.execute(update(idempotency_keys).where(*_is_claim_of(request)).values(values)).rowcount == 0:
        names = {"actor_kind": request.actor.kind, "actor": request.actor.name, "key": request.idempotency_key}
        connection.execute(insert(idempotency_keys).values(names | values))


def _claim_of(connection: Connection, request: RunRequest, now: datetime) -> Row[Any] | None:
    row = connection.execute(select(idempotency_keys).where(*_is_claim_of(request))).one_or_none()
    if row is None or row.expires_at <= now:
        return None
    if row.fingerprint != fingerprint(request):
        what = f"was used for another request (run {row.run_id}, {row.claimed_at:%Y-%m-%dT%H:%M:%SZ})"
        raise UsageError(_where(request), what, "use a new key for a new request")
    return row


def _where(request: RunRequest) -> str:
    return f"idempotency key '{request.idempotency_key}'"


def _is_claim_of(request: RunRequest) -> tuple[Any, ...]:
    keys = idempotency_keys.c
    return (
        keys.actor_kind == request.actor.kind,
        keys.actor == request.actor.name,
        keys.key == request.idempotency_key,
    )


def _part(connection: Connection, run_id: str) -> tuple[tuple[str, ...], bool]:
    """Return which runs did the parts of the request before this run's, and whether there is more to do after it."""
    of_run = (audit_logs.c.run_id == run_id, audit_logs.c.outcome == "unknown")
    text = connection.execute(select(audit_logs.c.metadata).where(*of_run).limit(1)).scalar_one_or_none()
    said = None if text is None else chain.from_json(text).get(PART)
    if said is None:
        return (), False
    part = cast("dict[str, Any]", said)
    return tuple(part["before"]), bool(part["more"])


def _was_denied_in_part(connection: Connection, run_id: str) -> bool:
    denied = select(audit_logs.c.seq).where(audit_logs.c.run_id == run_id, audit_logs.c.outcome == "denied").limit(1)
    return connection.execute(denied).one_or_none() is not None


def _outcome(row: Row[Any]) -> StoreOutcome:
    return StoreOutcome(
        row.store_id, row.outcome, row.status, row.reason, row.url, metadata=chain.from_json(row.metadata)
    )


def _of_command(connection: Connection, request: RunRequest, row: Row[Any], *, alone: bool) -> Replay | None:
    """Return the result of a command that changes no store by an intent: the one entry that its run has left."""
    entries = audit_logs.c
    query = select(entries.outcome, entries.metadata, entries.recorded_at)
    found = connection.execute(
        query.where(entries.run_id == row.run_id, entries.action.in_(COMMANDS)).order_by(entries.seq.desc()).limit(1)
    ).one_or_none()
    if found is None and not alone:
        raise _in_flight(request, row, "run it again once its lease has ended")
    if found is None or found.outcome != "success":
        return None
    return Replay(row.run_id, (), found.recorded_at, (row.run_id,), dict(chain.from_json(found.metadata)))


def _in_flight(request: RunRequest, row: Row[Any], cure: str) -> LockedError:
    since = f"{row.claimed_at:%Y-%m-%dT%H:%M:%SZ}"
    what = f"the same request is in flight since {since} (run {row.run_id})"
    return LockedError(_where(request), what, f"wait for its end; if it crashed, {cure}")


def _finished_at(rows: Sequence[Row[Any]]) -> datetime:
    moments: list[datetime] = [row.settled_at for row in rows]
    return max(moments)
