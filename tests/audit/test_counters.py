"""Counters that do not say what the stores say are told by `stores db check`, and corrected by a reconciliation."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from audit import soundness
from audit.counters import Drift
from audit.database import Database
from audit.ledger import Ledger
from audit.limits import Limits
from stacks.errors import LockedError
from tests.audit.ledger_samples import ALICE, ENVIRONMENT, change, create, holder, request, used
from tests.audit.small_world import SmallWorld, block, make_project


def write(ledger: Ledger, statement: str) -> None:
    ledger._database.write(lambda connection: connection.execute(text(statement)))


def told(url: str) -> soundness.Finding:
    database = Database(url)
    (found,) = [f for f in soundness.examine(database, role="owner", now=datetime.now(UTC)) if f.name == "counters"]
    database.close()
    return found


@pytest.fixture
def stocked(ledger: Ledger) -> Ledger:
    """Return a ledger in which alice has three stores and bob two."""
    create(ledger, 3)
    create(ledger, 2, "bob")
    return ledger


def repaired(ledger: Ledger) -> list[Drift]:
    return ledger.repair_slots(ENVIRONMENT, ALICE, "run-r")


def test_counters_that_are_right_are_left_alone_and_nothing_is_recorded(stocked: Ledger, ledger_url: str) -> None:
    before = stocked.entries(None)
    assert repaired(stocked) == []
    assert stocked.entries(None) == before
    assert told(ledger_url).state == "ok"


@pytest.mark.parametrize(
    ("statement", "drift"),
    [
        ("UPDATE slots SET used = 2 WHERE owner = 'alice'", Drift(ENVIRONMENT, "alice", 2, 3)),
        ("UPDATE slots SET used = 9, ceiling = 9 WHERE owner = 'bob'", Drift(ENVIRONMENT, "bob", 9, 2)),
        ("UPDATE slots SET used = 0 WHERE owner = '' AND environment = 'prod'", Drift(ENVIRONMENT, "", 0, 5)),
        ("DELETE FROM slots WHERE owner = 'bob'", Drift(ENVIRONMENT, "bob", 0, 2)),
        (
            "INSERT INTO slots (environment, owner, used, ceiling) VALUES ('prod', 'carol', 1, 1)",
            Drift(ENVIRONMENT, "carol", 1, 0),
        ),
    ],
)
def test_a_counter_that_is_wrong_is_told_corrected_and_on_record(
    stocked: Ledger, ledger_url: str, statement: str, drift: Drift
) -> None:
    write(stocked, statement.replace("used = 9, ceiling = 9", "ceiling = 9, used = 9"))
    found = told(ledger_url)
    assert (found.state, found.detail) == ("fail", str(drift))
    assert "stores reconcile" in found.cure
    assert repaired(stocked) == [drift]
    assert told(ledger_url).state == "ok"
    assert repaired(stocked) == []
    (entry,) = stocked.entries(ENVIRONMENT, action="slots.repair")
    assert (entry.actor, entry.run_id, entry.outcome, entry.reason) == ("alice", "run-r", "success", str(drift))
    assert (used(stocked), used(stocked, "bob")) == (3, 2)
    # The limits go by the corrected counters.
    limits = Limits(stores_per_owner=4, creates_per_hour=100, stores_total=100)
    wish = request([change("alice-x"), change("alice-y")], limits=limits)
    assert [admitted.store_id for admitted in stocked.admit(wish).admitted] == ["alice-x"]
    assert stocked.verify().ok


def test_another_environments_counters_are_left_to_its_own_reconciliation(stocked: Ledger, ledger_url: str) -> None:
    write(stocked, "INSERT INTO slots (environment, owner, used, ceiling) VALUES ('local', 'alice', 1, 1)")
    assert repaired(stocked) == []
    assert told(ledger_url).state == "fail"


def test_who_lost_the_cell_corrects_nothing(stocked: Ledger) -> None:
    write(stocked, "UPDATE slots SET used = 2 WHERE owner = 'alice'")
    lease = stocked.acquire_lease(ENVIRONMENT, "01", holder("run-1"), 0)
    stocked.acquire_lease(ENVIRONMENT, "01", holder("run-2"), 60)
    with pytest.raises(LockedError):
        stocked.repair_slots(ENVIRONMENT, ALICE, "run-1", leases=[lease])
    assert [drift.owner for drift in repaired(stocked)] == ["alice"]


def test_a_reconciliation_corrects_them(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.phases.health.PATIENCE_S", 0.0)
    world = SmallWorld(make_project(tmp_path / "project"))
    world.write(block("tea-bbbbb"))
    told: list[str] = []
    with Ledger.open(sqlite_url) as ledger, world.gate(ledger) as gate:
        gate.up(actor=ALICE)
        write(ledger, "UPDATE slots SET used = 0")
        gate.reconcile(actor=ALICE, report=lambda event: told.append(event.text))
        assert gate.usage().total_used == 1
        (entry,) = ledger.entries("local", action="slots.repair")
        assert entry.metadata == {"owners": {"alice": {"was": 0, "is": 1}}, "all": {"was": 0, "is": 1}}
    assert "owner 'alice' of local: the counter says 0, 1 stores hold a slot; corrected" in told
