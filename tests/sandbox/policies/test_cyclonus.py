"""The translator's verdicts beside those of cyclonus, which others wrote to judge how policies are enforced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings

from .cases import CASES
from .conftest import Connection
from .judge import passes, rules_of
from .reference import World
from .worlds import PODS, connections, policy, worlds
from .worlds import world as world_of

Ask = Callable[[World, Sequence[Connection]], Sequence[bool]]


def compare(ask_cyclonus: Ask, world: World, tried: Sequence[Connection]) -> tuple[int, int]:
    """Return how many connections are allowed and how many not, after all three have said the same of each."""
    rules = rules_of(world)
    told = ask_cyclonus(world, tried)
    assert len(told) == len(tried)
    for allowed, (source, target, protocol, port) in zip(told, tried, strict=True):
        where = (source.address, target.address, protocol, port)
        assert passes(rules, source.address, target.address, protocol, port) == allowed, where
        assert world.allows(source, target, protocol, port) == allowed, where
    return sum(told), len(told) - sum(told)


@pytest.mark.parametrize("name", CASES)
def test_cyclonus_comes_to_the_same_verdicts(ask_cyclonus: Ask, name: str) -> None:
    world = CASES[name]
    allowed, denied = compare(ask_cyclonus, world, connections(world))
    assert bool(allowed) == (name != "deny all everywhere")
    changes_nothing = {"nothing", "no such pod", "allow all in", "allow all out", "allow all beside deny all"}
    assert bool(denied) == (name not in changes_nothing)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 30


def test_cyclonus_is_wrong_about_one_thing_only(ask_cyclonus: Ask) -> None:
    # Kubernetes: NotIn also selects what lacks the label. cyclonus: never. tests/e2e asks a real API server.
    unlike = {"matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["web"]}]}
    found = world_of(policy("x", "p", policyTypes=["Ingress"], ingress=[{"from": [{"podSelector": unlike}]}]))
    source, target = PODS[0], PODS[1]
    assert "role" not in source.labels
    assert ask_cyclonus(found, [(source, target, "TCP", 80)]) == [False]
    assert found.allows(source, target, "TCP", 80)
    assert passes(rules_of(found), source.address, target.address, "TCP", 80)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=worlds.filter(lambda found: "NotIn" not in str(found.policies)))
def test_cyclonus_comes_to_the_same_verdicts_at_random(ask_cyclonus: Ask, world: World) -> None:
    compare(ask_cyclonus, world, connections(world))
