"""The real engine, killed with its command and without: nothing of it lives on, stays locked, or stays open."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from audit.engine.locks import EngineLockedError
from tests.audit.engine_workers import World

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def world(programs: Mapping[str, Path], tmp_path: Path) -> World:
    return World.made(tmp_path, programs["pulumi"].parent.parent)


def at_work(world: World) -> tuple[subprocess.Popen[str], int]:
    """Return a run whose engine is at work, and the engine's process."""
    process = world.started()
    (lock,) = world.locks()
    return process, lock["pid"]


def wait_for_the_end(pid: int) -> None:
    while Path(f"/proc/{pid}").exists():
        pass


def check_that_it_was_settled(world: World) -> None:
    """Assert that the creation has one outcome, and that nothing of it is counted: nothing of it exists."""
    assert world.reconcile() == {}
    assert world.locks() == []
    assert world.open_runs() == 0
    assert world.entries("store.create") == ["unknown", "failure"]


def test_engine_and_command_killed_leave_a_lock_that_another_machine_breaks_on_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, engine = at_work(world)
    os.kill(process.pid, signal.SIGKILL)
    os.kill(engine, signal.SIGKILL)
    process.communicate()
    wait_for_the_end(engine)
    assert len(world.locks()) == 1
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "ci-runner-8")
        check_that_it_was_settled(world)
    assert world.entries("engine.unlock") == ["success"]


@pytest.mark.long
def test_a_live_engine_keeps_its_run_from_being_settled(world: World) -> None:
    """Its command stands still, as in a machine that is paused: it can neither renew its lease nor stop its engine."""
    process, engine = at_work(world)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(EngineLockedError, match=f"process {engine}"):
        world.reconcile()
    assert world.open_runs() == 1
    process.kill()
    process.communicate()
    wait_for_the_end(engine)
    check_that_it_was_settled(world)


@pytest.mark.long
def test_an_engine_ends_when_its_command_is_killed(world: World) -> None:
    process, engine = at_work(world)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for_the_end(engine)
    check_that_it_was_settled(world)


@pytest.mark.long
def test_an_engine_killed_alone_is_a_failure_and_its_lock_is_gone_at_once(world: World) -> None:
    process, engine = at_work(world)
    os.kill(engine, signal.SIGKILL)
    assert "the engine failed" in process.communicate()[1]
    assert process.returncode == 7
    assert world.locks() == []
    assert world.open_runs() == 0
    assert world.entries("store.create") == ["unknown", "failure"]
    assert world.entries("engine.unlock") == ["success"]


@pytest.mark.long
def test_a_run_that_is_told_to_stop_twice_says_cancelled_and_leaves_nothing(world: World) -> None:
    process, engine = at_work(world)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 130
    wait_for_the_end(engine)
    assert world.locks() == []
    assert world.open_runs() == 0
    assert world.entries("store.create") == ["unknown", "cancelled"]
