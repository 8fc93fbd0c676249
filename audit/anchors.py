"""Anchors: the end of the log at some moment, kept where the database's users cannot write.

One JSON object per line, so that a collector of logs can keep them as well as a file. A line is written whole or, if
the machine dies in the middle, as a last line without its end, which is left out when reading.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stacks.errors import UsageError


@dataclass(frozen=True)
class Anchor:
    """The log had `seq` entries, and the last one's hash was `hash`."""

    chain_id: str
    seq: int
    hash: str
    at: datetime


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


def _parse(path: Path, number: int, line: str) -> Anchor:
    try:
        value = json.loads(line)
        at = datetime.fromisoformat(value["at"])
        return Anchor(str(value["chain_id"]), int(value["seq"]), str(value["hash"]), at.astimezone(UTC))
    except (ValueError, KeyError, TypeError):
        cure = "name a file of anchors; one that was edited proves nothing"
        raise UsageError(f"{path}:{number}", f"is no anchor: {line[:60]!r}", cure) from None
