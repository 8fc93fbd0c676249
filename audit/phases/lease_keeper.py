"""The leases of a run that is under way: renewed until it ends, or the engine stopped before they do.

Two threads, since a renewal may hang as long as the database does: one renews, the other only looks at the clock. A
run that cannot renew must have stopped its engine before somebody else may take the cell.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from audit.records import Lease
from stacks.errors import LockedError

RENEW_EVERY_S: Final = 15.0
TRY_AGAIN_S: Final = 3.0
STOP_BEFORE_S: Final = 30.0
"""How long before the leases' end the engine is asked to stop, where they could not be renewed."""
END_BEFORE_S: Final = 10.0
"""How long before their end it is asked a second time, upon which it ends without waiting for what is under way."""
END_AFTER_LOSS_S: Final = 5.0
"""How long after the first time it is asked a second time, where somebody else has the cell already."""
JOIN_S: Final = 0.25
"""How long the end of a run waits for a renewal that is under way; it ends by itself, and is of no use any more."""


@dataclass
class LeaseKeeper:
    """Keeps `held`, which is replaced in place, while it is used as a context manager.

    `renew` returns the leases with a new end, or raises LockedError for one that was lost; whatever else it raises
    is tried again while there is time. `stop` is called once or twice, never after the end.
    """

    held: list[Lease]
    renew: Callable[[list[Lease]], list[Lease]]
    stop: Callable[[], None]
    tell: Callable[[str], None]
    now: Callable[[], float] = time.monotonic
    _good_until: float = field(init=False)
    _end_at: float | None = None
    """When the second stop is due, once a lease is known to be lost."""
    _stops: int = 0
    _threads: list[threading.Thread] = field(default_factory=list)
    _done: threading.Event = field(default_factory=threading.Event)
    _changed: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Count from now, which is after the database gave the leases."""
        self._good_until = self.now() + self._ttl_s

    def __enter__(self) -> list[Lease]:
        for work in (self._renewing, self._watching):
            self._threads.append(threading.Thread(target=work, name=f"lease-keeper{work.__name__}", daemon=True))
            self._threads[-1].start()
        return self.held

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._changed.set()
        for thread in self._threads:
            thread.join(JOIN_S)

    @property
    def _ttl_s(self) -> float:
        return min(lease.ttl_s for lease in self.held)

    def try_renewal(self) -> float:
        """Renew once; return in how many seconds to come back."""
        began = self.now()
        try:
            self.held[:] = self.renew(list(self.held))
        except LockedError as error:
            if self._done.is_set():
                return TRY_AGAIN_S
            self._end_at = self.now() + END_AFTER_LOSS_S
            self._changed.set()
            self._say(f"the lease is lost, stopping the engine: {error}")
            return RENEW_EVERY_S
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine must be stopped in time
            if not self._done.is_set():
                left_s = max(0.0, self._good_until - self.now())
                self._say(f"the lease could not be renewed, it ends in {left_s:.0f} s: {type(error).__name__}: {error}")
            return TRY_AGAIN_S
        # From before the call: the database counts from some moment after it.
        self._good_until = began + self._ttl_s
        return RENEW_EVERY_S

    def look(self) -> float:
        """Stop the engine as often as it is due; return in how many seconds to look again."""
        now, first, second = self.now(), self._good_until - STOP_BEFORE_S, self._good_until - END_BEFORE_S
        if self._end_at is not None:
            first, second = now, self._end_at
        due = 2 if now >= second else 1 if now >= first else 0
        while self._stops < due and not self._done.is_set():
            self._stops += 1
            self.stop()
            if self._stops == 1 and self._end_at is None:
                self._say("the lease is about to end and could not be renewed, stopping the engine")
        return max(0.01, (first if due == 0 else second) - now) if due < 2 else RENEW_EVERY_S

    def _say(self, text: str) -> None:
        with contextlib.suppress(Exception):  # where nobody can be told, the engine is stopped all the same
            self.tell(text)

    def _renewing(self) -> None:
        wait_s = RENEW_EVERY_S
        while not self._done.wait(wait_s):
            wait_s = self.try_renewal()

    def _watching(self) -> None:
        while not self._done.is_set():
            self._changed.clear()
            self._changed.wait(self.look())
