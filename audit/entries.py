"""The audit log's rows: appended under the head row's lock, read with filters. The only writer of `audit_logs`."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, Select, bindparam, func, insert, select, text, update

from audit import chain, deferral
from audit.database import Clock
from audit.records import Entry, NewEntry
from audit.tables import HEAD_ID, NAME_LENGTH, REASON_LENGTH, audit_head, audit_logs, to_us
from stacks.errors import UsageError

_LONG_NAME: Final = 255
_METADATA_LENGTH: Final = 60_000


_INSERT: Final = insert(audit_logs)
# Into a variable that nobody reads: an answer would need a way of its own.
_HOLD: Final = text("SELECT seq INTO @held FROM audit_head FOR UPDATE")  # it has one row
_MOVE_HEAD: Final = (
    update(audit_head).where(audit_head.c.id == HEAD_ID).values(seq=bindparam("new_seq"), hash=bindparam("new_hash"))
)


@lru_cache(maxsize=8)
def _locked_head(clock: Clock) -> Select[Any]:
    query = select(audit_head.c.seq, audit_head.c.hash, clock.label("now"))
    return query.where(audit_head.c.id == HEAD_ID).with_for_update()


class Head(NamedTuple):
    """The end of the log, and the database's time, read under the lock."""

    seq: int
    hash: str
    now: datetime


def new_id() -> str:
    """Return the id of an entry to be written. Who keeps it can find out whether the entry was written."""
    return str(uuid.uuid4())


def checked_id(entry_id: str) -> str:
    """Return an id that a caller has chosen, in its one form; raises UsageError if it is no UUID."""
    try:
        return str(uuid.UUID(entry_id))
    except ValueError:
        what, cure = f"{clean(entry_id, 64)!r} is no id of an entry", "make one by audit.events.entry_id"
        raise UsageError("audit log", what, cure) from None


def check_same(written: Entry, entry: NewEntry) -> None:
    """Raise UsageError unless `written` is what recording `entry` leaves: two things can never share an id."""
    row = _row(entry, written.entry_id, written.seq, written.recorded_at)
    row["metadata"] = chain.from_json(row["metadata"])
    # The owner is looked up when it is written, and may be another since; the rest is what was told.
    own = {"recorded_at", "owner", *(["occurred_at"] if entry.occurred_at is None else [])}
    if other := sorted(name for name, value in row.items() if name not in own and getattr(written, name) != value):
        raise UsageError(
            f"entry {written.entry_id}",
            f"it is on record already, with another {', '.join(other)}",
            "give each event an id of its own; nothing was recorded",
        )


def hold(connection: Connection) -> None:
    """Leave the head row locked when the next statement is executed; on SQLite a writer has it already."""
    if connection.dialect.name != "sqlite":
        connection.execute(_HOLD, execution_options=deferral.DEFERRED)


def append(
    connection: Connection,
    clock: Clock,
    entries: Sequence[NewEntry],
    ids: Sequence[str] | None = None,
    *,
    head: Head | None = None,
) -> list[Entry]:
    """Return the entries as written at the end of the chain, in the given order.

    The head row is locked from here to the end of the transaction: call this last, or give the `head` that was read
    after `hold`. (Locking the log's last row instead forks the chain; tried: 544 of 800 entries.)
    """
    if not entries:
        return []
    head = head or Head(*connection.execute(_locked_head(clock)).one())
    seq, prev_hash = head.seq, head.hash
    rows: list[dict[str, Any]] = []
    for entry, entry_id in zip(entries, ids or [new_id() for _ in entries], strict=True):
        seq += 1
        row = _row(entry, entry_id, seq, head.now)
        row["prev_hash"] = prev_hash
        row["hash"] = prev_hash = chain.entry_hash(prev_hash, [_stored(row[name]) for name in chain.HASHED_COLUMNS])
        rows.append(row)
    deferral.later(connection, _INSERT, rows)
    deferral.later(connection, _MOVE_HEAD, [{"new_seq": seq, "new_hash": prev_hash}])
    return [Entry(**{**row, "metadata": chain.from_json(row["metadata"])}) for row in rows]


def wait(connection: Connection, clock: Clock) -> None:
    """Return when no writer is under way any more; none begins until the transaction ends."""
    connection.execute(_locked_head(clock))


def find(connection: Connection, clock: Clock, entry_id: str) -> Entry | None:
    """Return the entry with that id. It waits for a writer that is still under way."""
    wait(connection, clock)
    row = connection.execute(select(audit_logs).where(audit_logs.c.entry_id == entry_id)).one_or_none()
    return None if row is None else to_entry(row)


def listed(
    connection: Connection,
    environment: str | None,
    *,
    store_id: str | None,
    owner: str | None,
    actor: str | None,
    action: str | None,
    run_id: str | None,
    since_at: datetime | None,
    until_at: datetime | None,
    outcome: str | None,
    limit: int,
    ascending: bool,
    after_seq: int | None = None,
    before_seq: int | None = None,
) -> list[Entry]:
    """Return at most `limit` entries that fit every given filter: the newest first, or the oldest."""
    query: Select[Any] = select(audit_logs)
    for column, value in (
        (audit_logs.c.environment, environment),
        (audit_logs.c.store_id, store_id),
        (audit_logs.c.owner, owner),
        (audit_logs.c.actor, actor),
        (audit_logs.c.action, action),
        (audit_logs.c.run_id, run_id),
        (audit_logs.c.outcome, outcome),
    ):
        if value is not None:
            query = query.where(column == value)
    if since_at is not None:
        query = query.where(audit_logs.c.recorded_at >= since_at)
    if until_at is not None:
        query = query.where(audit_logs.c.recorded_at < until_at)
    if after_seq is not None:
        query = query.where(audit_logs.c.seq > after_seq)
    if before_seq is not None:
        query = query.where(audit_logs.c.seq < before_seq)
    order = audit_logs.c.seq.asc() if ascending else audit_logs.c.seq.desc()
    return [to_entry(row) for row in connection.execute(query.order_by(order).limit(limit))]


def last_successes(connection: Connection, environment: str, action: str) -> dict[str, datetime]:
    """Return when an action last succeeded, by the store."""
    columns = audit_logs.c
    query = (
        select(columns.store_id, func.max(columns.occurred_at))
        .where(columns.environment == environment, columns.action == action, columns.outcome == "success")
        .where(columns.store_id.is_not(None))
        .group_by(columns.store_id)
    )
    return {str(store_id): at for store_id, at in connection.execute(query)}


def one(connection: Connection, reference: int | str) -> Entry | None:
    """Return the entry with that number, or with that id."""
    column = audit_logs.c.seq if isinstance(reference, int) else audit_logs.c.entry_id
    row = connection.execute(select(audit_logs).where(column == reference)).one_or_none()
    return None if row is None else to_entry(row)


def last_seq(connection: Connection) -> int:
    """Return the number of the last entry; every entry up to there is committed. 0: there is none."""
    return int(connection.execute(select(audit_head.c.seq).where(audit_head.c.id == HEAD_ID)).scalar_one())


def page(connection: Connection, *, after: int, until: int, limit: int) -> list[Entry]:
    """Return the first `limit` entries with numbers behind `after` and up to `until`, by number."""
    query = select(audit_logs).where(audit_logs.c.seq > after, audit_logs.c.seq <= until)
    return [to_entry(row) for row in connection.execute(query.order_by(audit_logs.c.seq).limit(limit))]


def to_entry(row: Row[Any]) -> Entry:
    """Return a row of `audit_logs` as an entry."""
    values = row._asdict()
    return Entry(**{**values, "metadata": chain.from_json(values["metadata"])})


def clean(text: str, length: int) -> str:
    """Return text that every database stores as it is: lone surrogates escaped, what is too long cut with a mark."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= length else text[: length - 1] + "…"


def _row(entry: NewEntry, entry_id: str, seq: int, now: datetime) -> dict[str, Any]:
    metadata = chain.to_json(entry.metadata)
    if len(metadata) > _METADATA_LENGTH:
        metadata = chain.to_json({"too_long": len(metadata), "begins": metadata[:1000]})
    return {
        "seq": seq,
        "entry_id": entry_id,
        "run_id": _optional(entry.run_id, NAME_LENGTH),
        "actor": clean(entry.actor.name, _LONG_NAME),
        "actor_kind": entry.actor.kind,
        "source_ip": _optional(entry.actor.source_ip, 64),
        "occurred_at": now if entry.occurred_at is None else entry.occurred_at,
        "recorded_at": now,
        "environment": _optional(entry.environment, NAME_LENGTH),
        "store_id": _optional(entry.store_id, _LONG_NAME),
        "owner": _optional(entry.owner, _LONG_NAME),
        "action": clean(entry.action, NAME_LENGTH),
        "outcome": entry.outcome,
        "reason": _optional(entry.reason, REASON_LENGTH),
        "metadata": metadata,
    }


def _optional(text: str | None, length: int) -> str | None:
    return None if text is None else clean(text, length)


def _stored(value: object) -> chain.Stored:
    """Return a value as its column stores it."""
    if isinstance(value, datetime):
        return to_us(value)
    assert value is None or isinstance(value, (int, str))  # noqa: S101 - rows are made above
    return value
