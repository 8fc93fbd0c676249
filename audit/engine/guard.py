"""The end of an engine whose caller was killed: neither it nor its plugins work on, with nobody there to watch them.

A process of its own, started beside each engine by `guard`, that waits until its caller is gone, by whatever end; then
it asks the engine to stop, and soon after ends everything that the engine has started. It finds them by a mark in their
environment, which every child inherits, so nothing has to be told in time. Linux only: elsewhere it finds nobody.

Run as a program it must import nothing of ours, since it starts with every engine.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = "STORES_ENGINE_OF"
"""The variable that all processes of one caller's engines have."""

GRACE_S = 10.0
"""How long an engine whose caller is gone may take to stop in order: much less than a lease lasts."""

_PROCESSES = Path("/proc")
_POLL_S = 0.05


@contextmanager
def guard(mark: str) -> Iterator[None]:
    """Keep a process beside this one that ends everything with this mark when this one is gone."""
    # Of the pipe's two ends the kernel closes ours with us, even where nothing of us runs any more.
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(__file__).resolve()), mark, str(GRACE_S)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Whoever ends our whole group, a terminal or a job's runner, must not end it too.
        start_new_session=True,
    ):
        yield


def end(mark: str, grace_s: float) -> None:
    """Ask the engines with this mark to stop; after `grace_s` nothing that has it lives."""
    found = _marked(mark)
    # A plugin whose engine works on is the engine's to stop.
    for pid in [pid for pid, parent in found.items() if parent not in found]:
        _signal(pid, signal.SIGINT)
    deadline = time.monotonic() + grace_s
    while _marked(mark) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    # Again and again: one may have started another since it was looked for.
    while found := _marked(mark):
        for pid in found:
            _signal(pid, signal.SIGKILL)
        time.sleep(_POLL_S)


def _marked(mark: str) -> dict[int, int]:
    """Return the living processes with this mark, each with its parent."""
    wanted = f"{MARK}={mark}".encode()
    found: dict[int, int] = {}
    for folder in _PROCESSES.glob("[0-9]*"):
        try:
            if wanted not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            # pid (name) state parent ...; a name may hold blanks and parentheses.
            state, parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it ended meanwhile, or it is somebody else's
        if state not in "ZX":
            found[int(folder.name)] = int(parent)
    found.pop(os.getpid(), None)
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()  # to its end, which is the caller's
    end(sys.argv[1], float(sys.argv[2]))


if __name__ == "__main__":
    _main()
