"""The real engine, killed with its command and without: nothing of it lives on, stays locked, or stays open."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from audit.engine.locks import EngineLockedError
from tests.audit.engine_workers import World

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def world(programs: Mapping[str, Path], tmp_path: Path) -> World:
    return World.made(tmp_path, programs["pulumi"].parent.parent)


class AtWork:
    """A run whose engine is at work on one store."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.command = world.started()
        (lock,) = world.locks()
        self.engine: int = lock["pid"]

    def kill_command(self) -> None:
        self.command.kill()
        self.command.communicate()

    def wait_for_the_engine(self) -> None:
        while Path(f"/proc/{self.engine}").exists():
            pass

    def check_that_it_is_over(self, outcome: str = "failure") -> None:
        """Assert that the creation has one outcome, and that neither the engine nor the ledger waits for it."""
        assert self.world.locks() == []
        assert self.world.open_runs() == 0
        assert self.world.entries("store.create") == ["unknown", outcome]

    def check_that_it_is_settled(self) -> None:
        """Assert that once somebody has looked it is over, and that nothing is counted: nothing of it exists."""
        assert self.world.reconcile() == {}
        self.check_that_it_is_over()


@pytest.fixture
def work(world: World) -> AtWork:
    return AtWork(world)


def test_engine_and_command_killed_leave_a_lock_that_another_machine_breaks_on_record(
    work: AtWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.kill(work.command.pid, signal.SIGKILL)
    os.kill(work.engine, signal.SIGKILL)
    work.command.communicate()
    work.wait_for_the_engine()
    assert len(work.world.locks()) == 1
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "ci-runner-8")
        work.check_that_it_is_settled()
    assert work.world.entries("engine.unlock") == ["success"]


@pytest.mark.long
def test_a_live_engine_keeps_its_run_from_being_settled(work: AtWork) -> None:
    """Its command stands still, as in a machine that is paused: it can neither renew its lease nor stop its engine."""
    work.command.send_signal(signal.SIGSTOP)
    with pytest.raises(EngineLockedError, match=f"process {work.engine}"):
        work.world.reconcile()
    assert work.world.open_runs() == 1
    work.kill_command()
    work.wait_for_the_engine()
    work.check_that_it_is_settled()


@pytest.mark.long
def test_an_engine_ends_when_its_command_is_killed(work: AtWork) -> None:
    work.kill_command()
    work.wait_for_the_engine()
    work.check_that_it_is_settled()


@pytest.mark.long
def test_an_engine_killed_alone_is_a_failure_and_its_lock_is_gone_at_once(work: AtWork) -> None:
    os.kill(work.engine, signal.SIGKILL)
    assert "the engine failed" in work.command.communicate()[1]
    assert work.command.returncode == 7
    work.check_that_it_is_over()
    assert work.world.entries("engine.unlock") == ["success"]


@pytest.mark.long
def test_a_run_that_is_told_to_stop_twice_says_cancelled_and_leaves_nothing(work: AtWork) -> None:
    work.command.send_signal(signal.SIGTERM)
    work.command.send_signal(signal.SIGTERM)
    work.command.communicate()
    assert work.command.returncode == 130
    work.wait_for_the_engine()
    work.check_that_it_is_over("cancelled")
