"""Anchors: the end of the log at some moment, kept where the database's users cannot write.

One JSON object per line, so that a collector of logs can keep them as well as a file. A line is written whole or, if
the machine dies in the middle, as a last line without its end, which is left out when reading.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from stacks.errors import AuditIncompleteError, UsageError

VARIABLE: Final = "STORES_ANCHORS"
_STREAMS: Final[Mapping[str, int]] = {"stdout": 1, "stderr": 2}


@dataclass(frozen=True)
class Anchor:
    """The log had `seq` entries, and the last one's hash was `hash`."""

    chain_id: str
    seq: int
    hash: str
    at: datetime


class Log(Protocol):
    """What is asked of the log whose anchors are kept."""

    def anchor(self) -> Anchor:
        """Return the end of the log as it is now."""

    def holds(self, anchor: Anchor) -> bool:
        """Return whether the entry that was the last one then is still there, with its hash."""


def to_line(anchor: Anchor) -> str:
    """Return the anchor as one line of text, without its end."""
    at = anchor.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return json.dumps({"anchor": 1, "chain_id": anchor.chain_id, "seq": anchor.seq, "hash": anchor.hash, "at": at})


def append(path: Path, anchor: Anchor) -> None:
    """Leave the anchor on disk as the file's last line; what stood there stays. Several processes may do so at once.

    Only a last line without its end goes: the next one would else be written onto it, and the file be read no more.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _cut_torn_line(descriptor)
        os.write(descriptor, f"{to_line(anchor)}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cut_torn_line(descriptor: int) -> None:
    """Leave the file ending with a whole line."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        text = os.pread(descriptor, size, 0)
        os.ftruncate(descriptor, text.rfind(b"\n") + 1)


def read(path: Path) -> tuple[Anchor, ...]:
    """Return the file's anchors in their order. Raises UsageError if it is missing or holds something else."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(str(path), f"cannot be read: {error}", "name the file that anchors were kept in") from None
    whole, _, _torn = text.rpartition("\n")
    return tuple(_parse(path, number, line) for number, line in enumerate(whole.split("\n"), 1) if line.strip())


def check_follows(path: Path, earlier: Sequence[Anchor], log: Log) -> Anchor:
    """Return the log's end; raise unless it can follow the anchors in the file.

    UsageError: they are of another log. AuditIncompleteError: the log was cut, or rewritten, whatever was written
    behind that, or another copy of the database was put in its place.
    """
    end = log.anchor()
    if strangers := [anchor for anchor in earlier if anchor.chain_id != end.chain_id]:
        what = f"its anchor of {_told(strangers[0].at)} is of another log"
        raise UsageError(str(path), what, "keep the anchors of each ledger in a file of their own")
    before = max(earlier, key=lambda anchor: anchor.seq, default=end)
    cure = f"run `stores audit verify --anchor {path}`, and follow docs/runbooks/exit-9.md"
    if end.seq < before.seq or (end.seq == before.seq and end.hash != before.hash):
        raise AuditIncompleteError(
            "audit log",
            f"it ends at entry {end.seq}, hash {end.hash[:12]}, but on {_told(before.at)} it ended at {before.seq}, "
            f"hash {before.hash[:12]}",
            cure,
        )
    # A later hash proves an earlier one, so the last anchor stands for all of them.
    if end.seq > before.seq and not log.holds(before):
        raise AuditIncompleteError(
            "audit log",
            f"its entry {before.seq} is not the one that was the last on {_told(before.at)}, hash {before.hash[:12]}: "
            f"entries were rewritten, and {end.seq - before.seq} written behind them",
            cure,
        )
    return end


@dataclass(frozen=True)
class Keeper:
    """Keeps anchors of one log by itself: in a file, and on a stream for collectors of logs where it was asked for."""

    file: Path
    streams: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, root: Path, environment: str, chain_id: str, chosen: str | None = None, *, stdout_taken: bool = False
    ) -> Keeper:
        """Return the keeper of a log. `chosen` is $STORES_ANCHORS: files and `stdout` or `stderr`, with commas.

        `stdout_taken`: what is meant for stdout goes to stderr, because stdout is for one document alone.
        """
        names = [name.strip() for name in (chosen or "").split(",") if name.strip()]
        streams = tuple(_STREAMS[name] for name in names if name in _STREAMS)
        if stdout_taken:
            streams = (_STREAMS["stderr"],) if streams else ()
        files = [Path(name) for name in names if name not in _STREAMS]
        if len(files) > 1:
            raise UsageError(VARIABLE, f"it names {len(files)} files", "name one file, and stdout or stderr beside it")
        default = root / ".stores" / "anchors" / f"{environment}-{chain_id}.jsonl"
        return cls(files[0] if files else default, streams)

    def check(self, log: Log) -> None:
        """Raise AuditIncompleteError if the log is shorter than it was, ends otherwise, or was rewritten since."""
        if self.file.exists():
            # The file first: another run may keep a later end between the two.
            earlier = read(self.file)
            check_follows(self.file, earlier, log)

    def keep(self, log: Log, *, every: int = 1, tell: Callable[[str], None] = lambda _text: None) -> bool:
        """Leave the log's end kept if it has `every` entries more than at the last anchor; return whether it has.

        A stream that cannot be written to is told: the end is kept in the file all the same.
        """
        earlier = read(self.file) if self.file.exists() else ()
        end = check_follows(self.file, earlier, log)
        if end.seq - max((anchor.seq for anchor in earlier), default=0) < every:
            return False
        append(self.file, end)
        for stream in self.streams:
            try:
                os.write(stream, f"{to_line(end)}\n".encode())
            except OSError as error:
                tell(f"the log's end is kept in {self.file}, but not on {_name_of(stream)}: {error.strerror}")
        return True


def _name_of(stream: int) -> str:
    return next((name for name, number in _STREAMS.items() if number == stream), str(stream))


def _told(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _parse(path: Path, number: int, line: str) -> Anchor:
    try:
        value = json.loads(line)
        at = datetime.fromisoformat(value["at"])
        return Anchor(str(value["chain_id"]), int(value["seq"]), str(value["hash"]), at.astimezone(UTC))
    except (ValueError, KeyError, TypeError):
        cure = "name a file of anchors; one that was edited proves nothing"
        raise UsageError(f"{path}:{number}", f"is no anchor: {line[:60]!r}", cure) from None
