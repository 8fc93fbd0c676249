"""What every run does around its work: leases, what an earlier run could not write, and anchors.

A real ledger; what lies behind engine and cluster is not asked.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from audit import anchors, bookkeeping, chain, spool
from audit.gate import AnyRun
from audit.ledger import Ledger
from audit.records import NewEntry, StoreOutcome
from audit.results import ProgressEvent
from audit.run import Run
from audit.tickets import TicketRun
from stacks.errors import AuditIncompleteError, DatabaseUnreachableError, LockedError
from stacks.settings import Settings
from tests.audit.ledger_samples import ALICE, change, request, used

SETTINGS = Settings(environment="prod", protected=False)
READY = StoreOutcome("tea-1", "success", "Ready", url="http://x")


class Runs:
    """Runs over one ledger, and what they told."""

    def __init__(self, root: Path, ledger: Ledger) -> None:
        self.root, self.ledger, self.told = root, ledger, []

    def new(self, run_id: str, kind: type[AnyRun] = Run) -> AnyRun:
        fields: dict[str, Any] = {
            "manifest": SimpleNamespace(stores=()),
            "engine": SimpleNamespace(),
            "cluster": None,
            "entrance": None,
        }
        known = {name: value for name, value in fields.items() if name in Run.__dataclass_fields__}
        return kind(
            root=self.root,
            settings=SETTINGS,
            ledger=self.ledger,
            actor=ALICE,
            report=self._report,
            run_id=run_id,
            **known,
        )

    def _report(self, event: ProgressEvent) -> None:
        self.told.append(event.text)

    def anchored(self) -> list[int]:
        file = self.root / ".stores/anchors" / f"prod-{self.ledger.anchor().chain_id}.jsonl"
        return [anchor.seq for anchor in anchors.read(file)] if file.exists() else []


@pytest.fixture
def runs(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv(anchors.VARIABLE, raising=False)
    with Ledger.open(sqlite_url) as ledger:
        yield Runs(tmp_path, ledger)


def lose_the_database(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the run end as one whose database goes away between engine and outcome."""

    def gone(*_: object, **__: object) -> None:
        raise DatabaseUnreachableError("ledger", "gone", "start it")

    with monkeypatch.context() as patch:
        patch.setattr(run.ledger, "settle", gone)
        bookkeeping.settle(run, SimpleNamespace(snapshots={}), {"tea-1": READY})  # type: ignore[arg-type]


def test_a_lost_database_costs_no_outcome(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    first = runs.new("run-1")
    with first.session() as held:
        runs.ledger.admit(request([change("tea-1")], run_id="run-1", leases=held))
        with pytest.raises(AuditIncompleteError, match=r"tea-1 Ready.*it first settles from .*run-1\.json"):
            lose_the_database(first, monkeypatch)
    assert [run.run_id for run in runs.ledger.open_runs("prod")] == ["run-1"]
    with runs.new("run-2").session():
        assert runs.ledger.open_runs("prod") == [], "before anything else"
    assert used(runs.ledger) == 1
    assert [row.status for row in runs.ledger.stores("prod")] == ["Ready"]
    assert any(text.startswith("settled run run-1 from") for text in runs.told)
    assert spool.waiting(bookkeeping.spool_of(first)) == []


def test_a_spool_that_cannot_be_read_stops_every_run(runs: Runs) -> None:
    folder = bookkeeping.spool_of(runs.new("run-1"))
    file = spool.keep(folder, "run-1", "prod", ALICE, [READY])
    file.write_text("{")
    with pytest.raises(AuditIncompleteError, match="until then nothing is changed"), runs.new("run-2").session():
        pytest.fail("it went on")
    with pytest.raises(AuditIncompleteError), runs.new("run-3").session():
        pytest.fail("it went on, and the cell was not given back")


def test_a_ticket_is_no_way_around_what_a_run_could_not_write(runs: Runs, tmp_path: Path) -> None:
    spool.keep(bookkeeping.spool_of(runs.new("run-1")), "run-1", "prod", ALICE, [READY]).write_text("{")
    ticket = tmp_path / "ticket.json"
    asked = runs.new("run-2", TicketRun)
    with pytest.raises(AuditIncompleteError, match="until then nothing is changed"):
        asked.issue(request([change("tea-1")], run_id="run-2"), ticket, 600)
    assert not ticket.exists()
    # The cell was given back: the next one is told of the spool, and not of somebody who holds the cell.
    with pytest.raises(AuditIncompleteError), runs.new("run-3").session():
        pytest.fail("it went on")


def test_each_run_keeps_the_logs_end_and_refuses_one_that_was_cut(runs: Runs) -> None:
    with runs.new("run-1").session() as held:
        runs.ledger.admit(request([change("tea-1")], run_id="run-1", leases=held))
        runs.ledger.settle("run-1", [READY])
    assert runs.anchored() == [2]
    with runs.new("run-2").session():
        pass
    assert runs.anchored() == [2], "nothing was written meanwhile"
    end = runs.ledger.anchor()
    file = runs.root / ".stores/anchors" / f"prod-{end.chain_id}.jsonl"
    anchors.append(file, anchors.Anchor(end.chain_id, 9, "a" * 64, end.at))
    with pytest.raises(AuditIncompleteError, match="it ended at 9"), runs.new("run-3").session():
        pytest.fail("it went on")


def test_a_run_refuses_a_log_that_was_rewritten_and_written_on(runs: Runs, sqlite_url: str) -> None:
    with runs.new("run-1").session():
        runs.ledger.record(NewEntry(ALICE, "test.write", "success"))
    with sqlite3.connect(str(make_url(sqlite_url).database)) as database:
        for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {trigger}")
        database.execute("DELETE FROM audit_logs")
        genesis = chain.genesis_hash(runs.ledger.anchor().chain_id)
        database.execute("UPDATE audit_head SET seq = 0, hash = ?", [genesis])
    for _ in range(2):
        runs.ledger.record(NewEntry(ALICE, "test.forged", "success"))
    assert runs.ledger.verify().ok, "by itself the log looks whole"
    with pytest.raises(AuditIncompleteError, match="its entry 1 is not the one"), runs.new("run-2").session():
        pytest.fail("it went on")


def test_of_two_sessions_one_is_told_and_both_are_in_the_log(runs: Runs) -> None:
    with runs.new("run-1").session(), pytest.raises(LockedError, match="run run-1"), runs.new("run-2").session():
        pytest.fail("it went on")
    assert [(e.run_id, e.outcome) for e in runs.ledger.entries("prod")] == [("run-2", "denied")]
