"""Process 1 of an instance's namespaces: starts the node's programs and keeps them running.

When it ends, the kernel ends everything in the namespace, whatever state it is in. It therefore never cleans up.
Called as `python -m sandbox.supervisor INSTANCE_FOLDER`.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from sandbox import namespace, node

RESTARTS: Final = 5
RESTART_WINDOW_S: Final = 60.0
_POLL_S: Final = 0.2
_IDLE_S: Final = 5.0
# The log of a component that runs for weeks must not fill the disk; it is cut when its program is next started.
_LOG_CAP_BYTES: Final = 50 * 1024 * 1024


def may_restart(starts: Sequence[float], now: float) -> bool:
    """Return whether a component that was started at `starts` may be started again at `now` (seconds)."""
    return len([start for start in starts if now - start < RESTART_WINDOW_S]) <= RESTARTS


@dataclass(frozen=True)
class State:
    """What became of a component; `last_end` is how its program ended most recently, if it ever did."""

    running: bool
    gave_up: bool
    restarts: int
    last_end: str | None


def read(file: Path) -> Mapping[str, State]:
    """Return the state of each component as the supervisor wrote it last; empty before it wrote any."""
    try:
        return {name: State(**state) for name, state in json.loads(file.read_text()).items()}
    except FileNotFoundError:
        return {}


@dataclass
class Task:
    """A component and what became of it."""

    component: node.Component
    pid: int | None = None
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=RESTARTS + 1))
    restarts: int = 0
    gave_up: bool = False
    last_end: str | None = None

    def state(self) -> State:
        """Return what the machine's side is told."""
        return State(running=self.pid is not None, gave_up=self.gave_up, restarts=self.restarts, last_end=self.last_end)


class Supervisor:
    """Runs a plan."""

    def __init__(self, layout: node.Layout, plan: Sequence[node.Component]) -> None:
        self._layout = layout
        self._tasks = [Task(component) for component in plan]

    def run(self) -> None:
        """Keep the plan running until the process is killed."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        written = ""
        while True:
            self._reap()
            self._start()
            state = self._describe()
            if state != written:
                written = state
                _replace(self._layout.state, state)
            waiting = any(task.pid is None and not task.gave_up for task in self._tasks)
            signal.sigtimedwait({signal.SIGCHLD}, _POLL_S if waiting else _IDLE_S)

    def _reap(self) -> None:
        # Process 1 inherits every orphan of the namespace, so it waits for all children and not only for its own.
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for task in self._tasks:
                if task.pid == pid:
                    task.pid = None
                    task.last_end = f"exit code {os.waitstatus_to_exitcode(status)}"
                    task.gave_up = not may_restart(task.starts, time.monotonic())

    def _start(self) -> None:
        for task in self._tasks:
            if task.pid is None and not task.gave_up and is_ready_to_start(task.component):
                if task.starts:
                    task.restarts += 1
                task.starts.append(time.monotonic())
                task.pid = self._spawn(task.component)

    def _spawn(self, component: node.Component) -> int:
        log = self._layout.logs / f"{component.name}.log"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        if log.exists() and log.stat().st_size > _LOG_CAP_BYTES:
            log.replace(log.with_suffix(".log.1"))
        output = os.open(log, flags, 0o600)
        try:
            actions: list[tuple[int, ...]] = [
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ]
            # Duplicating a descriptor onto itself is how posix_spawn hands a close-on-exec one over.
            actions += [(os.POSIX_SPAWN_DUP2, descriptor, descriptor) for descriptor in component.descriptors]
            return os.posix_spawn(
                component.command[0],
                list(component.command),
                {**os.environ, **component.environment},
                file_actions=actions,
                setsid=True,
                setsigmask=(),
            )
        finally:
            os.close(output)

    def _describe(self) -> str:
        return json.dumps({task.component.name: asdict(task.state()) for task in self._tasks}, indent=1)


def is_ready_to_start(component: node.Component) -> bool:
    """Return whether everything that the component needs at its start is there."""
    return all(Path(file).exists() for file in component.needs_files) and all(
        _accepts(port) for port in component.needs_ports
    )


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _replace(file: Path, text: str) -> None:
    unfinished = file.with_suffix(".new")
    unfinished.write_text(text)
    unfinished.replace(file)


def main() -> None:
    """Run the plan of the instance whose folder is the only argument."""
    layout = node.Layout(Path(sys.argv[1]))
    plan = node.read_plan(layout.plan.read_text())
    for component in plan:
        for descriptor in component.descriptors:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - the standard library's own signature
    # Programs that do not raise their own limit get the highest that is allowed.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    namespace.prepare(layout, plan[0].environment)
    Supervisor(layout, plan).run()


if __name__ == "__main__":
    main()
