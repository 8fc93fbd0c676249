"""What the machine knows about processes: who is who's child, since when, and how much memory they hold."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Identity:
    """A process that no later one with the same number can be taken for."""

    boot_id: str
    pid: int
    start_ticks: int


def boot_id() -> str:
    """Return the name of the machine's current run, from one boot to the next."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> Identity | None:
    """Return the identity of a process that runs now; None when there is none, or it has ended already."""
    fields = _stat(pid)
    if fields is None or fields[0] == "Z":
        return None
    return Identity(boot_id(), pid, int(fields[19]))


def is_alive(identity: Identity) -> bool:
    """Return whether this very process still runs."""
    return identify(identity.pid) == identity


def descendants(pid: int) -> Sequence[Identity]:
    """Return every process below `pid`, parents before children."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None:
                children[int(fields[1])].append(int(entry.name))
    found: list[Identity] = []
    waiting = [pid]
    while waiting:
        for child in children[waiting.pop()]:
            waiting.append(child)
            identity = identify(child)
            if identity is not None:
                found.append(identity)
    return found


def memory_bytes(pids: Sequence[int]) -> int:
    """Return the memory that the processes hold; what several share is counted once (PSS)."""
    total = 0
    for pid in pids:
        try:
            rollup = (_PROC / str(pid) / "smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended since
        total += sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def kill(identity: Identity) -> None:
    """Make the process end at once, unless it has ended already."""
    if is_alive(identity):
        try:
            os.kill(identity.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def _stat(pid: int) -> Sequence[str] | None:
    """Return the fields of /proc/PID/stat from the state on; the name before them may hold anything."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
