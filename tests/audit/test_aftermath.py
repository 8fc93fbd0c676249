"""What a run left behind decides its outcome; the time since then never does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from audit import aftermath
from audit.engine.state import Snapshot
from audit.observation import Observation
from audit.probe import Answer
from audit.records import Actor, Change, OpenRun
from tests.audit.test_observation import TEA, desired, seen

CREATE, DELETE = "store.create", "store.delete"


class LiveCluster:
    def __init__(self, *, exists: bool) -> None:
        self.exists = exists

    def namespace(self, name: str) -> object | None:
        assert name == f"store-{TEA}"
        return object() if self.exists else None


class Door:
    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def ask(self, _store_id: str, _url: str, *, sells: bool, locale: str) -> Answer:
        assert not sells  # the store declares no WooCommerce
        assert locale == "en_US"
        return self.answer


ANSWERS = Answer(ok=True, detail="", content="WordPress only")


def outcome(observation: Observation, action: str = CREATE, *, exists: bool = True, answer: Answer = ANSWERS) -> Any:
    change = Change(TEA, "tea", "alice", "01", action, {})
    run = OpenRun("run-1", "local", Actor("alice", "user"), datetime(2026, 3, 1, tzinfo=UTC), (change,))
    (found,) = aftermath.outcomes(run, observation, LiveCluster(exists=exists), Door(answer))
    return found


def applied(**changed: Any) -> dict[str, Any]:
    return {**desired().to_dict(), **changed}


def test_what_was_applied_and_answers_was_a_success() -> None:
    found = outcome(seen(applied=applied()))
    assert (found.outcome, found.status, found.content) == ("success", "Ready", "WordPress only")


def test_what_was_applied_and_does_not_answer_failed() -> None:
    found = outcome(seen(applied=applied()), answer=Answer(ok=False, detail="GET / answered 503, not 200"))
    assert (found.outcome, found.status) == ("failure", "Failed")
    assert "answered 503" in found.reason


def test_another_state_than_the_wanted_one_is_no_success() -> None:
    found = outcome(seen(applied=applied(name="older")))
    assert (found.outcome, found.status) == ("failure", "Failed")
    assert "the change is not applied" in found.reason


@pytest.mark.parametrize("exists", [True, False])
def test_a_store_that_was_begun_keeps_its_slot(*, exists: bool) -> None:
    found = outcome(seen(known=True), exists=exists)
    assert (found.outcome, found.status, found.reached_engine) == ("failure", "Failed", True)


def test_a_namespace_alone_is_enough_to_keep_the_slot() -> None:
    found = outcome(seen(), exists=True)
    assert found.reached_engine


def test_a_creation_of_which_nothing_exists_gives_its_slot_back() -> None:
    found = outcome(seen(), exists=False)
    assert (found.outcome, found.reached_engine) == ("failure", False)


def test_a_deletion_is_done_when_state_and_namespace_are_gone_and_not_before() -> None:
    gone = replace(seen(state="deleted"), snapshots={"01": Snapshot(exists=True)})
    assert (outcome(gone, DELETE, exists=False).outcome, outcome(gone, DELETE, exists=False).status) == (
        "success",
        "Deleted",
    )
    assert outcome(gone, DELETE, exists=True).status == "Deleting"
    assert outcome(seen(state="deleted", known=True), DELETE, exists=False).status == "Deleting"
