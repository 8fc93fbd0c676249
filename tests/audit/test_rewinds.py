"""The order in which a shop's data is set back, and what is left where it breaks off.

On a live cluster it is tried in tests/e2e/test_upgrades.py.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from audit import backups, live, replacement, rewinds
from audit import schema as schemas
from audit.backups import Snapshot
from audit.closed import RESTORING, Closed
from audit.jobs import JobResult
from audit.records import Actor, StoreOutcome
from audit.replacement import Replacement
from audit.rewinds import Rewind, chosen, with_data
from audit.schema import Schema
from audit.upgrade_plan import Step, UpgradePlan
from stacks.errors import ClusterUnreachableError, LockedError, RefusedError, StoreFailedError, UsageError

TEA, OLD, NEW = "tea-x7k2m", "6.8.3-php8.4-apache", "7.1.4-php8.4-apache"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
STEP = Step(TEA, "01", NEW, OLD, 3)
UNDO = "b" * 64
DONE = JobResult(succeeded=True, container="files")
UNTOUCHED = JobResult(succeeded=False, container="fetch", reason="the dump is not whole")
BROKEN = JobResult(succeeded=False, container="load", reason="the volume is full")
UNSEEN = JobResult(succeeded=False, reason="job restore-1 was deleted while it ran", certain=False)
STOPPED = JobResult(succeeded=False, container="load", reason="it was stopped", cancelled=True)


def snapshot(number: int, reason: str = "pre-upgrade", tag: str = OLD, *, hours: float = 0) -> Snapshot:
    return Snapshot(f"{number:x}" * 64, NOON - timedelta(hours=hours), reason, (f"wordpress:{tag}",), None, None)


JOB = {"spec": {"template": {"spec": {
    "initContainers": [{"name": "address", "image": "wordpress:new"}],
    "containers": [{"name": "files", "image": "restic:1"}],
}}}}  # fmt: skip


@dataclass
class World:
    """One shop's Deployment, and everything that is done to it, in order, with the state that it was done in."""

    results: list[JobResult] = field(default_factory=lambda: [DONE])
    no_backup: StoreFailedError | None = None
    not_written: LockedError | None = None
    mark: str | None = None
    replicas: int = 1
    paused: bool = False
    images: Any = None
    done: list[tuple[str, str, int]] = field(default_factory=list)
    """What was done; whether the shop was open, shut or marked as closed; how many web pods there were."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    run_id: str = "run-1"

    @property
    def state(self) -> str:
        return "closed" if self.mark is not None else "shut" if self.replicas == 0 else "open"

    def note(self, what: str) -> None:
        self.done.append((what, self.state, self.replicas))

    def read(self, *_: object) -> Mapping[str, Any]:
        annotations = {} if self.mark is None else {RESTORING: self.mark}
        return {"metadata": {"annotations": annotations}, "spec": {"replicas": self.replicas}}

    def patch(self, _cluster: object, _version: str, kind: str, _where: object, change: Mapping[str, Any]) -> None:
        if kind == "CronJob":
            self.paused = change["spec"]["suspend"]
            return
        self.mark = change["metadata"]["annotations"][RESTORING]
        self.replicas = change["spec"]["replicas"]

    def taken(self, _run: object, _leases: object, _store_id: str, reason: str, **_: object) -> str:
        self.note(f"backup {reason}")
        if self.no_backup is not None:
            raise self.no_backup
        return UNDO

    def load(
        self, _restore: object, store_id: str, source: str, taken: Snapshot, _server: object, images: Any = None
    ) -> JobResult:
        assert store_id == source == TEA
        self.images = images
        self.note(f"load {taken.id[:4]}")
        result = self.results.pop(0)
        if result.cancelled:
            self.cancelled.set()
        return result

    def write(self) -> None:
        self.note("manifest")
        if self.not_written is not None:
            raise self.not_written

    def until_sells(self, store_id: str) -> StoreOutcome:
        self.note("sells")
        return StoreOutcome(store_id, "success", "Ready", url="http://tea")

    def rewind(self, **more: Any) -> Rewind:
        gate: Any = SimpleNamespace(cluster=None)
        run: Any = self
        return Rewind(gate, Actor("mara", "user"), lambda _: None, run, [], STEP, snapshot(10), self.write, **more)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(live, "read", made.read)
    monkeypatch.setattr(live, "patch", made.patch)
    monkeypatch.setattr(live, "pods", lambda *given: range(made.replicas if "wordpress" in str(given) else 0))
    monkeypatch.setattr(replacement, "_works", lambda _: True)
    monkeypatch.setattr(backups, "taken", made.taken)
    monkeypatch.setattr(backups, "job_of", lambda *_: JOB)
    monkeypatch.setattr(backups, "server_of", lambda _: None)
    monkeypatch.setattr(Replacement, "load", lambda *given: made.load(*given))  # noqa: PLW0108 - bound to the restore
    return made


def test_backup_data_and_manifest_follow_each_other_without_any_web_pod(world: World) -> None:
    rewind = world.rewind()
    assert rewind.before_engine() is None
    assert world.done == [("backup pre-restore", "shut", 0), ("load aaaa", "closed", 0), ("manifest", "closed", 0)]
    # What goes on now, this run's engine or another run, brings up the old image on the old data.
    assert (world.state, rewind.is_back) == ("shut", True)
    assert rewind.told == {"snapshot": "a" * 64, "undo": UNDO}
    rewind.started()
    assert (world.state, world.replicas, world.paused) == ("open", 1, False)


def test_without_a_backup_there_is_none_to_tell_of(world: World) -> None:
    rewind = world.rewind(keep_undo=False)
    assert rewind.before_engine() is None
    assert [what for what, *_ in world.done] == ["load aaaa", "manifest"]
    assert rewind.told == {"snapshot": "a" * 64}


def test_web_pods_that_the_engine_has_brought_back_are_left_alone(world: World) -> None:
    rewind = world.rewind()
    rewind.before_engine()
    world.replicas = 2
    rewind.started()
    assert (world.replicas, world.paused) == (2, False)


def test_a_shop_that_a_killed_run_has_left_without_web_pods_gets_one(world: World) -> None:
    world.replicas = 0
    rewind = world.rewind()
    rewind.before_engine()
    rewind.started()
    assert world.replicas == 1


@pytest.mark.parametrize("how", ["no backup", "not fetched", "no template"])
def test_what_fails_before_anything_is_touched_opens_the_shop_again(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "no backup":
        world.no_backup = StoreFailedError(f"store '{TEA}'", "its backup failed", "try again")
    elif how == "not fetched":
        world.results = [UNTOUCHED]
    else:

        def none(*_: object) -> None:
            raise UsageError(f"store '{TEA}'", "it has no template for a restore", "run `stores up`")

        monkeypatch.setattr(backups, "job_of", none)
    rewind = world.rewind()
    outcome = rewind.before_engine()
    assert outcome is not None
    assert (outcome.outcome, outcome.status) == ("failure", "Ready")
    assert str(outcome.reason).startswith("nothing was changed: ")
    assert (world.state, world.replicas, rewind.is_back) == ("open", 1, False)
    assert "manifest" not in [what for what, *_ in world.done]


@pytest.mark.parametrize(("result", "kind"), [(BROKEN, "failure"), (UNSEEN, "failure"), (STOPPED, "cancelled")])
def test_what_breaks_off_in_the_middle_leaves_the_shop_closed_and_names_both_ways_on(
    world: World, result: JobResult, kind: str
) -> None:
    world.results = [result]
    rewind = world.rewind()
    outcome = rewind.before_engine()
    assert outcome is not None
    assert (outcome.outcome, outcome.status) == (kind, "Failed")
    assert f"`stores rollback {TEA} 3 --restore-backup` again" in str(outcome.reason)
    assert f"`stores restore {TEA} --at bbbbbbbb`" in str(outcome.reason)
    assert Closed.of(world.read()) == Closed("run-1", UNDO, 1)
    assert "manifest" not in [what for what, *_ in world.done]


def test_a_manifest_that_cannot_be_written_leaves_the_shop_closed(world: World) -> None:
    world.not_written = LockedError("stores.yaml", "the file was changed by somebody else meanwhile", "run it again")
    outcome = world.rewind().before_engine()
    assert outcome is not None
    assert outcome.status == "Failed"
    assert "changed by somebody else" in str(outcome.reason)
    assert world.state == "closed"


@pytest.mark.parametrize(("result", "state"), [(DONE, "shut"), (UNTOUCHED, "closed"), (BROKEN, "closed")])
def test_after_a_try_that_broke_off_half_data_is_neither_backed_up_nor_opened(
    world: World, result: JobResult, state: str
) -> None:
    world.mark, world.replicas, world.results = Closed("run-0", UNDO, 2).mark, 0, [result]
    rewind = world.rewind()
    outcome = rewind.before_engine()
    assert (outcome is None) is result.succeeded
    assert world.state == state
    assert world.done[0] == ("load aaaa", "closed", 0)
    assert rewind.undo == UNDO
    if result.succeeded:
        rewind.started()
        assert world.replicas == 2


def test_half_data_stays_closed_too_where_a_restore_is_not_possible_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.mark, world.replicas = Closed("run-0", UNDO, 1).mark, 0

    def none(*_: object) -> None:
        raise UsageError(f"store '{TEA}'", "it has no template for a restore", "run `stores up`")

    monkeypatch.setattr(backups, "job_of", none)
    outcome = world.rewind().before_engine()
    assert outcome is not None
    assert (outcome.status, world.state, world.replicas) == ("Failed", "closed", 0)


def test_what_the_engine_cannot_bring_up_gets_its_data_of_before_back(world: World) -> None:
    world.results = [DONE, DONE]
    rewind = world.rewind()
    rewind.before_engine()
    world.replicas = 1  # the engine's new pod, which does not come up
    assert rewind.taken_back() is None
    assert world.done[-1] == ("load bbbb", "closed", 0)
    # By the images of before: that of the release may be what cannot be pulled.
    assert world.images == {"address": "wordpress:new", "files": "restic:1"}
    assert (world.state, rewind.is_back) == ("shut", False)


def test_where_the_data_of_before_does_not_come_back_the_shop_stays_closed(world: World) -> None:
    world.results = [DONE, BROKEN]
    rewind = world.rewind()
    rewind.before_engine()
    why = str(rewind.taken_back())
    assert "what was there before could not be put back: the volume is full" in why
    assert f"`stores restore {TEA} --at bbbbbbbb`" in why
    assert (world.state, rewind.is_back) == ("closed", True)


def test_without_a_backup_of_before_nothing_is_put_back(world: World) -> None:
    rewind = world.rewind(keep_undo=False)
    rewind.before_engine()
    assert "no backup was taken of what was there before" in str(rewind.taken_back())
    assert [what for what, *_ in world.done] == ["load aaaa", "manifest"]


def test_it_is_the_newest_backup_that_an_upgrade_took_of_that_image() -> None:
    found = [
        snapshot(1, hours=9),
        snapshot(2, hours=5),
        snapshot(3, tag=NEW, hours=1),
        snapshot(4, "pre-restore"),
        snapshot(5, "manual"),
        snapshot(6, tag=f"{OLD}-2"),
    ]
    assert chosen(found, STEP) == found[1]


@pytest.mark.parametrize("found", [[], [snapshot(1, tag=NEW)], [snapshot(1, "scheduled")]])
def test_without_such_a_backup_it_is_refused(found: list[Snapshot]) -> None:
    with pytest.raises(RefusedError, match=f"there is no backup that was taken before an upgrade from image {OLD}"):
        chosen(found, STEP)


PLAN = UpgradePlan("local", "rollback", OLD, ((STEP,),))
SCHEMA = Schema(NEW, wordpress=2, code_wordpress=2, woocommerce=None, images={OLD: 1, NEW: 2})


def planned(monkeypatch: pytest.MonkeyPatch, schema: Schema | None) -> UpgradePlan:
    gate: Any = SimpleNamespace(cluster=None)
    server = SimpleNamespace(ensure=lambda _: False)
    monkeypatch.setattr(schemas, "ask", lambda *_: schema)
    monkeypatch.setattr(rewinds.backups, "server_of", lambda _: server)
    monkeypatch.setattr(rewinds.backups, "known_ids", lambda _: [])
    monkeypatch.setattr(rewinds.backups, "listed", lambda *_, **__: [snapshot(1)])
    return with_data(gate, PLAN, lambda _: None)


@pytest.mark.parametrize("schema", [SCHEMA, None])
def test_a_plan_names_the_backup_where_the_database_was_updated_or_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch, schema: Schema | None
) -> None:
    assert planned(monkeypatch, schema).restore == snapshot(1)


def test_nothing_is_lost_for_a_database_that_fits_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = Schema(NEW, wordpress=1, code_wordpress=1, woocommerce=None, images={OLD: 1, NEW: 1})
    with pytest.raises(UsageError, match="leave --restore-backup out"):
        planned(monkeypatch, fits)


def test_a_cluster_that_goes_away_after_the_shop_was_closed_leaves_it_closed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> JobResult:
        raise ClusterUnreachableError("cluster", "it does not answer", "start it")

    monkeypatch.setattr(Replacement, "load", gone)
    outcome = world.rewind().before_engine()
    assert outcome is not None
    assert (outcome.status, world.state) == ("Failed", "closed")
