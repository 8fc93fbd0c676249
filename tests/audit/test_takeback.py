"""What is taken back after a failed change, and what is left; on a live cluster in tests/e2e/test_upgrades.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from audit import schema as schemas
from audit.engine.events import EngineResult
from audit.engine.state import Snapshot
from audit.observation import Observation
from audit.phases.takeback import Work, take_back
from audit.probe import Answer
from audit.records import Change, StoreOutcome
from audit.schema import Schema
from audit.scope import Scope
from stacks.errors import ClusterUnreachableError
from stacks.program import RunOptions
from tests.audit.test_observation import LOCAL, TEA, row, seen
from tests.audit.test_upgrade_plan import NEW, OLD, wanted

UPGRADE = Scope("store.upgrade", {TEA: {}})
URNS = (f"urn::{TEA}", f"urn::{TEA}-release")


@dataclass
class FakeRun:
    """An engine that brings stores back unless told otherwise, and a shop that answers unless told otherwise."""

    scope: Scope | None = None
    answer: Answer | None = field(default_factory=lambda: Answer(ok=True, detail="", content="WooCommerce 11.0.1"))
    failures: Mapping[str, str] = field(default_factory=dict)
    error: ClusterUnreachableError | None = None
    asked: list[tuple[RunOptions, Sequence[str]]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    settings: object = LOCAL
    cluster: object = None
    on_step: object = None

    @property
    def engine(self) -> Any:
        return self

    @property
    def waiting(self) -> Any:
        return self

    def snapshot(self, _cell: str) -> Snapshot:
        return Snapshot(exists=True, urns={TEA: URNS, "other-bbbbb": ("urn::other",)})

    def up(self, cell: str, options: RunOptions, _ids: object, _on_step: object, *, targets: Any) -> EngineResult:
        assert cell == "01"
        self.asked.append((options, targets))
        if self.error is not None:
            raise self.error
        return EngineResult((), self.failures)

    def poll(self, _store: object, _timeout_s: float) -> Answer | None:
        return self.answer

    def tell(self, _store_id: str, text: str, _status: object = None) -> None:
        self.told.append(text)


def observation(**more: Any) -> Observation:
    applied = {**wanted(TEA, OLD).to_dict(), "release": wanted_release(OLD)}
    known = seen(applied=applied, rows=(row("Ready"),))
    return replace(known, **{"desired": {TEA: wanted(TEA, NEW)}, **more})


def wanted_release(tag: str) -> dict[str, Any]:
    release = dict(wanted(TEA, tag).to_dict()["release"])
    return {**release, "values": {**release["values"], "ingress": {"host": "tea"}}}


def work(*, outcome: str = "failure", action: str = "store.update", failures: Any = None, **more: Any) -> Work:
    failed = StoreOutcome(TEA, outcome, "Failed", reason="ErrImagePull")  # type: ignore[arg-type]
    found = {TEA: "ErrImagePull"} if failures is None else failures
    change = Change(TEA, "tea", "alice", "01", action)
    return Work(observation(**more), "01", RunOptions(marked={TEA: "x"}), {TEA: change}, {TEA: failed}, found)


def taken(run: FakeRun, of: Work) -> dict[str, StoreOutcome]:
    made: Any = run
    return take_back(made, of)


def test_a_failed_change_becomes_again_what_was_applied_and_nothing_else_is_touched() -> None:
    run = FakeRun()
    outcome = taken(run, work())[TEA]
    ((options, targets),) = run.asked
    assert options.frozen[TEA]["release"]["values"]["image"]["tag"] == OLD
    assert (list(targets), options.marked) == (list(URNS), {})
    assert (outcome.outcome, outcome.status) == ("failure", "Failed")
    assert outcome.reason == f"ErrImagePull; it was rolled back, and serves with image {OLD} as before"


@pytest.mark.parametrize("action", ["store.upgrade", "store.rollback"])
def test_after_an_upgrade_the_store_is_ready_again_with_the_reason_beside_it(action: str) -> None:
    outcome = taken(FakeRun(scope=UPGRADE), work(action=action))[TEA]
    assert (outcome.outcome, outcome.status, outcome.content) == ("failure", "Ready", "WooCommerce 11.0.1")
    assert "it was rolled back" in str(outcome.reason)


@pytest.mark.parametrize(
    "left",
    [
        {"outcome": "success"},
        {"outcome": "cancelled"},
        {"action": "store.create"},
        {"action": "store.delete"},
        {"action": "store.owner_change"},
        {"desired": {TEA: wanted(TEA, OLD)}, "snapshots": {"01": Snapshot(
            exists=True, applied={TEA: wanted(TEA, OLD).to_dict()},
        )}},
        {"snapshots": {"01": Snapshot(exists=True)}},
    ],
)  # fmt: skip
def test_what_was_nothing_before_or_did_not_fail_is_left_as_it_is(left: dict[str, Any]) -> None:
    run = FakeRun(scope=UPGRADE)
    assert taken(run, work(**left)) == {}
    assert run.asked == []


SCHEMA = Schema(NEW, wordpress=1, code_wordpress=1, woocommerce=None, images={OLD: 1, NEW: 1})


@pytest.mark.parametrize(
    ("scope", "database", "expected"),
    [(None, 1, False), (UPGRADE, 1, True), (UPGRADE, 2, False), (UPGRADE, None, False)],
)
def test_a_store_that_came_up_and_does_not_sell_is_taken_back_in_an_upgrade_of_the_same_database_alone(
    monkeypatch: pytest.MonkeyPatch, scope: Scope | None, database: int | None, *, expected: bool
) -> None:
    said = None if database is None else replace(SCHEMA, wordpress=database)
    monkeypatch.setattr(schemas, "ask", lambda *_: said)
    run = FakeRun(scope=scope)
    assert bool(taken(run, work(failures={}))) is expected


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (FakeRun(scope=UPGRADE, failures={TEA: "quota"}), "rolling it back failed too: quota"),
        (FakeRun(scope=UPGRADE, answer=Answer(ok=False, detail="503")), "rolling it back failed too: 503"),
        (FakeRun(scope=UPGRADE, answer=None), "rolling it back failed too: the run was stopped"),
        (FakeRun(scope=UPGRADE, error=ClusterUnreachableError("a", "b", "c")), "rolling it back failed too: a: b; c"),
    ],
)
def test_a_store_that_cannot_be_taken_back_is_failed_with_both_reasons(run: FakeRun, told: str) -> None:
    outcome = taken(run, work())[TEA]
    assert (outcome.outcome, outcome.status) == ("failure", "Failed")
    assert str(outcome.reason).startswith("ErrImagePull; ")
    assert told in str(outcome.reason)


@dataclass
class Rewound:
    """Data that was set back in a rollback, and what is done to it here; `run` is where the engine's calls are seen."""

    run: FakeRun
    why: str | None = None
    done: list[tuple[str, int]] = field(default_factory=list)
    told: Mapping[str, object] = field(default_factory=dict)

    def before_engine(self) -> None:
        raise AssertionError("that was before")

    def taken_back(self) -> str | None:
        self.done.append(("taken back", len(self.run.asked)))
        return self.why

    def started(self) -> None:
        self.done.append(("started", len(self.run.asked)))


@pytest.mark.parametrize("failures", [None, {}])
def test_a_rollback_that_set_the_data_back_puts_that_of_before_back_before_the_code(failures: Any) -> None:
    run = FakeRun()
    data = Rewound(run)
    run.scope = Scope("store.rollback", {TEA: {}}, data)
    outcome = taken(run, work(action="store.rollback", failures=failures))[TEA]
    assert data.done == [("taken back", 0), ("started", 1)]
    assert (outcome.outcome, outcome.status) == ("failure", "Ready")


def test_the_code_of_before_never_comes_back_to_the_data_of_an_older_one() -> None:
    run = FakeRun()
    run.scope = Scope("store.rollback", {TEA: {}}, Rewound(run, why="the volume is full; it stays closed"))
    outcome = taken(run, work(action="store.rollback"))[TEA]
    assert run.asked == []
    assert outcome.status == "Failed"
    assert "rolling it back failed too: the volume is full; it stays closed" in str(outcome.reason)
