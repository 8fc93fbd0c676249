"""An upgrade's order: manifest, engine, manifest set right; batch after batch, until something fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from audit import schema as schemas
from audit.backups import Snapshot
from audit.engine.state import Snapshot as State
from audit.limits import Limits
from audit.plan import Action
from audit.records import Lease, RunRequest
from audit.results import ProgressEvent, RunResult, StoreResult
from audit.schema import Schema
from audit.scope import Scope
from audit.upgrade_plan import Step, UpgradePlan
from audit.upgrade_results import UpgradeResult
from audit.upgrades import Upgrade
from stacks.errors import DatabaseUnreachableError, Problem, RefusedError, StoreFailedError, StoresError
from stacks.manifest_file import ManifestFile
from tests.audit.ledger_samples import ALICE

OLD, NEW = "7.1.4-php8.4-apache", "7.1.5-php8.4-apache"
A, B, C, D = "tea-bbbbb", "bar-ccccc", "pub-ddddd", "inn-fffff"
STORES = """\
version: 1
stores:
  # the first
  - {id: tea-bbbbb, name: tea, owner: alice, cell: "01"}
  - id: bar-ccccc
    name: bar
    owner: alice
    cell: "01"
    image: {tag: 7.1.4-php8.4-apache}  # since May
  - id: pub-ddddd
    name: pub
    owner: alice
    cell: "01"
  - {id: inn-fffff, name: inn, owner: alice, cell: "01"}
"""
OWNERS = "version: 1\nowners:\n  - {name: alice, contact: alice@example.com}\n"


class OnDisk:
    """The manifest as it was read."""

    def with_image_tag(self, store_id: str, tag: str) -> str:
        return f"{store_id} {tag}"


@dataclass
class World:
    """The engine, the cluster and the gate's runs of one test: `runs` is the image that each store really has."""

    root: Path
    fails: frozenset[str] = frozenset()
    error: StoresError | None = None
    unreadable: bool = False
    runs: dict[str, str] = field(default_factory=lambda: dict.fromkeys((A, B, C, D), OLD))
    batches: list[tuple[str, ...]] = field(default_factory=list)
    parts: list[tuple[str | None, ...]] = field(default_factory=list)
    asked: int = 0
    prepared: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    leases: int = 0
    said: str | None = None
    meddle: str | None = None
    manifest: object = field(default_factory=OnDisk)
    replaces_data: frozenset[str] = frozenset()
    scope: Any = None
    data: Any = None
    breaks_off: bool = False
    taken_back: bool = False

    def snapshot(self, _cell: str) -> State:
        if self.unreadable:
            raise DatabaseUnreachableError("state", "is gone", "find it")
        applied = {one: {"release": {"values": {"image": {"tag": tag}}}} for one, tag in self.runs.items()}
        return State(exists=True, applied=applied)

    def execute(self, *_: object) -> str | None:
        return self.said

    @contextmanager
    def session(self, request: RunRequest) -> Iterator[list[Lease]]:
        assert request.idempotency_key == "k"
        self.leases += 1
        try:
            yield []
        finally:
            self.leases -= 1

    def carry_out(self, request: RunRequest, _leases: Sequence[Lease], scope: Scope) -> RunResult:
        assert self.leases == 1, "the cell is held while it is changed"
        ids = tuple(scope.metadata)
        self.batches.append(ids)
        parts = {str(one["part"]) for one in scope.metadata.values()}
        self.parts.append((request.follows, *parts))
        self.scope = scope
        if scope.data is not None:
            assert self.manifest == f"{A} {NEW}", "what is wanted is known, and not yet in the file"
            scope.data.before_engine()
        for one in ids:
            if scope.data is None or self.data.is_back:
                assert self.tag(one) == scope.metadata[one]["image"]["to"], "the manifest is written first"
            assert scope.metadata[one]["backup"] == f"snap-{one}"
        if self.error is not None:
            raise self.error
        if self.taken_back:
            self.data.is_back = False
        if self.meddle is not None:
            self.file().write_text(self.file().read_text().replace(f"tag: {NEW}", f"tag: {self.meddle}"))
        for one in ids:
            if one not in self.fails:
                self.runs[one] = scope.metadata[one]["image"]["to"]
        results = tuple(
            StoreResult(one, Action.UPDATE, "Ready", f"http://{one}", "no" if one in self.fails else None, 1.0)
            for one in ids
        )
        problems = [Problem(f"store '{one}'", "ErrImagePull", "correct it") for one in ids if one in self.fails]
        error = StoreFailedError.of(problems) if problems else None
        return RunResult(request.run_id, results, nothing_to_do=False, exit_error=error)

    def file(self) -> Path:
        return self.root / "stacks/local/stores.yaml"

    def tag(self, store_id: str) -> str | None:
        return ManifestFile(self.root, "local").image_tag(store_id)

    def upgrade(self, plan: UpgradePlan) -> UpgradeResult:
        def prepare(step: Step) -> Mapping[str, object]:
            assert self.leases == 0, "a backup takes the cell itself"
            self.prepared.append(step.store_id)
            return {"backup": f"snap-{step.store_id}"}

        def request(_run: Any) -> RunRequest:
            self.asked += 1
            return RunRequest(f"run-{self.asked}", "local", ALICE, Limits(), {}, (), idempotency_key="k")

        def report(event: ProgressEvent) -> None:
            self.texts.append(event.text)

        made: Any = self
        upgrade = Upgrade(self.root, made, made, plan, lambda: made, request, prepare, report)
        upgrade.rewind = None if plan.restore is None else self.rewind
        return upgrade.carry_out()

    def rewind(self, _run: Any, _leases: Any, step: Step, write: Callable[[], None]) -> Any:
        self.data = Rewound(self, step, write)
        return self.data


@dataclass
class Rewound:
    """What sets the data back: it finds the manifest as it was, and writes it unless it breaks off."""

    world: World
    step: Step
    write: Callable[[], None]
    undo: str | None = "snap-undo"
    is_back: bool = False

    def before_engine(self) -> None:
        assert self.world.file().read_text() == STORES, "no run must bring about what the data is not of yet"
        if not self.world.breaks_off:
            self.is_back = True
            self.write()


@pytest.fixture
def world(tmp_path: Path) -> World:
    folder = tmp_path / "stacks/local"
    folder.mkdir(parents=True)
    (folder / "stores.yaml").write_text(STORES)
    (folder / "owners.yaml").write_text(OWNERS)
    return World(tmp_path)


def plan(*batches: tuple[str, ...], **more: Any) -> UpgradePlan:
    made = tuple(tuple(Step(one, "01", OLD, NEW) for one in batch) for batch in batches)
    return UpgradePlan("local", "upgrade", NEW, made, **more)


def test_each_batch_is_dumped_written_and_brought_up_in_turn(world: World) -> None:
    result = world.upgrade(plan((A,), (B, C)))
    assert world.batches == [(A,), (B, C)]
    assert world.prepared == [A, B, C]
    assert world.parts == [
        (None, "{'before': [], 'more': True}"),
        ("run-2", "{'before': ['run-2'], 'more': False}"),
    ]
    assert [world.tag(one) for one in (A, B, C, D)] == [NEW, NEW, NEW, None]
    assert (result.new, result.old, result.exit_error) == ((A, B, C), (), None)
    assert [(store.store_id, store.runs, store.backup) for store in result.stores] == [
        (one, NEW, f"snap-{one}") for one in (A, B, C)
    ]
    assert any("batch 1 of 2 (the canary): tea-bbbbb" in text for text in world.texts)


@pytest.mark.parametrize("store_id", [A, B, C])
def test_the_manifest_says_what_it_said_where_the_store_was_rolled_back(world: World, store_id: str) -> None:
    world.fails = frozenset({store_id})
    result = world.upgrade(plan((store_id,)))
    assert world.file().read_text() == STORES
    (store,) = result.stores
    assert (store.before, store.wanted, store.runs) == (OLD, NEW, OLD)
    assert isinstance(result.exit_error, StoreFailedError)


def test_the_first_failure_ends_it_and_says_which_are_new_which_old_and_how_to_go_on(world: World) -> None:
    world.fails = frozenset({C})
    result = world.upgrade(plan((A,), (B, C), (D,)))
    assert world.batches == [(A,), (B, C)]
    assert (result.new, result.old, result.waiting) == ((A, B), (C, D), (D,))
    assert [world.tag(one) for one in (A, B, C, D)] == [NEW, NEW, None, None]
    told = str(result.exit_error)
    assert "store 'pub-ddddd': ErrImagePull; correct it" in told
    assert f"once the cause is corrected: stores upgrade {D} --image-tag {NEW}" in told


def test_a_failing_canary_leaves_all_others_as_they_are(world: World) -> None:
    world.fails = frozenset({A})
    result = world.upgrade(plan((A,), (B, C, D)))
    assert (world.batches, world.prepared) == ([(A,)], [A])
    assert (result.new, result.old) == ((), (A, B, C, D))
    assert world.file().read_text() == STORES


def test_what_keeps_a_batch_from_beginning_leaves_the_manifest_as_it_was(world: World) -> None:
    world.error = DatabaseUnreachableError("ledger", "is gone", "bring it back")
    with pytest.raises(DatabaseUnreachableError):
        world.upgrade(plan((A,), (B,)))
    assert world.file().read_text() == STORES
    assert world.leases == 0


def test_where_it_is_not_known_what_runs_the_manifest_keeps_the_new_image_and_that_is_told(world: World) -> None:
    world.fails, world.unreadable = frozenset({A}), True
    result = world.upgrade(plan((A,)))
    assert world.tag(A) == NEW
    (note,) = result.notes
    assert "whether the stores run it is not known" in note


def test_a_tag_that_somebody_wrote_meanwhile_is_left_alone(world: World) -> None:
    world.fails, world.meddle = frozenset({A}), "7.2.0-php8.4-apache"
    world.upgrade(plan((A,)))
    assert world.tag(A) == "7.2.0-php8.4-apache"


def test_a_tag_that_stood_in_the_manifest_before_is_not_taken_away(world: World) -> None:
    file = ManifestFile(world.root, "local")
    file.set_image_tag(A, NEW)
    file.save()
    world.fails = frozenset({A})
    world.upgrade(plan((A,)))
    assert world.tag(A) == NEW


def test_stores_that_were_left_out_make_the_exit_code(world: World) -> None:
    left_out = (Problem(f"store '{D}'", "held", "look"),)
    result = world.upgrade(plan((A,), left_out=left_out, there=(B,)))
    assert (result.new, result.old) == ((B, A), (D,))
    assert "held" in str(result.exit_error)


def rollback() -> UpgradePlan:
    return UpgradePlan("local", "rollback", NEW, ((Step(A, "01", OLD, NEW, 3),),))


def test_a_rollback_across_a_change_of_the_database_is_refused_before_anything_is_written(world: World) -> None:
    with pytest.raises(RefusedError, match="cannot be asked which version its database is at"):
        world.upgrade(rollback())
    assert world.batches == []
    assert world.file().read_text() == STORES


def rewound(world: World, **more: Any) -> UpgradeResult:
    for name, value in more.items():
        setattr(world, name, value)
    taken = Snapshot("c" * 64, datetime(2026, 11, 23, tzinfo=UTC), "pre-upgrade", (), None, None)
    return world.upgrade(replace(rollback(), restore=taken))


def test_a_rollback_with_its_data_is_asked_nothing_writes_late_and_names_snapshot_and_revision(world: World) -> None:
    result = rewound(world)
    assert world.tag(A) == NEW
    assert world.replaces_data == {A}
    metadata = world.scope.metadata[A]
    assert (metadata["snapshot"], metadata["taken_at"], metadata["revision"]) == (
        "c" * 64, "2026-11-23T00:00:00+00:00", 3,
    )  # fmt: skip
    (store,) = result.stores
    assert (store.runs, store.backup) == (NEW, "snap-undo")


def test_a_rollback_that_breaks_off_before_the_data_is_whole_leaves_the_manifest_as_it_was(world: World) -> None:
    rewound(world, breaks_off=True, fails=frozenset({A}))
    assert world.file().read_text() == STORES


def test_the_manifest_keeps_the_image_of_the_data_though_it_does_not_run(world: World) -> None:
    result = rewound(world, fails=frozenset({A}))
    assert world.tag(A) == NEW
    (note,) = result.notes
    assert "of which its data is now" in note


def test_the_manifest_is_set_right_where_the_data_of_before_is_back_too(world: World) -> None:
    rewound(world, fails=frozenset({A}), taken_back=True)
    assert world.file().read_text() == STORES


@pytest.mark.parametrize(("images", "refused"), [({NEW: 1}, True), ({NEW: 2}, False), ({}, False)])
def test_an_upgrade_to_an_image_that_is_older_than_the_database_is_refused_too(
    world: World, monkeypatch: pytest.MonkeyPatch, images: dict[str, int], *, refused: bool
) -> None:
    said = Schema(OLD, wordpress=2, code_wordpress=2, woocommerce=None, images=images)
    monkeypatch.setattr(schemas, "ask", lambda *_: said)
    if refused:
        with pytest.raises(RefusedError, match="the database was updated since, from WordPress 1 to 2"):
            world.upgrade(plan((A,)))
        assert world.batches == []
        assert world.file().read_text() == STORES
    else:
        world.upgrade(plan((A,)))
        assert world.tag(A) == NEW


def test_the_refusal_names_the_command_that_goes_back_with_the_data(world: World) -> None:
    with pytest.raises(RefusedError) as refused:
        world.upgrade(rollback())
    assert f"`stores rollback {A} 3 --restore-backup` puts back the backup of before that upgrade" in str(refused.value)
