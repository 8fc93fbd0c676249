"""A lock of the engine is broken only where our leases prove that its holder is gone, and that is on record."""

from __future__ import annotations

import os
import socket
import subprocess
from datetime import timedelta
from typing import Any

import pytest

from audit.engine.locks import EngineLockedError, LockHolder
from audit.ledger import Ledger
from audit.phases.broken_locks import CLOCKS_APART, Locks
from audit.records import ENGINE_UNLOCK, Holder, Lease
from tests.audit.conftest import FakeClock
from tests.audit.ledger_samples import ALICE, ENVIRONMENT

TTL_S = 60
THERE = "ci-runner-7"
SECOND = timedelta(seconds=1)


class LookingRun:
    """What a judge of locks needs of a run."""

    actor, run_id = ALICE, "run-now"

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.told: list[str | None] = []

    def tell(self, _store_id: str | None, text: str) -> None:
        self.told.append(text)


def acquire(ledger: Ledger, run_id: str, host: str, *, cell: str = "01", ttl_s: int = TTL_S) -> Lease:
    return ledger.acquire_lease(ENVIRONMENT, cell, Holder(ALICE, host, 4711, run_id), ttl_s)


def judge(ledger: Ledger, lease: Lease, holder: LockHolder, cell: str = "01") -> None:
    run: Any = LookingRun(ledger)
    Locks(run, [lease], TTL_S).may_break(cell, EngineLockedError("stack prod", [holder]))


def broken(ledger: Ledger) -> list[tuple[str | None, object]]:
    return [(e.run_id, e.metadata["holders"]) for e in ledger.entries(ENVIRONMENT, action=ENGINE_UNLOCK)]


@pytest.fixture
def killed(ledger: Ledger, clock: FakeClock) -> tuple[Lease, LockHolder]:
    """Return the lease of a run on another machine that was killed, and the engine's lock that it has left."""
    lease = acquire(ledger, "run-killed", THERE)
    clock.move(seconds=10)
    lock = LockHolder(THERE, 99, clock())
    clock.move(seconds=50)
    return lease, lock


def test_a_killed_runners_lock_is_broken_from_another_machine_and_on_record(
    ledger: Ledger, killed: tuple[Lease, LockHolder]
) -> None:
    judge(ledger, acquire(ledger, "run-now", "ci-runner-8"), killed[1])
    assert broken(ledger) == [("run-now", [f"{THERE}/99"])]


def test_it_is_broken_still_after_others_have_had_the_cell(ledger: Ledger, killed: tuple[Lease, LockHolder]) -> None:
    ledger.release_leases([acquire(ledger, "run-between", "ci-runner-8")])
    judge(ledger, acquire(ledger, "run-now", "ci-runner-9"), killed[1])
    assert len(broken(ledger)) == 1


def test_the_lock_of_a_run_that_gave_its_lease_back_is_broken(ledger: Ledger, clock: FakeClock) -> None:
    lease = acquire(ledger, "run-ended", THERE)
    lock = LockHolder(THERE, 99, clock())
    ledger.release_leases([lease])
    judge(ledger, acquire(ledger, "run-now", "ci-runner-8"), lock)
    assert len(broken(ledger)) == 1


def refused(ledger: Ledger, lock: LockHolder, cell: str = "01") -> None:
    with pytest.raises(EngineLockedError):
        judge(ledger, acquire(ledger, "run-now", "ci-runner-8"), lock, cell)
    assert broken(ledger) == []


@pytest.mark.parametrize(("apart", "proves"), [(CLOCKS_APART, True), (CLOCKS_APART + SECOND, False)])
def test_a_lock_from_after_the_lease_is_somebody_elses(
    ledger: Ledger, killed: tuple[Lease, LockHolder], *, apart: timedelta, proves: bool
) -> None:
    lock = LockHolder(THERE, 99, killed[0].expires_at + apart)
    if proves:
        judge(ledger, acquire(ledger, "run-now", "ci-runner-8"), lock)
    else:
        refused(ledger, lock)


@pytest.mark.parametrize("lock", [LockHolder("laptop-of-carol", 99), LockHolder(THERE, 99)], ids=["other", "no-time"])
def test_a_lock_of_which_no_lease_tells_stays(
    ledger: Ledger, killed: tuple[Lease, LockHolder], lock: LockHolder
) -> None:
    refused(ledger, lock)


def test_a_lease_on_another_cell_proves_nothing(ledger: Ledger, killed: tuple[Lease, LockHolder]) -> None:
    with pytest.raises(EngineLockedError):
        judge(ledger, acquire(ledger, "run-now", "ci-runner-8", cell="02"), killed[1], "02")
    refused(ledger, killed[1], "03")


def test_a_plain_engine_under_a_ticket_is_not_taken_for_gone(ledger: Ledger, clock: FakeClock) -> None:
    acquire(ledger, "run-ticket", THERE, ttl_s=600)
    lock = LockHolder(THERE, 99, clock())
    clock.move(seconds=600)
    refused(ledger, lock)


def test_on_this_machine_the_process_itself_is_asked(ledger: Ledger, clock: FakeClock) -> None:
    here = socket.gethostname()
    acquire(ledger, "run-killed", here)
    clock.move(seconds=60)
    with pytest.raises(EngineLockedError):
        judge(ledger, acquire(ledger, "run-a", here), LockHolder(here, os.getpid(), clock()))
    gone = subprocess.Popen(["true"])
    gone.wait()
    clock.move(seconds=60)
    judge(ledger, acquire(ledger, "run-b", here), LockHolder(here, gone.pid, clock()))
    assert len(broken(ledger)) == 1
