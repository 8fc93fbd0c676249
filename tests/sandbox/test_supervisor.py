from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import node, supervisor
from sandbox.node import Component
from sandbox.supervisor import RESTART_WINDOW_S, RESTARTS, Supervisor, is_ready_to_start, may_restart

DEADLINE_S = 20.0


@pytest.fixture
def layout(tmp_path: Path) -> node.Layout:
    found = node.Layout(tmp_path)
    found.logs.mkdir()
    found.node.mkdir()
    return found


def turn_until(running: Supervisor, condition: Callable[[], bool]) -> None:
    """Let the supervisor work until the condition holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        running._reap()
        running._start()


@pytest.mark.parametrize(
    "starts", [[], [0.0] * (RESTARTS - 1), [0.0] * RESTARTS, [-RESTART_WINDOW_S] + [0.0] * RESTARTS]
)
def test_a_component_is_restarted_five_times_a_minute(starts: list[float]) -> None:
    assert may_restart(starts, now=0.0)


@pytest.mark.parametrize("starts", [[0.0] * (RESTARTS + 1), [-RESTART_WINDOW_S + 0.1] + [0.0] * RESTARTS])
def test_a_component_that_ends_for_the_sixth_time_in_a_minute_is_given_up(starts: list[float]) -> None:
    assert not may_restart(starts, now=0.0)


def test_a_program_that_ends_is_started_again_and_its_end_is_told(layout: node.Layout) -> None:
    marker = layout.folder / "ended-once"
    script = f"test -e {marker} && exec sleep 60; touch {marker}; exit 3"
    running = Supervisor(layout, [Component("shop", ["/bin/sh", "-c", script])])
    (task,) = running._tasks

    turn_until(running, lambda: task.restarts == 1)

    assert task.state() == supervisor.State(running=True, gave_up=False, restarts=1, last_end="exit code 3")


def test_a_program_that_never_stays_is_given_up(layout: node.Layout) -> None:
    running = Supervisor(layout, [Component("shop", ["/bin/sh", "-c", "echo broken; exit 1"])])
    (task,) = running._tasks

    turn_until(running, lambda: task.gave_up)

    assert (layout.logs / "shop.log").read_text() == "broken\n" * (RESTARTS + 1)


def test_the_children_of_others_are_reaped_too(layout: node.Layout) -> None:
    # Process 1 inherits orphans. Here a child that the supervisor knows nothing of stands for one.
    stranger = subprocess.Popen(["true"])
    running = Supervisor(layout, [])

    turn_until(running, lambda: not Path(f"/proc/{stranger.pid}").exists())

    assert stranger.wait() == 0


def test_what_the_supervisor_writes_is_what_the_machines_side_reads(layout: node.Layout) -> None:
    running = Supervisor(layout, [Component("shop", ["/bin/true"])])
    supervisor._replace(layout.state, running._describe())

    assert supervisor.read(layout.state) == {
        "shop": supervisor.State(running=False, gave_up=False, restarts=0, last_end=None)
    }
    assert supervisor.read(layout.folder / "none") == {}


def test_only_the_component_that_is_given_a_socket_inherits_it(layout: node.Layout) -> None:
    with socket.socket() as listener:
        descriptor = listener.fileno()
        script = f"import os; os.fstat({descriptor})"
        running = Supervisor(
            layout,
            [
                Component("with", [sys.executable, "-c", script], descriptors=[descriptor]),
                Component("without", [sys.executable, "-c", script]),
            ],
        )
        given, other = running._tasks
        turn_until(running, lambda: bool(given.last_end and other.last_end))

    assert given.last_end == "exit code 0"
    assert other.last_end == "exit code 1"


def test_a_component_waits_for_its_files_and_ports(tmp_path: Path) -> None:
    file = tmp_path / "socket"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        component = Component("shop", ["/bin/true"], needs_files=[str(file)], needs_ports=[port])

        assert not is_ready_to_start(component)
        listener.listen()
        assert not is_ready_to_start(component)
        file.touch()
        assert is_ready_to_start(component)
