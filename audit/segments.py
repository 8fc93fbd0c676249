"""Closed segments of the audit log: archived into a file, purged from the database, and still part of the chain.

A purge is an entry of the log itself: it names the last archived entry, its hash and the file's digest. So the log
begins at a checkpoint that its own chain vouches for, and the file can be proven on its own at any time. What lies
before the checkpoint is no part of the log any more; it goes in short batches, between which others can write.
Only the database's owner can do it: the application has no right to delete entries or to move the log's beginning.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy import Connection, delete, func, select, update

from audit import chain, entries, failures, leases
from audit.database import Clock, Database
from audit.records import AUDIT_ARCHIVE, Actor, Lease, NewEntry
from audit.tables import HEAD_ID, audit_head, audit_logs, intents
from audit.verification import walk
from stacks.errors import AuditIncompleteError, DatabaseUnreachableError, StoresError, UsageError

# Younger entries are needed: idempotency keys, hourly limits and open runs look back.
KEPT_AT_LEAST: Final = timedelta(days=30)
_FORMAT: Final = 1
# How many entries one transaction removes: a writer may have to wait for one of them, so it must stay short.
_BATCH: Final = 2000


@dataclass(frozen=True)
class Segment:
    """A closed part of the log: entries `first_seq` to `last_seq`, whole and in order, in a file."""

    chain_id: str
    first_seq: int
    last_seq: int
    prev_hash: str
    last_hash: str
    sha256: str

    @property
    def entries(self) -> int:
        """How many entries it holds."""
        return self.last_seq - self.first_seq + 1


def archive(
    database: Database,
    file: Path,
    *,
    before: datetime,
    actor: Actor,
    reason: str | None,
    run_id: str | None = None,
    held: Sequence[Lease] = (),
) -> Segment | None:
    """Leave every entry from before `before` in `file`, on disk, and purge them; None if there is none.

    Nothing is purged that is not whole, younger than KEPT_AT_LEAST, or the intent of a run without an outcome. What an
    earlier call has archived and could not remove is removed first. The entry of it is of `run_id`, and nothing is
    purged once one of the leases that are `held` was lost.
    Raises UsageError if the file exists, AuditIncompleteError if the chain is broken, and DatabaseUnreachableError,
    which says whether the entries are archived.
    """
    if file.exists():
        raise _taken(file)
    _remove(database)
    plan = database.read(lambda connection: _plan(connection, database.clock, before))
    if plan is None:
        return None
    segment = _write(database, file, plan)

    def purge(connection: Connection) -> Segment:
        if held:
            leases.check_held(connection, held[0].environment, held, None)
        return _purge(connection, database.clock, segment, file, by=(actor, reason, run_id))

    try:
        database.write(purge, find=lambda c: segment if _purged(c, database.clock) >= segment.last_seq else None)
    except BaseException as error:
        purged = _looked(database)
        if purged is not None and purged < segment.last_seq:
            file.unlink(missing_ok=True)
            raise
        if not isinstance(error, DatabaseUnreachableError):
            raise
        if purged is None:
            raise DatabaseUnreachableError(
                str(file),
                f"entries {segment.first_seq} to {segment.last_seq} are in it, but whether they were purged from the "
                f"database is not known: {failures.without_claim(error.problems[0].what)}",
                "keep it, and run again with a new file: once that is done and begins with the same line, this may go",
            ) from error
    try:
        _remove(database)
    except DatabaseUnreachableError as error:
        raise DatabaseUnreachableError(
            str(file),
            f"entries {segment.first_seq} to {segment.last_seq} are archived in it, but not all of them could be "
            f"removed from the database: {error.problems[0].what}",
            "keep the file; the next `stores audit archive` removes the rest",
        ) from error
    return segment


def read(file: Path) -> Segment:
    """Return the segment in an archive after proving that it is whole: every seal, and its last line's digest.

    Raises UsageError for a file that is no archive, AuditIncompleteError for one that was changed.
    """
    try:
        with file.open("rb") as stream:
            return _prove(file, stream)
    except OSError as error:
        raise UsageError(str(file), f"cannot be read: {error.strerror}", "name a file of archived entries") from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            str(file), "is no archive of entries", "name a file that `stores audit archive` wrote"
        ) from None


def check_sequence(segments: Sequence[Segment], begins_at: int, purged_hash: str) -> None:
    """Raise AuditIncompleteError unless the segments, in order, reach without a gap to where the log begins."""
    for before, after in pairwise(segments):
        if (after.first_seq, after.prev_hash) != (before.last_seq + 1, before.last_hash):
            raise _broken(f"entries {before.last_seq + 1} to {after.first_seq - 1} are in no archive", "give all files")
    last = segments[-1]
    if (last.last_seq + 1, last.last_hash) != (begins_at, purged_hash):
        what = f"the last archive ends at entry {last.last_seq}, but the log begins at {begins_at}"
        raise _broken(what, "give the archives of this log, up to the latest")


@dataclass(frozen=True)
class _Plan:
    chain_id: str
    after: int
    prev_hash: str
    until: int


def _plan(connection: Connection, clock: Clock, before: datetime) -> _Plan | None:
    head = connection.execute(select(audit_head, clock.label("now")).where(audit_head.c.id == HEAD_ID)).one()
    latest = head.now - KEPT_AT_LEAST
    if before > latest:
        cure = f"name a time before {latest:%Y-%m-%dT%H:%M:%SZ}"
        raise UsageError("archive", f"entries of the last {KEPT_AT_LEAST.days} days are still needed", cure)
    # By number, not by time: the last entry before the first one that must stay.
    stays = select(func.min(audit_logs.c.seq)).where(audit_logs.c.recorded_at >= before)
    open_intent = (
        select(func.min(audit_logs.c.seq))
        .join(intents, (intents.c.run_id == audit_logs.c.run_id) & (intents.c.store_id == audit_logs.c.store_id))
        .where(intents.c.outcome.is_(None))
    )
    bounds = [connection.execute(query).scalar_one() for query in (stays, open_intent)]
    until = min([head.seq, *(bound - 1 for bound in bounds if bound is not None)])
    if until <= head.purged_seq:
        return None
    prev_hash = head.purged_hash if head.purged_seq else chain.genesis_hash(head.chain_id)
    return _Plan(head.chain_id, head.purged_seq, prev_hash, until)


def _write(database: Database, file: Path, plan: _Plan) -> Segment:
    """Write the entries with their seals, in flat memory, and prove the chain while doing so."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            segment = database.read(lambda connection: _copy(connection, plan, stream))
            stream.flush()
            os.fsync(stream.fileno())
        # Never over a file that has come into being meanwhile: it may be the only copy of what another has purged.
        file.hardlink_to(temporary)
    except FileExistsError:
        raise _taken(file) from None
    finally:
        temporary.unlink(missing_ok=True)
    return segment


def _copy(connection: Connection, plan: _Plan, stream: IO[bytes]) -> Segment:
    stream.seek(0)
    stream.truncate()
    digest, last_hash = hashlib.sha256(), plan.prev_hash
    names = (*chain.HASHED_COLUMNS, "prev_hash", "hash")
    first = {
        "archive": _FORMAT,
        "chain_id": plan.chain_id,
        "first_seq": plan.after + 1,
        "prev_hash": plan.prev_hash,
    }
    line = _line(first)
    stream.write(line)
    digest.update(line)
    for row in _sealed(connection, plan):
        line = _line(dict(zip(names, row, strict=True)))
        stream.write(line)
        digest.update(line)
        last_hash = row[-1]
    stream.write(_line({"end": plan.until, "hash": last_hash, "sha256": digest.hexdigest()}))
    return Segment(plan.chain_id, plan.after + 1, plan.until, plan.prev_hash, last_hash, digest.hexdigest())


def _sealed(connection: Connection, plan: _Plan) -> Iterator[tuple[Any, ...]]:
    seq, prev_hash = plan.after, plan.prev_hash
    for row in walk(connection, plan.until, after=plan.after):
        if row[0] != seq + 1 or row[-2] != prev_hash or chain.entry_hash(prev_hash, row[:-2]) != row[-1]:
            raise _broken(f"entry {seq + 1} is not what was written", "run `stores audit verify`; nothing was purged")
        seq, prev_hash = row[0], row[-1]
        yield row
    if seq != plan.until:
        raise _broken(f"entry {seq + 1} is not there", "run `stores audit verify`; nothing was purged")


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _prove(file: Path, stream: IO[bytes]) -> Segment:
    line = next(iter(stream), b"")
    first = json.loads(line)
    if first["archive"] != _FORMAT:
        raise ValueError(first["archive"])
    digest = hashlib.sha256(line)
    seq, prev_hash = int(first["first_seq"]) - 1, str(first["prev_hash"])
    for line in stream:
        value = json.loads(line)
        if "end" in value:
            if (value["end"], value["hash"], value["sha256"]) != (seq, prev_hash, digest.hexdigest()):
                raise _broken(f"{file} does not end as it was written", "use another copy of the archive")
            return Segment(
                first["chain_id"], int(first["first_seq"]), seq, first["prev_hash"], prev_hash, digest.hexdigest()
            )
        digest.update(line)
        values = [value[name] for name in chain.HASHED_COLUMNS]
        if value["seq"] != seq + 1 or chain.entry_hash(prev_hash, values) != value["hash"]:
            raise _broken(f"entry {seq + 1} in {file} is not what was written", "use another copy of the archive")
        seq, prev_hash = seq + 1, value["hash"]
    raise _broken(f"{file} ends behind entry {seq} without its last line", "use another copy of the archive")


def _purge(
    connection: Connection, clock: Clock, segment: Segment, file: Path, *, by: tuple[Actor, str | None, str | None]
) -> Segment:
    actor, reason, run_id = by
    entries.wait(connection, clock)
    head = connection.execute(select(audit_head).where(audit_head.c.id == HEAD_ID)).one()
    if head.purged_seq != segment.first_seq - 1:
        raise UsageError("archive", f"the log begins at entry {head.purged_seq + 1} by now", "run it again")
    said = {
        "first_seq": segment.first_seq,
        "last_seq": segment.last_seq,
        "last_hash": segment.last_hash,
        "sha256": segment.sha256,
        "file": file.name,
        "chain_id": segment.chain_id,
        "prev_hash": segment.prev_hash,
    }
    done = NewEntry(actor, AUDIT_ARCHIVE, "success", run_id=run_id, reason=reason, metadata=said)
    entries.append(connection, clock, [done])
    moved = {"purged_seq": segment.last_seq, "purged_hash": segment.last_hash}
    connection.execute(update(audit_head).where(audit_head.c.id == HEAD_ID).values(**moved))
    return segment


def _remove(database: Database) -> None:
    """Leave no entry that lies before where the log begins. Each batch is a transaction of its own."""
    while (first := database.read(_first_purged)) is not None:
        until = first + _BATCH

        def remove(connection: Connection, until: int = until) -> None:
            purged = select(audit_head.c.purged_seq).where(audit_head.c.id == HEAD_ID).scalar_subquery()
            connection.execute(delete(audit_logs).where(audit_logs.c.seq < until, audit_logs.c.seq <= purged))

        database.write(remove)


def _first_purged(connection: Connection) -> int | None:
    """Return the first entry that is still there though the log begins behind it; None: all are gone."""
    first = connection.execute(select(func.min(audit_logs.c.seq))).scalar_one()
    return None if first is None or first > _purged(connection, None) else int(first)


def _looked(database: Database) -> int | None:
    """Return behind which entry the log begins, once no purge is under way any more; None if that cannot be known.

    Without the head's lock a COMMIT that the server has not ended yet would not be seen, and could land later.
    """
    # Who has just waited for the database in vain does not wait once more.
    if database.hung is None:
        with suppress(StoresError):
            return database.write(lambda connection: _purged(connection, database.clock))
    return None


def _purged(connection: Connection, clock: Clock | None) -> int:
    if clock is not None:
        entries.wait(connection, clock)
    return int(connection.execute(select(audit_head.c.purged_seq).where(audit_head.c.id == HEAD_ID)).scalar_one())


def _taken(file: Path) -> UsageError:
    cure = "name a new file: an archive is never written over. This one was left by a call that was stopped, and may go"
    return UsageError(str(file), "it exists", f"{cure}, only if the new one begins with the same line")


def _broken(what: str, cure: str) -> AuditIncompleteError:
    return AuditIncompleteError("audit log", what, cure)
