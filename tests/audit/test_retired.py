"""Backups of deleted stores: which may go and when; nothing goes while anything says that the store is there."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit import anchors, backups, retired
from audit.ledger import Ledger
from audit.records import Actor, RunRequest, StoreOutcome
from audit.retired import due, of_all, prune, pruned_before
from audit.run import Run
from stacks.cluster import NamespaceState
from stacks.errors import (
    AuditIncompleteError,
    ClusterUnreachableError,
    DatabaseUnreachableError,
    RefusedError,
    StoreFailedError,
    UsageError,
)
from tests.audit.conftest import FakeClock
from tests.audit.ledger_samples import ALICE, ENVIRONMENT, change, create, outcomes, request
from tests.audit.test_run_session import Runs

_NUMBERS = itertools.count(1)
GONE = "alice-000"
THERE = "alice-001"


class Gate:
    """What pruning asks of the gate."""

    environment = ENVIRONMENT

    def __init__(self, ledger: Ledger, root: Path) -> None:
        self.ledger = ledger
        self.runs = Runs(root, ledger)
        self.settings = SimpleNamespace(deleted_backups_days=90)
        self.blocks: dict[str, str] = {THERE: "active"}
        self.namespaces: dict[str, NamespaceState] = {}
        self.unreachable = False
        self.cluster = self

    def new_run(self, actor: Actor, _report: object) -> Run:
        run = self.runs.new(f"run-{next(_NUMBERS)}")
        run.actor = actor
        return run

    def request_of(self, _manifest: object, run_id: str, *by: Any, asked: str | None = None) -> RunRequest:
        actor, reason, key = by
        named = {"run_id": run_id, "actor": actor, "reason": reason, "idempotency_key": key}
        return request([], environment=ENVIRONMENT, fingerprint=asked, **named)

    def manifest(self) -> Any:
        found = {key: SimpleNamespace(deleted=state == "deleted") for key, state in self.blocks.items()}
        return SimpleNamespace(store=found.get)

    def namespace(self, name: str) -> NamespaceState | None:
        if self.unreachable:
            raise ClusterUnreachableError("cluster", "it does not answer", "start it")
        return self.namespaces.get(name)


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the stores whose repositories were removed, in order."""
    done: list[str] = []

    def remove(_server: object, store_id: str, _tell: object, **_: object) -> int:
        done.append(store_id)
        return 7

    monkeypatch.setattr(retired, "_remove", remove)
    server = SimpleNamespace(ensure=lambda _ids: False)
    monkeypatch.setattr(backups, "server_of", lambda _gate: server)
    monkeypatch.setattr(backups, "known_ids", lambda _gate: [])
    return done


@pytest.fixture
def gate(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Return a gate with one store that was deleted just now, and one that is there."""
    monkeypatch.delenv(anchors.VARIABLE, raising=False)
    create(ledger, 2)
    delete(ledger, GONE)
    return Gate(ledger, tmp_path)


def delete(ledger: Ledger, store_id: str, status: str = "Deleted") -> None:
    wish = request([change(store_id, action="store.delete")])
    ledger.admit(wish)
    ledger.settle(wish.run_id, [StoreOutcome(store_id, "success", status)])  # type: ignore[arg-type]


def test_only_what_a_deleted_store_left_behind_is_listed_with_its_time(gate: Gate, clock: FakeClock) -> None:
    (found,) = of_all(gate)  # type: ignore[arg-type]
    assert (found.store_id, found.deleted_at) == (GONE, clock.moment)
    assert found.expires_at - found.deleted_at == timedelta(days=90)


@pytest.mark.parametrize(("step", "may_go"), [(-1, False), (0, True), (1, True)])
def test_it_may_go_when_its_time_is_over_and_not_a_second_before(
    gate: Gate, clock: FakeClock, removed: list[str], step: int, *, may_go: bool
) -> None:
    clock.move(days=90, seconds=step)
    chosen = due(of_all(gate), None, 90)  # type: ignore[arg-type]
    prune(gate, chosen, actor=ALICE)  # type: ignore[arg-type]
    assert removed == ([GONE] if may_go else [])


def test_a_date_narrows_and_never_shortens(gate: Gate, clock: FakeClock) -> None:
    deleted = clock.moment
    clock.move(days=89)
    found = of_all(gate)  # type: ignore[arg-type]
    with pytest.raises(RefusedError, match=f"backups of '{GONE}': they are kept until 2026-05-30T12:00:00Z, 90 days"):
        due(found, deleted + timedelta(seconds=1), 90)
    assert due(found, deleted, 90) == []
    clock.move(days=1)
    found = of_all(gate)  # type: ignore[arg-type]
    assert due(found, deleted, 90) == []
    assert due(found, deleted + timedelta(seconds=1), 90) == found


def test_each_removal_is_on_record_before_and_after_and_is_not_offered_again(
    gate: Gate, clock: FakeClock, removed: list[str]
) -> None:
    clock.move(days=91)
    (done,) = prune(gate, of_all(gate), actor=ALICE, note="monthly")  # type: ignore[arg-type]
    assert (done.snapshots, done.problem, removed) == (7, None, [GONE])
    after, before = gate.ledger.entries(ENVIRONMENT, action="store.backups.prune")
    assert (before.outcome, after.outcome, after.metadata["snapshots"]) == ("unknown", "success", 7)
    assert {(each.actor, each.reason, each.store_id, each.owner) for each in (before, after)} == {
        ("alice", "monthly", GONE, "alice")
    }
    assert of_all(gate) == []  # type: ignore[arg-type]


def test_what_could_not_be_removed_is_told_on_record_and_offered_again(
    gate: Gate, clock: FakeClock, removed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.move(days=91)

    def fail(*_: object, **__: object) -> int:
        raise StoreFailedError("backups", "the server is away", "start it")

    monkeypatch.setattr(retired, "_remove", fail)
    (done,) = prune(gate, of_all(gate), actor=ALICE)  # type: ignore[arg-type]
    assert "the server is away" in (done.problem or "")
    assert [each.outcome for each in gate.ledger.entries(ENVIRONMENT, action="store.backups.prune")] == [
        "failure", "unknown",
    ]  # fmt: skip
    assert [each.store_id for each in of_all(gate)] == [GONE]  # type: ignore[arg-type]


def undeleted(gate: Gate) -> None:
    gate.blocks[GONE] = "active"


def with_namespace(gate: Gate) -> None:
    gate.namespaces[f"store-{GONE}"] = NamespaceState(terminating=True)


def without_cluster(gate: Gate) -> None:
    gate.unreachable = True


def made_again(gate: Gate) -> None:
    wish = request([change(GONE)])
    gate.ledger.settle(wish.run_id, outcomes(gate.ledger.admit(wish)))


def longer_kept(gate: Gate) -> None:
    gate.settings.deleted_backups_days = 365


@pytest.mark.parametrize("meanwhile", [undeleted, with_namespace, without_cluster, made_again, longer_kept])
def test_nothing_goes_while_anything_says_that_the_store_is_there(
    gate: Gate, clock: FakeClock, removed: list[str], meanwhile: Any
) -> None:
    clock.move(days=91)
    chosen = due(of_all(gate), None, 90)  # type: ignore[arg-type]
    assert len(chosen) == 1
    meanwhile(gate)
    (done,) = prune(gate, chosen, actor=ALICE)  # type: ignore[arg-type]
    assert done.problem is not None
    assert removed == []
    assert gate.ledger.entries(ENVIRONMENT, action="store.backups.prune") == []


@pytest.mark.parametrize("state", ["active", "deleted"])
def test_a_store_that_is_there_or_in_its_grace_is_never_chosen(
    gate: Gate, clock: FakeClock, removed: list[str], state: str
) -> None:
    gate.blocks[THERE] = state
    if state == "deleted":
        delete(gate.ledger, THERE, "Deleting")
    clock.move(days=1000)
    prune(gate, of_all(gate), actor=ALICE)  # type: ignore[arg-type]
    assert removed == [GONE]


def test_without_the_ledger_nothing_goes(
    gate: Gate, clock: FakeClock, removed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.move(days=91)
    chosen = of_all(gate)  # type: ignore[arg-type]

    def away(*_: object, **__: object) -> None:
        raise DatabaseUnreachableError("ledger", "it does not answer", "start it")

    monkeypatch.setattr(gate.ledger, "admit", away)
    with pytest.raises(DatabaseUnreachableError):
        prune(gate, chosen, actor=ALICE)  # type: ignore[arg-type]
    monkeypatch.setattr(gate.ledger, "stores", away)
    with pytest.raises(DatabaseUnreachableError):
        of_all(gate)  # type: ignore[arg-type]
    assert removed == []


# --- under an idempotency key


def again(gate: Gate, asked: str = "all") -> Any:
    return pruned_before(gate, actor=ALICE, idempotency_key="monthly", asked=asked, report=lambda _event: None)  # type: ignore[arg-type]


def test_the_same_request_is_answered_with_what_went_and_removes_nothing_more(
    gate: Gate, clock: FakeClock, removed: list[str]
) -> None:
    clock.move(days=91)
    assert again(gate) is None
    prune(gate, of_all(gate), actor=ALICE, idempotency_key="monthly", asked="all")  # type: ignore[arg-type]
    # Another one's time is over by then.
    delete(gate.ledger, THERE)
    gate.blocks.clear()
    clock.move(days=6)
    (done,) = again(gate)
    assert (done.store_id, done.snapshots, done.replayed) == (GONE, 7, True)
    assert removed == [GONE]
    with pytest.raises(UsageError, match="used for another request"):
        again(gate, "other")


@pytest.mark.parametrize("only_admission", [False, True])
def test_a_prune_that_succeeded_since_its_key_was_asked_for_removes_nothing_more(
    gate: Gate, clock: FakeClock, removed: list[str], monkeypatch: pytest.MonkeyPatch, *, only_admission: bool
) -> None:
    clock.move(days=91)
    assert again(gate) is None
    chosen = of_all(gate)  # type: ignore[arg-type]
    prune(gate, chosen, actor=ALICE, idempotency_key="monthly", asked="all")  # type: ignore[arg-type]
    if only_admission:
        monkeypatch.setattr(gate.ledger, "replayed", lambda _request: None)
        monkeypatch.setattr(gate.ledger, "parts_done", lambda _request: ())
    (done,) = prune(gate, chosen, actor=ALICE, idempotency_key="monthly", asked="all")  # type: ignore[arg-type]
    assert (done.store_id, done.snapshots, done.replayed) == (GONE, 7, True)
    assert removed == [GONE]
    assert len(gate.ledger.entries(ENVIRONMENT, action="store.backups.prune")) == 2


@pytest.mark.parametrize("removals", [0, 1])
def test_a_database_that_is_lost_is_waited_for_once_and_is_no_repositorys_own_failure(
    gate: Gate, clock: FakeClock, removed: list[str], monkeypatch: pytest.MonkeyPatch, removals: int
) -> None:
    delete(gate.ledger, THERE)
    gate.blocks.clear()
    clock.move(days=91)
    chosen = of_all(gate)  # type: ignore[arg-type]
    assert len(chosen) == 2
    known, asked = gate.ledger.stores, retired._why_it_stays
    waits: list[str] = []

    def away(*_: object, **__: object) -> None:
        waits.append("stores")
        raise DatabaseUnreachableError("ledger", "read timed out (nothing was changed)", "check the server")

    def why(*given: Any) -> str | None:
        monkeypatch.setattr(gate.ledger, "stores", away if len(removed) == removals and open_now() else known)
        return asked(*given)

    def open_now() -> bool:
        return removals == 0 or bool(gate.ledger.open_runs(ENVIRONMENT))

    monkeypatch.setattr(retired, "_why_it_stays", why)
    with pytest.raises(DatabaseUnreachableError):
        prune(gate, chosen, actor=ALICE)  # type: ignore[arg-type]
    assert (waits, len(removed)) == (["stores"], removals)
    told = f"{removals} of 2 were gone through, which is on record"
    assert (told in gate.runs.told) == (removals > 0)


def test_a_prune_that_failed_is_resumed_under_its_key(
    gate: Gate, clock: FakeClock, removed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.move(days=91)

    def fail(*_: object, **__: object) -> int:
        raise StoreFailedError("backups", "the server is away", "start it")

    with monkeypatch.context() as broken:
        broken.setattr(retired, "_remove", fail)
        prune(gate, of_all(gate), actor=ALICE, idempotency_key="monthly", asked="all")  # type: ignore[arg-type]
    assert again(gate) is None
    prune(gate, of_all(gate), actor=ALICE, idempotency_key="monthly", asked="all")  # type: ignore[arg-type]
    assert [one.store_id for one in again(gate)] == removed == [GONE]


def test_a_database_that_is_lost_after_a_removal_costs_no_outcome(
    gate: Gate, clock: FakeClock, removed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.move(days=91)

    def away(*_: object, **__: object) -> None:
        raise DatabaseUnreachableError("ledger", "gone", "start it")

    with monkeypatch.context() as lost:
        lost.setattr(gate.ledger, "settle", away)
        with pytest.raises(AuditIncompleteError, match="its backups were removed"):
            prune(gate, of_all(gate), actor=ALICE)  # type: ignore[arg-type]
    assert len(gate.ledger.open_runs(ENVIRONMENT)) == 1
    with gate.runs.new("run-next").session():
        assert gate.ledger.open_runs(ENVIRONMENT) == []
    assert (of_all(gate), removed) == ([], [GONE])  # type: ignore[arg-type]
