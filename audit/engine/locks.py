"""The engine's own lock of a cell: who holds it, and whether they are gone.

Whether it may be broken is decided by who runs the engine; see `audit.phases.broken_locks`.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from stacks.errors import LockedError

_HOLDER: Final = re.compile(r"created by \S+@(\S+) \(pid (\d+)\)(?: at (\S+))?")


@dataclass(frozen=True)
class LockHolder:
    """Who holds the engine's own lock, as the lock says. `since_at` is that host's clock; None where it cannot be read.

    The process is the engine itself, not the command that has started it.
    """

    host: str
    pid: int
    since_at: datetime | None = None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this machine."""
        return self.host == socket.gethostname()

    @property
    def is_gone(self) -> bool:
        """Whether it was a process of this machine, and does not exist any more."""
        return self.is_here and not _lives(self.pid)


class EngineLockedError(LockedError):
    """The engine's own lock is held. `abandoned`: by processes of this machine that are all gone."""

    def __init__(self, where: str, holders: Sequence[LockHolder]) -> None:
        self.holders = tuple(holders)
        self.abandoned = bool(holders) and all(holder.is_gone for holder in holders)
        told = ", ".join(map(str, holders)) or "somebody"
        super().__init__(
            where,
            f"the engine's state is locked by {told}",
            "wait for its end; if it is gone for certain, run `pulumi cancel` with the variables of `stores sandbox "
            "env`, or your own",
        )


OnLock = Callable[[str, EngineLockedError], None]
"""Called before a cell's lock is broken; it raises the error where a holder may live.

See `audit.phases.broken_locks`.
"""


def only_abandoned(_cell: str, error: EngineLockedError) -> None:
    """Let a lock be broken that this machine's dead hold; raise the error for any other."""
    if not error.abandoned:
        raise error


def holders_in(text: str) -> list[LockHolder]:
    """Return the holders that the engine names where it is locked out."""
    return [LockHolder(host, int(pid), _moment(at)) for host, pid, at in _HOLDER.findall(text)]


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
