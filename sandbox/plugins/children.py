"""The programs that a plugin has started: none of them outlives it, and none starts once it was told to end."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Final

# A program that ignores the wish is killed before the engine, which waits five seconds, kills this process.
_GRACE_S: Final = 3.0

Child = subprocess.Popen[bytes]


class Children:
    """The running programs of one plugin; to be used by several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Child] = set()
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether they were told to end."""
        return self._ended

    def add(self, start: Callable[[], Child]) -> Child | None:
        """Return the program that `start` has started, or None, and nothing is started, after the end."""
        with self._lock:
            if self._ended:
                return None
            child = start()
            self._running.add(child)
            return child

    def discard(self, child: Child) -> None:
        """Forget a program that has ended."""
        with self._lock:
            self._running.discard(child)

    def end(self, wish: signal.Signals) -> None:
        """Ask all of them to end by a signal, and kill those that do not."""
        with self._lock:
            self._ended = True
            children = tuple(self._running)
        for child in children:
            child.send_signal(wish)
        for child in children:
            try:
                child.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()
