from __future__ import annotations

import pytest

from audit.engine.events import Step
from audit.phases.losses import losses
from components import desired

TEA = "tea-x7k2m"


def step(part: str | None, op: str, *, store_id: str | None = TEA, paths: tuple[str, ...] = ()) -> Step:
    return Step(f"urn::{store_id}-{part}", "type", op, store_id, part, paths)


@pytest.mark.parametrize("part", [desired.NAMESPACE, desired.RELEASE, desired.CREDENTIALS, *desired.RANDOM_PARTS])
@pytest.mark.parametrize("op", ["delete", "replace", "create-replacement", "delete-replaced"])
def test_whatever_would_end_data_or_passwords_is_told(part: str, op: str) -> None:
    (problem,) = losses([step(part, op, paths=("metadata.name",))], ())
    assert problem.where == f"store '{TEA}'"
    assert f"its {part} (because of metadata.name)" in problem.what


def test_an_object_that_is_replaced_in_three_steps_is_told_once() -> None:
    steps = [step(desired.RELEASE, op) for op in ("create-replacement", "replace", "delete-replaced")]
    assert len(losses(steps, ())) == 1


@pytest.mark.parametrize("op", ["same", "create", "update", "read", "refresh", "import"])
def test_what_ends_nothing_is_no_loss(op: str) -> None:
    assert losses([step(desired.RELEASE, op)], ()) == []


def test_a_store_that_was_asked_to_leave_may_and_its_neighbour_may_not() -> None:
    steps = [step(desired.NAMESPACE, "delete"), step(desired.NAMESPACE, "delete", store_id="tea-x7k2m-b2c4d")]
    (problem,) = losses(steps, {TEA})
    assert problem.where == "store 'tea-x7k2m-b2c4d'"


def test_policies_quotas_and_what_is_no_stores_may_be_replaced() -> None:
    steps = [step(part, "replace") for part in (*desired.POLICY_PARTS, desired.QUOTA, desired.LIMITS)]
    assert losses([*steps, step(None, "replace", store_id=None)], ()) == []
