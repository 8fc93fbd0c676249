"""The gate's own run, killed at each of six points: what `stores reconcile` then leaves is what exists."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from audit.ledger import Ledger
from audit.migrations import migrate
from tests.audit import gate_workers
from tests.audit.crash_workers import POINTS, clock
from tests.audit.ledger_samples import ALICE, used
from tests.audit.small_world import SmallWorld, block, make_project

ENVIRONMENT = "local"
STAYS, COMES, GOES = "tea-bbbbb", "bar-ccccc", "pub-ddddd"
OPEN = {"intent committed": 2, "engine began": 2, "engine in the middle": 2, "engine done": 2}
"""How many intents each point leaves without an outcome."""

pytestmark = pytest.mark.timeout(300)


def check(ledger: Ledger, world: SmallWorld) -> None:
    """Assert that every intent has one outcome, and that used is what exists."""
    entries = ledger.entries(ENVIRONMENT, limit=10_000)
    intents = Counter((e.run_id, e.store_id) for e in entries if e.outcome == "unknown")
    ends = Counter((e.run_id, e.store_id) for e in entries if e.run_id and (e.run_id, e.store_id) in intents
                   and e.outcome in ("success", "failure", "cancelled") and e.action != "store.status")  # fmt: skip
    assert intents == ends
    assert set(intents.values()) == {1}
    assert ledger.open_runs(ENVIRONMENT) == []
    assert {row.store_id for row in ledger.stores(ENVIRONMENT) if row.holds_slot} == world.existing()
    assert used(ledger, environment=ENVIRONMENT) == len(world.existing())


def kill_and_reconcile(
    url: str, root: Path, point: str, monkeypatch: pytest.MonkeyPatch, *, hasty: bool = False
) -> None:
    monkeypatch.setattr("audit.phases.health.PATIENCE_S", 0.0)
    migrate(url)
    world = SmallWorld(make_project(root))
    world.write(block(STAYS), block(GOES))
    with Ledger.open(url, now=clock(0)) as ledger, world.gate(ledger) as gate:
        assert gate.up(actor=ALICE).exit_error is None
    world.write(block(STAYS), block(COMES), block(GOES, state="deleted"))
    process = gate_workers.started(url, root, 1, point, hasty=hasty)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    with Ledger.open(url, now=clock(2)) as ledger, world.gate(ledger) as gate:
        if point == "intent committed":
            assert world.existing() == {STAYS, GOES}, "nothing reaches the engine before its intent is committed"
        assert sum(len(run.changes) for run in ledger.open_runs(ENVIRONMENT)) == OPEN.get(point, 0)
        gate.reconcile(actor=ALICE)
        check(ledger, world)
        result = gate.up(actor=ALICE)
        assert result.exit_error is None
        assert world.existing() == {STAYS, COMES}
        check(ledger, world)
        assert ledger.verify().ok


@pytest.mark.parametrize("point", POINTS)
def test_a_run_killed_there_is_settled_by_looking(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    kill_and_reconcile(sqlite_url, tmp_path / "project", point, monkeypatch)


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
def test_a_run_killed_there_is_settled_by_looking_on_mariadb_too(
    mariadb_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    kill_and_reconcile(mariadb_url, tmp_path / "project", point, monkeypatch)


def test_an_engine_that_begins_before_the_intent_is_caught(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claims above can fail: the same check, with a run that starts the engine before it asks."""
    with pytest.raises(AssertionError, match="nothing reaches the engine before its intent is committed"):
        kill_and_reconcile(sqlite_url, tmp_path / "project", "intent committed", monkeypatch, hasty=True)
