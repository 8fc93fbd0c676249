"""What reconcile and the next run make of what nobody finished: they look, and say no more than they saw.

A real ledger; engine, cluster and ingress say what a test lets exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit import anchors, reconcile
from audit import observation as observations
from audit.engine.events import EngineResult
from audit.engine.locks import EngineLockedError
from audit.engine.state import Snapshot
from audit.ledger import Ledger
from audit.observation import Observation
from audit.phases import orphans
from audit.probe import Answer
from audit.reconcile import Reconciliation
from audit.records import STATE_IMPORT, Change, StoreRecord, StoreRow
from audit.run import Run, RunResult
from stacks.errors import AuditIncompleteError, DatabaseUnreachableError, ManifestError, StoreFailedError
from stacks.settings import Settings
from tests.audit.conftest import FakeClock
from tests.audit.ledger_samples import ALICE, outcomes, request, used
from tests.audit.test_observation import TEA, desired

ENV = "prod"
ANSWERS = Answer(ok=True, detail="Tea", content="WordPress only")
SILENT = Answer(ok=False, detail="GET / answered 503, not 200")


class Manifest:
    """A manifest with the blocks of these stores, or with none."""

    where, environment = "stacks/prod/stores.yaml", ENV

    def __init__(self, *ids: str) -> None:
        self.stores = tuple(SimpleNamespace(id=one, name=one, owner="alice", cell="01", deleted=False) for one in ids)

    def store(self, store_id: str) -> Any:
        return next((store for store in self.stores if store.id == store_id), None)


class LiveCluster:
    address, uid = "https://cluster.example.com", "uid-1"

    def __init__(self) -> None:
        self.existing: set[str] = set()

    def namespace(self, name: str) -> object | None:
        return object() if name in self.existing else None


class IdleEngine:
    def __init__(self) -> None:
        self.cleared: list[str] = []
        self.locked = False

    def clear(self, cell: str, *, pending: bool) -> bool:
        assert not pending, "what Helm has left is asked after it was looked at"
        self.cleared.append(cell)
        if self.locked:
            raise EngineLockedError("stack prod", [])
        return False


class World:
    """One store that the ledger counts, and what a test lets be true of it."""

    def __init__(self, root: Path, ledger: Ledger) -> None:
        self.root, self.ledger = root, ledger
        self.cluster, self.engine = LiveCluster(), IdleEngine()  # type: Any, Any
        self.answer = ANSWERS
        self.snapshot = Snapshot(exists=True)
        self.manifest = Manifest(TEA)

    def run(self) -> Reconciliation:
        fields: dict[str, Any] = {
            "manifest": self.manifest,
            "engine": self.engine,
            "cluster": self.cluster,
            "entrance": self,
        }
        return Reconciliation(
            root=self.root,
            settings=Settings(environment=ENV, protected=False),
            ledger=self.ledger,
            actor=ALICE,
            report=lambda _event: None,
            run_id="run-look",
            **fields,
        )

    def ask(self, _store_id: str, _url: str, *, sells: bool, locale: str) -> Answer:
        assert (sells, locale) == (False, "en_US")
        return self.answer

    def observation(self) -> Observation:
        rows = {row.store_id: row for row in self.ledger.stores(ENV)}
        manifest: Any = self.manifest
        settings = Settings(environment=ENV, protected=False)
        return Observation(settings, manifest, {"01": self.snapshot}, rows, {}, {}, self.ledger.now())

    def looked(self) -> StoreRow:
        run = self.run()
        observation = self.observation()
        run._looked_at(observation, observation.rows[TEA])
        return self.row()

    def row(self) -> StoreRow:
        (row,) = self.ledger.stores(ENV)
        return row

    def created(self, status: Any = "Ready", outcome: str = "success") -> None:
        wish = request([Change(TEA, "tea", "alice", "01", "store.create")])
        self.ledger.settle(wish.run_id, outcomes(self.ledger.admit(wish), status, outcome))

    def killed(self) -> None:
        """Leave a creation without an outcome."""
        self.ledger.admit(request([Change(TEA, "tea", "alice", "01", "store.create")], run_id="run-killed"))


@pytest.fixture
def world(tmp_path: Path, ledger: Ledger) -> World:
    return World(tmp_path, ledger)


def test_a_slot_of_which_nothing_exists_is_given_back_and_never_called_ready(world: World, clock: FakeClock) -> None:
    world.created()
    before = world.row().ready_at
    clock.move(minutes=5)
    row = world.looked()
    assert (row.status, row.holds_slot, row.ready_at) == ("Pending", False, before)
    assert "nothing of it exists" in str(row.status_reason)
    assert used(world.ledger) == 0


def test_a_namespace_that_no_state_knows_keeps_its_slot_and_names_the_import(world: World, clock: FakeClock) -> None:
    world.created()
    before = world.row().ready_at
    clock.move(minutes=5)
    world.cluster.existing = {f"store-{TEA}"}
    row = world.looked()
    assert (row.status, row.holds_slot, row.ready_at) == ("Failed", True, before)
    assert "stores reconcile --import" in str(row.status_reason)


def test_a_store_that_was_begun_and_never_finished_is_not_ready(world: World) -> None:
    world.created()
    world.snapshot = Snapshot(exists=True, known=frozenset({TEA}))
    world.cluster.existing = {f"store-{TEA}"}
    assert (world.looked().status, used(world.ledger)) == ("Failed", 1)


def test_ready_is_what_has_just_answered(world: World, clock: FakeClock) -> None:
    world.created("Failed", "failure")
    assert world.row().ready_at is None
    world.snapshot = Snapshot(exists=True, known=frozenset({TEA}), applied={TEA: desired().to_dict()})
    world.cluster.existing = {f"store-{TEA}"}
    clock.move(minutes=5)
    world.answer = SILENT
    assert (world.looked().status, world.row().ready_at) == ("Failed", None)
    world.answer = ANSWERS
    assert (world.looked().status, world.row().ready_at) == ("Ready", clock())


def test_a_store_whose_namespace_is_gone_is_not_ready_whoever_answers_there(world: World) -> None:
    world.created()
    world.snapshot = Snapshot(exists=True, known=frozenset({TEA}), applied={TEA: desired().to_dict()})
    row = world.looked()
    assert (row.status, row.status_reason) == ("Failed", f"its namespace store-{TEA} is gone")


def test_in_another_cluster_than_the_recorded_one_nothing_is_given_back(world: World) -> None:
    world.created()
    applied = {"manifest_digest": "d", "commit": None, "program_version": "1"}
    world.ledger.record_cell(ENV, "01", cluster_uid="uid-of-another", **applied)
    row = world.looked()
    assert (row.status, row.holds_slot) == ("Failed", True)
    assert "uid-of-another" in str(row.status_reason)


def settled(world: World) -> Observation:
    run: Run = world.run()
    return orphans.settle(run, world.observation(), ())


@pytest.fixture
def observed(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.setattr(observations, "observe", lambda *_: world.observation())
    return lambda: None


@pytest.mark.usefixtures("observed")
def test_a_killed_creation_whose_block_is_gone_again_blocks_nobody(world: World) -> None:
    world.killed()
    world.manifest = Manifest()
    observation = settled(world)
    assert world.ledger.open_runs(ENV) == []
    assert used(world.ledger) == 0
    observations.check(observation)


@pytest.mark.usefixtures("observed")
def test_nothing_is_settled_while_an_engine_may_be_at_work(world: World) -> None:
    world.killed()
    world.engine.locked = True
    with pytest.raises(EngineLockedError):
        settled(world)
    assert [run.run_id for run in world.ledger.open_runs(ENV)] == ["run-killed"]
    world.engine.locked = False
    settled(world)
    assert world.engine.cleared == ["01", "01"]
    assert world.ledger.open_runs(ENV) == []


def test_a_block_that_vanished_of_a_store_that_only_the_ledger_knows_is_an_error(world: World) -> None:
    world.created()
    world.manifest = Manifest()
    world.cluster.existing = {f"store-{TEA}"}
    observation = settled(world)
    with pytest.raises(ManifestError, match=f"store '{TEA}' of owner 'alice' exists, but its block is gone"):
        observations.check(observation)
    assert used(world.ledger) == 1
    world.cluster.existing = set()
    observations.check(settled(world))
    assert used(world.ledger) == 0


def test_a_block_that_is_there_keeps_the_slot_for_the_run_that_makes_it_again(world: World) -> None:
    world.created()
    settled(world)
    assert (world.row().status, used(world.ledger)) == ("Ready", 1)


def test_what_was_given_back_and_exists_after_all_is_counted_again(world: World) -> None:
    world.created()
    world.looked()
    assert used(world.ledger) == 0
    world.snapshot = Snapshot(exists=True, known=frozenset({TEA}))
    world.engine.locked = False
    assert [store.id for store in world.observation().unrecorded()] == [TEA]


def test_an_adopted_store_that_answered_has_sold(world: World, clock: FakeClock) -> None:

    records = [
        StoreRecord(TEA, "tea", "alice", "01", "Ready", "http://tea"),
        StoreRecord("mute-x7k2m", "mute", "alice", "01", "Provisioning", None),
    ]
    world.ledger.adopt(ENV, records, ALICE)
    assert {row.store_id: row.ready_at for row in world.ledger.stores(ENV)} == {TEA: clock(), "mute-x7k2m": None}


# --- the import of a lost state


class ImportingEngine(IdleEngine):
    """An engine that takes live objects into its state; what the ledger says meanwhile is kept."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger
        self.open_at_plant: list[str] = []
        self.result = EngineResult((), {})
        self.lose: Callable[[], None] = lambda: None

    def plant(self, _cell: str, _values: Any) -> None:
        self.open_at_plant = [change.action for run in self.ledger.open_runs(ENV) for change in run.changes]

    def up(self, *_: Any) -> EngineResult:
        self.lose()
        return self.result


@pytest.fixture
def importing(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.delenv(anchors.VARIABLE, raising=False)
    world.engine = ImportingEngine(world.ledger)
    world.cluster.existing = {f"store-{TEA}"}
    monkeypatch.setattr(reconcile, "generated_values", lambda _secret: {"database-password": "x"})
    monkeypatch.setattr(LiveCluster, "secret", lambda *_: {}, raising=False)
    monkeypatch.setattr(Manifest, "in_cell", lambda manifest, _cell: manifest.stores, raising=False)
    monkeypatch.setattr(Manifest, "owners", {}, raising=False)
    monkeypatch.setattr(observations, "observe", lambda *_: replace(world.observation(), desired={TEA: desired()}))
    return world


def import_into(world: World) -> RunResult:
    run = world.run()
    return reconcile.take_over(run, request([], run_id=run.run_id, environment=ENV))


def imports(world: World) -> list[str]:
    return [entry.outcome for entry in world.ledger.entries(ENV, action=STATE_IMPORT, ascending=True)]


def test_an_import_is_on_record_before_the_state_is_written(importing: World) -> None:
    assert import_into(importing).exit_error is None
    assert importing.engine.open_at_plant == [STATE_IMPORT]
    assert imports(importing) == ["unknown", "success"]
    assert (importing.row().status, used(importing.ledger)) == ("Ready", 1)


def test_an_import_counts_what_exists_whatever_the_limits_say(importing: World) -> None:
    importing.created()
    assert import_into(importing).exit_error is None
    assert used(importing.ledger) == 1


def test_an_import_that_was_stopped_is_no_success(importing: World) -> None:
    importing.engine.result = EngineResult((), {}, cancelled=True)
    assert isinstance(import_into(importing).exit_error, StoreFailedError)
    assert imports(importing) == ["unknown", "failure"]
    assert importing.row().status == "Failed"


def test_an_import_whose_database_is_lost_is_kept_on_disk(importing: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise DatabaseUnreachableError("ledger", "gone", "start it")

    with monkeypatch.context() as lost:
        importing.engine.lose = lambda: lost.setattr(importing.ledger, "settle", gone)
        with pytest.raises(AuditIncompleteError, match="its state was read"):
            import_into(importing)
    with importing.run().session():
        assert importing.ledger.open_runs(ENV) == []
    assert imports(importing) == ["unknown", "success"]
