"""One request, one effect: what a client may send again under its key.

A key belongs to the actor who used it and is kept for seven days. A run that succeeded answers for its key; one that
failed may be resumed under it; one that is still open says so. A request of which nothing was admitted claims no key,
because it may well succeed later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from audit import chain
from audit.records import IDEMPOTENCY_KEPT, Replay, RunRequest, StoreOutcome
from audit.tables import audit_logs, idempotency_keys, intents
from stacks.errors import LockedError, UsageError

_KEY_LENGTH = 255


def check_key(key: str) -> None:
    """Raise UsageError for a key that cannot be kept as it is."""
    if not 0 < len(key) <= _KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise UsageError("idempotency key", f"{key[:50]!r} cannot be kept", "use 1 to 255 printable ASCII characters")


def fingerprint(request: RunRequest) -> str:
    """Return what was asked, as a hash: two requests under one key are the same if this is."""
    asked: dict[str, object] = {"environment": request.environment}
    if request.fingerprint is not None:
        asked["given"] = request.fingerprint
    else:
        asked["changes"] = [
            [c.store_id, c.name, c.owner, c.cell, c.action, c.metadata]
            for c in sorted(request.changes, key=lambda change: change.store_id)
        ]
    return hashlib.sha256(chain.to_json(asked).encode()).hexdigest()


def replay(connection: Connection, request: RunRequest, now: datetime) -> Replay | None:
    """Return the result of the same request if it has succeeded; None if the request may go on.

    Raises UsageError if the key was used for another request, LockedError if the same one is in flight.
    """
    row = connection.execute(select(idempotency_keys).where(*_is_claim_of(request))).one_or_none()
    if row is None or row.expires_at <= now:
        return None
    where = f"idempotency key '{request.idempotency_key}'"
    if row.fingerprint != fingerprint(request):
        what = f"was used for another request (run {row.run_id}, {row.claimed_at:%Y-%m-%dT%H:%M:%SZ})"
        raise UsageError(where, what, "use a new key for a new request")
    rows = connection.execute(select(intents).where(intents.c.run_id == row.run_id).order_by(intents.c.number)).all()
    if any(intent.outcome is None for intent in rows):
        what = f"the same request is in flight since {row.claimed_at:%Y-%m-%dT%H:%M:%SZ} (run {row.run_id})"
        raise LockedError(where, what, "wait for its end; if it crashed, `stores up` closes it first")
    if all(intent.outcome == "success" for intent in rows) and not _was_denied_in_part(connection, row.run_id):
        return Replay(row.run_id, tuple(_outcome(intent) for intent in rows), _finished_at(rows))
    return None


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


def _is_claim_of(request: RunRequest) -> tuple[Any, ...]:
    keys = idempotency_keys.c
    return (
        keys.actor_kind == request.actor.kind,
        keys.actor == request.actor.name,
        keys.key == request.idempotency_key,
    )


def _was_denied_in_part(connection: Connection, run_id: str) -> bool:
    denied = select(audit_logs.c.seq).where(audit_logs.c.run_id == run_id, audit_logs.c.outcome == "denied").limit(1)
    return connection.execute(denied).one_or_none() is not None


def _outcome(row: Row[Any]) -> StoreOutcome:
    return StoreOutcome(
        row.store_id, row.outcome, row.status, row.reason, row.url, metadata=chain.from_json(row.metadata)
    )


def _finished_at(rows: Sequence[Row[Any]]) -> datetime:
    moments: list[datetime] = [row.settled_at for row in rows]
    return max(moments)
