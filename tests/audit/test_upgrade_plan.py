"""Which stores an upgrade takes, in which order, and what a rollback goes back to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from audit.closed import Closed
from audit.engine.state import Snapshot
from audit.held import Held
from audit.observation import Observation
from audit.records import StoreRow
from audit.upgrade_plan import UpgradePlan, plan_rollback, plan_upgrade
from components.desired import DesiredStore
from stacks.errors import RefusedError, UsageError
from stacks.helm_history import Revision, RevisionContent
from stacks.manifest_model import Store
from tests.audit.test_observation import LOCAL, NOW, Wanted, desired, row, store

OLD, NEW = "7.1.4-php8.4-apache", "7.1.5-php8.4-apache"
IDS = tuple(f"shop-{letter * 5}" for letter in "bcdfghj")


def wanted(store_id: str, tag: str = OLD, **values: Any) -> DesiredStore:
    one = desired()
    given = {"store": {"title": "Tea"}, "image": {"tag": tag, "digest": ""}, **values}
    return replace(one, store_id=store_id, release=replace(one.release, values=given))


def block(store_id: str, state: str = "active") -> Store:
    return replace(store(state), id=store_id)


def known(store_id: str, status: str = "Ready") -> StoreRow:
    return replace(row(status), store_id=store_id)


def seen(*ids: str, **more: Any) -> Observation:
    """Return an environment in which every store runs OLD, as its block says."""
    fields: dict[str, Any] = {
        "settings": LOCAL,
        "manifest": Wanted(*(block(store_id) for store_id in ids)),
        "snapshots": {"01": Snapshot(exists=True, applied={one: wanted(one).to_dict() for one in ids})},
        "rows": {store_id: known(store_id) for store_id in ids},
        "desired": {store_id: wanted(store_id) for store_id in ids},
        "now": NOW,
    }
    return Observation(**{**fields, **more})


def batches(plan: UpgradePlan) -> list[list[str]]:
    return [[step.store_id for step in batch] for batch in plan.batches]


def test_one_store_goes_alone() -> None:
    plan = plan_upgrade(seen(*IDS[:3]), NEW, [IDS[1]])
    assert batches(plan) == [[IDS[1]]]
    (step,) = plan.steps
    assert (step.before, step.after, step.cell) == (OLD, NEW, "01")


def test_of_all_one_goes_first_and_then_a_few_at_a_time() -> None:
    assert batches(plan_upgrade(seen(*IDS), NEW, None)) == [[IDS[0]], list(IDS[1:4]), list(IDS[4:])]
    assert batches(plan_upgrade(seen(*IDS[:4]), NEW, None, parallel=1)) == [[one] for one in IDS[:4]]
    assert batches(plan_upgrade(seen(*IDS[:1]), NEW, None)) == [[IDS[0]]]


def test_the_canary_is_the_one_that_is_named() -> None:
    assert batches(plan_upgrade(seen(*IDS[:4]), NEW, None, canary=IDS[2]))[0] == [IDS[2]]
    with pytest.raises(UsageError, match="store 'other' is not among those to upgrade"):
        plan_upgrade(seen(*IDS[:4]), NEW, None, canary="other")


def test_a_store_that_is_broken_already_is_no_canary() -> None:
    rows = {IDS[0]: known(IDS[0], "Failed"), IDS[1]: known(IDS[1])}
    assert batches(plan_upgrade(seen(*IDS[:2], rows=rows), NEW, None)) == [[IDS[1]], [IDS[0]]]


def test_stores_at_the_tag_already_are_left_as_they_are() -> None:
    observation = seen(*IDS[:2])
    assert plan_upgrade(observation, OLD, None).there == IDS[:2]
    assert plan_upgrade(observation, OLD, None).batches == ()


def test_a_store_that_failed_at_the_tag_is_tried_again() -> None:
    rows = {IDS[0]: known(IDS[0], "Failed")}
    assert batches(plan_upgrade(seen(IDS[0], rows=rows), OLD, None)) == [[IDS[0]]]


def test_a_store_whose_manifest_names_another_tag_is_not_at_it() -> None:
    observation = seen(IDS[0], desired={IDS[0]: wanted(IDS[0], NEW)})
    assert batches(plan_upgrade(observation, OLD, None)) == [[IDS[0]]]


PROBLEMS = [
    ({"manifest": Wanted(block(IDS[0], "deleted"))}, "it is marked for removal"),
    ({"snapshots": {"01": Snapshot(exists=True)}}, "it was never brought up"),
    ({"held": {IDS[0]: Held(1, Revision(2, "deployed"), ())}}, "held: its Helm revision is 2"),
    ({"closed": {IDS[0]: Closed("run-1", None, 1)}}, "closed: run-1 replaces its data"),
    ({"desired": {IDS[0]: wanted(IDS[0], NEW, store={"title": "New"})}}, "other changes wait for it: store.title"),
    (
        {"snapshots": {"01": Snapshot(exists=True, applied={
            IDS[0]: wanted(IDS[0], image={"tag": OLD, "digest": "sha256:ab"}).to_dict(),
        })}},
        "its image is pinned by digest sha256:ab",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("more", "told"), PROBLEMS)
def test_a_named_store_that_cannot_go_is_refused(more: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        plan_upgrade(seen(IDS[0], **more), NEW, [IDS[0]])


@pytest.mark.parametrize(("more", "told"), PROBLEMS[1:])
def test_of_all_stores_one_that_cannot_go_is_left_out_and_told(more: dict[str, Any], told: str) -> None:
    plan = plan_upgrade(seen(IDS[0], **more), NEW, None)
    assert plan.batches == ()
    (problem,) = plan.left_out[:1]
    assert told in problem.what


def test_a_held_store_goes_where_overwriting_was_asked_for() -> None:
    held = {IDS[0]: Held(1, Revision(2, "deployed"), ())}
    assert batches(plan_upgrade(seen(IDS[0], held=held, overwrite_held=True), NEW, [IDS[0]])) == [[IDS[0]]]


def test_an_unknown_store_and_a_tag_that_is_none_are_refused() -> None:
    with pytest.raises(UsageError, match="there is no such store"):
        plan_upgrade(seen(*IDS), NEW, ["nobody-xxxxx"])
    with pytest.raises(UsageError, match="'latest' names another image every week"):
        plan_upgrade(seen(*IDS), "latest", None)


class LiveCluster:
    def __init__(self, *history: tuple[str, str | None]) -> None:
        self._history = history

    def revisions(self, _namespace: str, _release: str) -> tuple[Revision, ...]:
        return tuple(Revision(number + 1, status) for number, (status, _) in enumerate(self._history))

    def revision(self, _namespace: str, _release: str, number: int) -> RevisionContent:
        status, tag = self._history[number - 1]
        return RevisionContent(number, status, "", {} if tag is None else {"image": {"tag": tag}})


HISTORY = (
    ("superseded", "6.8.3"), ("superseded", "7.0.1"), ("failed", "7.9.9"), ("superseded", OLD), ("deployed", OLD),
)  # fmt: skip


def test_a_rollback_goes_back_to_the_last_revision_that_ran_another_image() -> None:
    (step,) = plan_rollback(seen(IDS[0]), LiveCluster(*HISTORY), IDS[0], None).steps
    assert (step.before, step.after, step.revision) == (OLD, "7.0.1", 2)


def test_a_rollback_goes_to_the_revision_that_is_named() -> None:
    (step,) = plan_rollback(seen(IDS[0]), LiveCluster(*HISTORY), IDS[0], 1).steps
    assert (step.after, step.revision) == ("6.8.3", 1)


@pytest.mark.parametrize(
    ("number", "error", "told"),
    [
        (9, UsageError, "Helm has no revision 9 of it; it has 1, 2, 3, 4, 5"),
        (3, RefusedError, "revision 3 is failed: it never ran"),
        (4, UsageError, f"revision 4 ran image {OLD}, as it does now"),
    ],
)
def test_a_revision_that_cannot_be_gone_back_to_is_refused(number: int, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        plan_rollback(seen(IDS[0]), LiveCluster(*HISTORY), IDS[0], number)


def test_a_store_that_never_ran_another_image_has_nothing_to_go_back_to() -> None:
    with pytest.raises(UsageError, match=f"none of its 2 Helm revisions ran another image than {OLD}"):
        plan_rollback(seen(IDS[0]), LiveCluster(("failed", NEW), ("deployed", OLD)), IDS[0], None)
