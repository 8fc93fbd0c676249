"""Backups, restores and imports are intents of the ledger: asked, allowed, settled and closed as any change is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit import aftermath, anchors, backups, bookkeeping, live
from audit.closed import RESTORING
from audit.gate import Gate
from audit.ledger import Ledger
from audit.phases import last_backups
from audit.probe import Answer
from audit.records import (
    STORE_BACKUP,
    STORE_CREATE,
    STORE_DELETE,
    STORE_RESTORE,
    Actor,
    Change,
    OpenRun,
    StoreOutcome,
)
from audit.run import Run
from stacks.errors import (
    AuditIncompleteError,
    CancelledError,
    DatabaseUnreachableError,
    LockedError,
    RefusedError,
    StoreFailedError,
)
from stacks.settings import Settings
from tests.audit.ledger_samples import ALICE, change, outcomes, request, used
from tests.audit.test_aftermath import Door, LiveCluster, applied
from tests.audit.test_observation import NOW, TEA, row, seen
from tests.audit.test_run_session import Runs

ENV = "prod"
SUMMARY = {"snapshot_id": "3f9a1c20" * 8, "total_bytes_processed": 7}


@pytest.fixture
def runs(tmp_path: Path, ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    monkeypatch.delenv(anchors.VARIABLE, raising=False)
    monkeypatch.setattr(backups, "make", lambda *_, **__: SUMMARY)
    with Ledger.open(ledger_url) as ledger:
        wish = request([change(TEA)])
        ledger.settle(wish.run_id, outcomes(ledger.admit(wish)))
        yield Runs(tmp_path, ledger)


def logged(runs: Runs, action: str = STORE_BACKUP) -> list[tuple[str, Any]]:
    found = runs.ledger.entries(ENV, action=action, ascending=True)
    return [(entry.outcome, entry.metadata.get("snapshot")) for entry in found]


def backed_up(run: Run, **more: Any) -> str:
    with run.session(cells={"01"}) as leases:
        return backups.taken(run, leases, TEA, "manual", **more)


def fail(*_: Any, **__: Any) -> Any:
    raise StoreFailedError(f"store '{TEA}'", "its backup failed: no room", "make room")


def test_a_backup_is_an_intent_and_an_outcome_and_changes_nothing_of_the_store(runs: Runs) -> None:
    before = runs.ledger.stores(ENV)
    assert backed_up(runs.new("run-1"), note="before the sale") == SUMMARY["snapshot_id"]
    assert logged(runs) == [("unknown", None), ("success", SUMMARY["snapshot_id"])]
    assert {entry.reason for entry in runs.ledger.entries(ENV, action=STORE_BACKUP)} == {"before the sale"}
    assert runs.ledger.stores(ENV) == before
    assert used(runs.ledger) == 1
    assert runs.ledger.open_runs(ENV) == []


def test_a_failed_backup_is_a_failure_on_record(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "make", fail)
    with pytest.raises(StoreFailedError, match="no room"):
        backed_up(runs.new("run-1"))
    assert logged(runs) == [("unknown", None), ("failure", None)]
    assert [found.status for found in runs.ledger.stores(ENV)] == ["Ready"]


def test_a_backup_that_is_stopped_says_so(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs.new("run-1")

    def stopped(*_: Any, cancelled: Any, **__: Any) -> Any:
        run.cancelled.set()
        assert cancelled is run.cancelled
        return fail()

    monkeypatch.setattr(backups, "make", stopped)
    with pytest.raises(CancelledError):
        backed_up(run)
    assert logged(runs) == [("unknown", None), ("cancelled", None)]


def test_nobody_changes_the_cell_while_it_is_backed_up(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[LockedError] = []

    def beside(*_: Any, **__: Any) -> Any:
        with pytest.raises(LockedError) as caught, runs.new("run-2").session():
            pytest.fail("it went on")
        refused.append(caught.value)
        return SUMMARY

    monkeypatch.setattr(backups, "make", beside)
    backed_up(runs.new("run-1"))
    assert "run run-1" in str(refused[0])


def test_a_database_lost_at_the_outcome_costs_no_backup(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise DatabaseUnreachableError("ledger", "gone", "start it")

    with monkeypatch.context() as lost:
        lost.setattr(runs.ledger, "settle", gone)
        with pytest.raises(AuditIncompleteError, match="backup 3f9a1c20 was made") as caught:
            backed_up(runs.new("run-1"))
    assert caught.value.exit_code == 9
    assert len(runs.ledger.open_runs(ENV)) == 1
    with runs.new("run-2").session():
        assert runs.ledger.open_runs(ENV) == []
    assert logged(runs)[-1] == ("success", SUMMARY["snapshot_id"])
    assert [found.status for found in runs.ledger.stores(ENV)] == ["Ready"]


def closed(action: str, *, web: Any = None, answers: bool = True, monkeypatch: pytest.MonkeyPatch) -> StoreOutcome:
    monkeypatch.setattr(live, "read", lambda *_: web)
    crashed = OpenRun("run-1", "local", Actor("alice", "user"), NOW, (Change(TEA, "tea", "alice", "01", action, {}),))
    observation = seen(applied=applied(), rows=(row("Ready"),))
    cluster: Any = LiveCluster(exists=True)
    door: Any = Door(Answer(ok=answers, detail="x", content="WordPress only"))
    (found,) = aftermath.outcomes(crashed, observation, cluster, door)
    return found


def test_a_killed_backup_is_closed_and_leaves_the_store_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    found = closed(STORE_BACKUP, monkeypatch=monkeypatch)
    assert (found.outcome, found.status) == ("failure", "Ready")
    assert f"stores backups {TEA}" in str(found.reason)


def test_a_restore_killed_in_the_middle_is_closed_as_not_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    web = {"metadata": {"annotations": {RESTORING: "run-1 1"}}}
    found = closed(STORE_RESTORE, web=web, monkeypatch=monkeypatch)
    assert (found.outcome, found.status) == ("failure", "Failed")
    assert "stays closed" in str(found.reason)


def test_a_restore_that_was_killed_is_never_called_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    found = closed(STORE_RESTORE, web={"metadata": {}}, monkeypatch=monkeypatch)
    assert (found.outcome, found.status) == ("failure", "Ready")
    assert "whether its data was replaced is not known" in str(found.reason)
    silent = closed(STORE_RESTORE, web={"metadata": {}}, answers=False, monkeypatch=monkeypatch)
    assert (silent.outcome, silent.status) == ("failure", "Failed")


# --- the last backup of a store


class Final:
    """A run in an environment with last backups, over one store that is about to be removed."""

    def __init__(self, runs: Runs, monkeypatch: pytest.MonkeyPatch, *, volumes: int) -> None:
        self.run = runs.new("run-1")
        self.run.settings = Settings(environment=ENV, protected=True)
        monkeypatch.setattr("audit.phases.last_backups.environment_values", lambda *_: {"backup": {"enabled": True}})
        monkeypatch.setattr(live, "claims", lambda *_: [object()] * volumes)

    def kept(self, store_id: str = TEA) -> dict[str, StoreOutcome]:
        leaving = Change(store_id, store_id, "alice", "01", STORE_DELETE, {})
        with self.run.session(cells={"01"}) as leases:
            return last_backups.take(self.run, (leaving,), leases)


def test_a_store_with_a_volume_is_backed_up(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Final(runs, monkeypatch, volumes=2).kept() == {}
    assert logged(runs)[-1] == ("success", SUMMARY["snapshot_id"])


def test_a_store_that_never_answered_by_the_ledger_is_backed_up_too(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = request([change("mute-1")])
    runs.ledger.settle(wish.run_id, outcomes(runs.ledger.admit(wish), "Failed", "failure"))
    monkeypatch.setattr(backups, "make", fail)
    (kept,) = Final(runs, monkeypatch, volumes=2).kept("mute-1").values()
    assert kept.outcome == "failure"


def test_a_store_whose_last_backup_fails_stays(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    final = Final(runs, monkeypatch, volumes=2)
    monkeypatch.setattr(backups, "make", fail)
    (kept,) = final.kept().values()
    assert (kept.outcome, kept.status) == ("failure", "Deleting")
    assert "it stays, because its last backup failed" in str(kept.reason)
    assert logged(runs) == [("unknown", None), ("failure", None)]


def test_a_lost_database_is_no_stores_own_failure_and_is_waited_for_once(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.phases.last_backups.environment_values", lambda *_: {"backup": {"enabled": True}})
    monkeypatch.setattr(live, "claims", lambda *_: [object()])
    run = runs.new("run-1")
    run.settings = Settings(environment=ENV, protected=True)
    waits: list[str] = []

    def away(*_: Any, **__: Any) -> Any:
        waits.append("stores")
        raise DatabaseUnreachableError("ledger", "read timed out (nothing was changed)", "check the server")

    leaving = tuple(Change(f"tea-{number}", "tea", "alice", "01", STORE_DELETE, {}) for number in range(4))
    with run.session(cells={"01"}) as leases:
        monkeypatch.setattr(runs.ledger, "stores", away)
        with pytest.raises(DatabaseUnreachableError):
            last_backups.take(run, leaving, leases)
    assert waits == ["stores"]


def test_stores_that_stay_were_not_changed_whatever_the_database_does_then(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = Final(runs, monkeypatch, volumes=2)
    monkeypatch.setattr(backups, "make", fail)
    kept = final.kept()

    def away(*_: Any, **__: Any) -> Any:
        raise DatabaseUnreachableError("ledger", "gone", "start it")

    monkeypatch.setattr(runs.ledger, "settle", away)
    with pytest.raises(DatabaseUnreachableError, match="no store was changed") as caught:
        bookkeeping.settle(final.run, SimpleNamespace(snapshots={}), kept)  # type: ignore[arg-type]
    assert caught.value.exit_code == 5


def test_only_a_store_without_any_volume_goes_without_a_backup(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    final = Final(runs, monkeypatch, volumes=0)
    monkeypatch.setattr(backups, "make", fail)
    assert final.kept() == {}
    assert logged(runs) == []


def test_that_a_last_backup_was_skipped_is_in_the_entry_of_the_removal(runs: Runs) -> None:
    run = runs.new("run-1")
    run.without_final_backup = frozenset({TEA})
    leaving = Change(TEA, TEA, "alice", "01", STORE_DELETE, {"a": 1})
    others = (replace(leaving, store_id="other-1"), replace(leaving, action=STORE_CREATE))
    marked, *rest = last_backups.with_skipped(run, (leaving, *others))
    assert marked.metadata == {"a": 1, "final_backup": "skipped"}
    assert tuple(rest) == others


def test_in_a_protected_environment_only_an_admin_skips_a_last_backup_and_a_refusal_is_on_record(runs: Runs) -> None:
    settings = Settings(environment=ENV, protected=True, admins=("mara",))
    gate: Any = SimpleNamespace(settings=settings, environment=ENV, ledger=runs.ledger)
    with pytest.raises(RefusedError, match="may not remove a store without its last backup"):
        Gate.up(gate, actor=ALICE, reason="gone", without_final_backup=(TEA,))
    assert [entry.outcome for entry in runs.ledger.entries(ENV, action=STORE_DELETE)] == ["denied"]
