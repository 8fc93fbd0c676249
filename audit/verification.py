"""Whether the audit log is whole: every entry is read again, and its seal compared.

Without anchors, this finds what was done by somebody who could not, or did not care to, recompute all the hashes that
follow. With anchors that were kept elsewhere, it finds the rest: a rewrite with matching hashes, and a cut tail with a
matching head. Only the first thing that is wrong is named: what comes after it proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from sqlalchemy import BigInteger, Connection, func, select, type_coerce

from audit import chain
from audit.anchors import Anchor
from audit.database import Clock
from audit.records import AUDIT_ARCHIVE
from audit.tables import HEAD_ID, Moment, audit_head, audit_logs

Tampering = Literal["edit", "deletion", "insertion", "swap", "truncation", "rewrite"]
Stored = tuple[Any, ...]

_BATCH: Final = 5000
_ACTION: Final = chain.HASHED_COLUMNS.index("action")
_METADATA: Final = chain.HASHED_COLUMNS.index("metadata")
_COLUMNS: Final = (*chain.HASHED_COLUMNS, "prev_hash", "hash")
_SELECTED: Final = [
    # As stored: no time is made of a number that is hashed as a number.
    type_coerce(audit_logs.c[name], BigInteger).label(name)
    if isinstance(audit_logs.c[name].type, Moment)
    else audit_logs.c[name]
    for name in _COLUMNS
]


@dataclass(frozen=True)
class Verification:
    """Whether the log is whole, as far as the given anchors reach; else the first bad entry and what was done to it."""

    entries: int
    """How many entries are proven to be whole."""
    first_bad_seq: int | None = None
    tampering: Tampering | None = None
    detail: str = ""
    begins_at: int = 1
    """The first entry that is there; those before it were archived and purged, which is on record itself."""

    @property
    def ok(self) -> bool:
        """Return whether no entry was changed, taken away or added."""
        return self.tampering is None

    def __str__(self) -> str:
        if self.ok:
            since = "" if self.begins_at == 1 else f" since the checkpoint at entry {self.begins_at - 1}"
            return f"{self.entries} entries{since}, chain unbroken"
        return f"entry {self.first_bad_seq}: {self.tampering}: {self.detail}"


@dataclass(frozen=True)
class _Sealed:
    """One entry as stored, with questions about its seal."""

    row: Stored

    @property
    def seq(self) -> int:
        return int(self.row[0])

    @property
    def prev_hash(self) -> str:
        return str(self.row[-2])

    @property
    def hash(self) -> str:
        return str(self.row[-1])

    def fits(self, *, seq: int, prev_hash: str, sealed: str) -> bool:
        """Return whether the contents, with that number, after that entry, have that hash."""
        return chain.entry_hash(prev_hash, (seq, *self.row[1:-2])) == sealed

    def was(self, seq: int) -> bool:
        """Return whether the entry was written as number `seq`, by its own seal."""
        return self.fits(seq=seq, prev_hash=self.prev_hash, sealed=self.hash)


def anchor(connection: Connection, clock: Clock) -> Anchor:
    """Return the end of the log as it is now."""
    row = connection.execute(select(audit_head, clock.label("now")).where(audit_head.c.id == HEAD_ID)).one()
    return Anchor(row.chain_id, row.seq, row.hash, row.now)


def holds(connection: Connection, anchor: Anchor) -> bool:
    """Return whether the entry that was the last one at the anchor is still there, with its hash.

    True also where it was archived and purged since: then the checkpoint answers for it, see `verify`.
    """
    head = connection.execute(select(audit_head).where(audit_head.c.id == HEAD_ID)).one()
    if anchor.chain_id != head.chain_id:
        return False
    if anchor.seq < head.purged_seq:
        return True
    if anchor.seq == head.purged_seq:
        return anchor.hash == (head.purged_hash if head.purged_seq else chain.genesis_hash(head.chain_id))
    found = connection.execute(select(audit_logs.c.hash).where(audit_logs.c.seq == anchor.seq)).scalar_one_or_none()
    return bool(found == anchor.hash)


def verify(connection: Connection, anchors: Sequence[Anchor]) -> Verification:
    """Return what a walk over the whole chain finds, in flat memory. Entries written meanwhile are left out."""
    last = select(func.max(audit_logs.c.seq)).scalar_subquery()
    # One statement, so that both are of the same moment.
    head = connection.execute(select(audit_head, last.label("last")).where(audit_head.c.id == HEAD_ID)).one()
    strangers = [a for a in anchors if a.chain_id != head.chain_id]
    if strangers:
        return Verification(0, 1, "rewrite", f"the anchor of {strangers[0].at:%Y-%m-%dT%H:%M:%SZ} is of another log")
    start = head.purged_seq
    expected = {a.seq: a.hash for a in anchors if a.seq >= start}
    seq, prev_hash = start, head.purged_hash if start else chain.genesis_hash(head.chain_id)
    if start and expected.get(start, prev_hash) != prev_hash:
        return Verification(0, start, "rewrite", f"the checkpoint {start} is not the anchor's")
    proven, checkpoint = start, start == 0
    for row in walk(connection, head.seq, after=start):
        if row[0] != seq + 1 or row[-2] != prev_hash or chain.entry_hash(prev_hash, row[:-2]) != row[-1]:
            return _since(start, _diagnose(connection, seq + 1, prev_hash, head.seq))
        seq, prev_hash = row[0], row[-1]
        checkpoint = checkpoint or _is_checkpoint(row, start, head.purged_hash)
        if seq in expected:
            if expected[seq] != prev_hash:
                where = f"somewhere from entry {proven + 1} to {seq}"
                found = Verification(proven, proven + 1, "rewrite", f"{where}: hash {seq} is not the anchor's")
                return _since(start, found)
            proven = seq
    ended = _check_end((seq, prev_hash), head, max(expected, default=0), proven)
    if ended.ok and not checkpoint:
        what = f"the log begins behind entry {start}, but no entry says that the rest was archived"
        return Verification(0, 1, "deletion", what)
    return _since(start, ended)


def _since(start: int, found: Verification) -> Verification:
    """Return the verification of a log that begins behind entry `start`: only what is there is counted."""
    return replace(found, entries=max(found.entries - start, 0), begins_at=start + 1)


def _is_checkpoint(row: Stored, start: int, start_hash: str) -> bool:
    """Return whether the entry says that everything up to `start` was archived."""
    if row[_ACTION] != AUDIT_ARCHIVE:
        return False
    said = chain.from_json(row[_METADATA])
    return (said.get("last_seq"), said.get("last_hash")) == (start, start_hash)


def _check_end(last: tuple[int, str], head: Any, anchored: int, proven: int) -> Verification:
    """Return whether the log ends where its head and the latest anchor say."""
    seq, prev_hash = last
    if seq < head.seq:
        return Verification(seq, seq + 1, "truncation", f"the log ends at {seq}, but its head says {head.seq}")
    if prev_hash != head.hash:
        return Verification(seq - 1, seq, "edit", "its hash is not the one that the head holds")
    if (head.last or 0) > head.seq:
        return Verification(seq, seq + 1, "insertion", f"the log goes on to {head.last}, but its head says {head.seq}")
    if seq < anchored:
        doubt = f"; from {proven + 1} on, no anchor says that it is the same log" if proven < seq else ""
        what = f"the log and its head end at {seq}, an anchor says {anchored}{doubt}"
        return Verification(proven, seq + 1, "truncation", what)
    return Verification(seq)


def walk(connection: Connection, until: int, after: int = 0) -> Iterator[Stored]:
    """Yield the entries up to `until` by number."""
    while True:
        query = select(*_SELECTED).where(audit_logs.c.seq > after, audit_logs.c.seq <= until)
        rows = connection.execute(query.order_by(audit_logs.c.seq).limit(_BATCH)).all()
        yield from map(tuple, rows)
        if len(rows) < _BATCH:
            return
        after = rows[-1].seq


def _diagnose(connection: Connection, seq: int, prev_hash: str, head_seq: int) -> Verification:
    """Return what was done at `seq`, where the chain is good up to `prev_hash`."""
    found = _one(connection, audit_logs.c.seq == seq)
    # The entry that was really written next, wherever it is now.
    genuine = _one(connection, (audit_logs.c.prev_hash == prev_hash) & (audit_logs.c.seq != seq))
    moved = genuine if genuine is not None and genuine.was(seq) else None
    if found is None:
        if moved is not None:
            return Verification(seq - 1, seq, "edit", f"its number was changed to {moved.seq}")
        return Verification(seq - 1, seq, "deletion", "it is not there")
    if moved is not None:
        if found.was(moved.seq):
            return Verification(seq - 1, seq, "swap", f"it and entry {moved.seq} have changed places")
        return Verification(seq - 1, seq, "insertion", f"it was added; the real entry {seq} is now {moved.seq}")
    if found.prev_hash != prev_hash and found.was(seq):
        # Whole in itself: what it was written after is not what stands there now.
        before = max(seq - 1, 1)
        return Verification(before - 1, before, "edit", f"entry {seq} was written after another one")
    return _misplaced(connection, seq, found, head_seq)


def _misplaced(connection: Connection, seq: int, found: _Sealed, head_seq: int) -> Verification:
    """Return what was done at `seq`, where stands what was never written there."""
    origin = next((number for number in range(seq + 1, seq + head_seq + 1) if found.was(number)), None)
    if origin is not None:
        return Verification(seq - 1, seq, "deletion", f"what stands there was entry {origin}")
    place = _place_of(connection, found, head_seq)
    if place is not None:
        return Verification(seq - 1, seq, "swap", f"it has the contents of entry {place}")
    return Verification(seq - 1, seq, "edit", "its contents do not fit its hash")


def _place_of(connection: Connection, found: _Sealed, head_seq: int) -> int | None:
    """Return the number of the entry whose seal fits the contents of `found`, or in whose place its own seal fits."""
    for row in walk(connection, head_seq):
        seals = {row[-1], found.hash}
        if row[0] != found.seq and any(found.fits(seq=row[0], prev_hash=row[-2], sealed=seal) for seal in seals):
            return int(row[0])
    return None


def _one(connection: Connection, condition: Any) -> _Sealed | None:
    row = connection.execute(select(*_SELECTED).where(condition).order_by(audit_logs.c.seq).limit(1)).one_or_none()
    return None if row is None else _Sealed(tuple(row))
