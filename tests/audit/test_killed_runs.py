"""Runs that died: each intent gets one outcome, and a slot is in use for each store that exists and for no other."""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from audit.ledger import Ledger
from audit.migrations import migrate
from tests.audit import crash_workers
from tests.audit.crash_workers import ENVIRONMENT, POINTS, World
from tests.audit.ledger_samples import used
from tests.figures import Figures


def check(ledger: Ledger, world: World) -> None:
    """Assert that every intent has one outcome, and that used is what exists."""
    entries = ledger.entries(ENVIRONMENT, limit=1_000_000)
    intents = Counter((e.run_id, e.store_id) for e in entries if e.outcome == "unknown")
    ends = Counter((e.run_id, e.store_id) for e in entries if e.store_id and e.outcome in ("success", "failure"))
    assert intents == ends
    assert set(intents.values()) <= {1}
    assert ledger.open_runs(ENVIRONMENT) == []
    holding = {row.store_id for row in ledger.stores(ENVIRONMENT) if row.holds_slot}
    assert holding == world.existing()
    assert sum(used(ledger, owner) for owner in ("alice",)) == len(holding)


def kill_at_each_point(url: str, folder: Path) -> None:
    world = World(folder)
    for round_number, point in enumerate(POINTS):
        process = crash_workers.started(url, folder, 2 * round_number, point)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        with Ledger.open(url, now=crash_workers.clock(2 * round_number + 1)) as ledger:
            closed = crash_workers.recover(ledger, world, f"recovery-{round_number}")
            assert closed == (0 if point in ("lease held", "outcome committed") else 1), point
            check(ledger, world)


def kill_at_random(url: str, folder: Path, times: int) -> int:
    """Return how many of the kills left something open."""
    world, choice, orphaned = World(folder), random.Random(5), 0
    for round_number in range(times):
        process = crash_workers.started(url, folder, 2 * round_number)
        with Ledger.open(url, now=crash_workers.clock(2 * round_number + 1)) as ledger:
            end = ledger.anchor().seq
            while ledger.anchor().seq < end + 4:  # it works
                assert process.is_alive()
            process.join(choice.uniform(0, 0.03))
            process.kill()
            process.join(60)
            orphaned += crash_workers.recover(ledger, world, f"recovery-{round_number}")
            check(ledger, world)
    with Ledger.open(url) as ledger:
        assert ledger.verify().ok
    return orphaned


def test_a_wrapper_killed_at_each_of_six_points_leaves_nothing_open(ledger_url: str, tmp_path: Path) -> None:
    migrate(ledger_url)
    kill_at_each_point(ledger_url, tmp_path)


def test_a_wrapper_killed_at_random_leaves_nothing_open(ledger_url: str, tmp_path: Path) -> None:
    migrate(ledger_url)
    kill_at_random(ledger_url, tmp_path, 3)


def test_settling_without_looking_is_caught(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claims above can fail: who believes that everything exists keeps slots of stores that do not."""
    monkeypatch.setattr(World, "cell_of", lambda _world, _store_id: "01")
    with pytest.raises(AssertionError):
        kill_at_each_point(sqlite_url, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_random_kills_leave_nothing_open(ledger_url: str, tmp_path: Path, figures: Figures) -> None:
    migrate(ledger_url)
    orphaned = kill_at_random(ledger_url, tmp_path, 100)
    figures.reached(
        "5",
        f"kill -9 of a run, {make_url(ledger_url).get_backend_name()}",
        wanted="100 random kills: every intent has one outcome, used is what exists",
        seen=f"100 kills, {orphaned} left something open, all settled; used was what exists each time",
    )
