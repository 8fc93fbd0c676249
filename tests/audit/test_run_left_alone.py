"""Stores that a run leaves as they are, whatever their block asks for, and what it says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audit import observation as observations
from audit import schema as schemas
from audit.closed import Closed
from audit.held import Held
from audit.observation import Observation
from audit.phases import health, images
from audit.records import Actor, Change
from audit.run import Run
from audit.schema import Schema
from audit.scope import Scope
from stacks.errors import StoreFailedError
from stacks.helm_history import Revision
from tests.audit.test_observation import LOCAL, TEA, row, seen
from tests.audit.test_upgrade_plan import NEW, OLD, wanted

CLOSED = Closed("run-0", "b" * 64, 1)


def run(scope: Scope | None = None) -> Run:
    unused: Any = None
    return Run(
        root=Path(),
        settings=LOCAL,
        manifest=unused,
        ledger=unused,
        engine=unused,
        cluster=unused,
        entrance=unused,
        actor=Actor("mara", "user"),
        report=lambda _: None,
        scope=scope,
    )


def observed(**more: Any) -> Observation:
    observation = seen(applied=wanted(TEA, NEW).to_dict(), rows=(row("Ready"),))
    return replace(observation, **{"desired": {TEA: wanted(TEA, NEW)}, **more})


def changed(path: str = "image.tag") -> tuple[Change, ...]:
    return (Change(TEA, "tea", "alice", "01", "store.update", {"changes": [path]}),)


def database(at: int, images: dict[str, int]) -> Schema:
    return Schema(NEW, wordpress=at, code_wordpress=at, woocommerce=None, images=images)


def test_a_block_with_an_image_that_is_older_than_the_database_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "ask", lambda *_: database(2, {OLD: 1, NEW: 2}))
    outcome = images.behind(run(), observed(desired={TEA: wanted(TEA, OLD)}), changed())[TEA]
    assert (outcome.outcome, outcome.status, outcome.reached_engine) == ("failure", "Failed", False)
    assert f"it stays as it was: image {OLD} cannot be gone back to alone" in str(outcome.reason)
    assert f"`stores rollback {TEA} --restore-backup`" in str(outcome.reason)


@pytest.mark.parametrize(
    ("said", "admitted", "scope"),
    [
        (database(1, {OLD: 1, NEW: 1}), changed(), None),
        (database(2, {NEW: 2}), changed(), None),
        (None, changed(), None),
        (database(2, {OLD: 1}), changed("web.memory"), None),
        (database(2, {OLD: 1}), changed(), Scope("store.rollback", {TEA: {}})),
    ],
    ids=["the same database", "an image of which nothing is known", "no answer", "another change", "a rollback"],
)
def test_any_other_block_is_followed(
    monkeypatch: pytest.MonkeyPatch, said: Schema | None, admitted: tuple[Change, ...], scope: Scope | None
) -> None:
    monkeypatch.setattr(schemas, "ask", lambda *_: said)
    assert images.behind(run(scope), observed(desired={TEA: wanted(TEA, OLD)}), admitted) == {}


def test_a_closed_shop_makes_a_run_with_nothing_to_do_fail_and_names_the_way_back() -> None:
    observation = observed(closed={TEA: CLOSED})
    result = health.nothing_to_do(run(), observation, observations.plan_stores(observation), health.Health())
    assert isinstance(result.exit_error, StoreFailedError)
    assert f"`stores restore {TEA} --at bbbbbbbb`" in str(result.exit_error)
    (store,) = result.stores
    assert store.reason == CLOSED.reason


def test_a_held_store_is_told_as_held_where_there_is_nothing_to_do() -> None:
    held = Held(1, Revision(2, "deployed"), ())
    observation = observed(held={TEA: held})
    result = health.nothing_to_do(run(), observation, observations.plan_stores(observation), health.Health())
    (store,) = result.stores
    assert (store.reason, result.exit_error) == (held.reason, None)
