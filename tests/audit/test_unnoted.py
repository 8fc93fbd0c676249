"""What a killed engine made and could not note is taken over by the next run, and nothing that is somebody else's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from audit import live
from audit.engine.events import EngineResult
from audit.observation import Observation
from audit.phases import unnoted
from audit.phases.passes import Passes
from components import desired as parts
from components import naming
from stacks.helm_history import Revision
from stacks.program import RunOptions
from tests.audit.test_observation import LOCAL, TEA, desired, row, seen

CELL = "01"


class HalfWorld:
    """A run, and a cluster that has some parts of one store."""

    run_id, settings, environment = "run-now", LOCAL, LOCAL.environment

    def __init__(self, *exist: str, releases: tuple[str, ...] = (), **changed: Any) -> None:
        wanted = desired().objects
        self.found = {wanted[part]["metadata"]["name"]: {**wanted[part]["metadata"], **changed} for part in exist}
        self.history = [Revision(number, status) for number, status in enumerate(releases, start=1)]
        self.cluster = self.ledger = self
        self.uid = "uid-1"
        self.last_uid: str | None = "uid-1"
        self.told: list[str] = []

    def revisions(self, *_: str) -> tuple[Revision, ...]:
        return tuple(self.history)

    def cell_record(self, *_: str) -> Any:
        return SimpleNamespace(cluster_uid=self.last_uid)

    def tell(self, _store_id: str, text: str) -> None:
        self.told.append(text)

    def read(self, _cluster: Any, _version: str, _kind: str, _namespace: str, name: str) -> Mapping[str, Any] | None:
        return {"metadata": self.found[name]} if name in self.found else None


def observed(*noted: str, status: str = "Failed") -> Observation:
    """Return a look at a store of whose parts the state has these."""
    observation = seen(known=True, rows=(row(status),))
    urns = ("urn::stores:index:StoreTenant::tea", *(f"urn::{naming.logical_name(TEA, part)}" for part in noted))
    snapshots = {CELL: replace(observation.snapshots[CELL], urns={TEA: urns})}
    return replace(observation, snapshots=snapshots)


def found(world: HalfWorld, observation: Observation, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, frozenset[str]]:
    monkeypatch.setattr(live, "read", world.read)
    context: Any = world
    return unnoted.parts(context, observation, CELL, [TEA])


def test_a_namespace_that_was_made_and_not_noted_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    world = HalfWorld(parts.NAMESPACE)
    assert found(world, observed(), monkeypatch) == {TEA: {parts.NAMESPACE}}
    assert world.told == ["a killed run has made and not noted: namespace; taken over as it is"]


def test_what_the_state_has_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    world = HalfWorld(parts.NAMESPACE, parts.QUOTA, parts.LIMITS)
    assert found(world, observed(parts.NAMESPACE, parts.QUOTA), monkeypatch) == {TEA: {parts.LIMITS}}
    assert found(world, observed(parts.NAMESPACE, parts.QUOTA, parts.LIMITS), monkeypatch) == {}


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": {}},
        {"labels": {"stores.platform/store": "another-bbbbb", "stores.platform/environment": "local"}},
        {"labels": {"stores.platform/store": TEA, "stores.platform/environment": "prod"}},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
    ],
)
def test_what_is_somebody_elses_or_is_being_deleted_is_not(
    changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(HalfWorld(parts.NAMESPACE, **changed), observed(), monkeypatch) == {}


@pytest.mark.parametrize("status", ["Ready", "Pending", "Deleted"])
def test_a_store_of_which_no_run_broke_off_has_nothing_taken_over(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(HalfWorld(parts.NAMESPACE), observed(status=status), monkeypatch) == {}


def test_nothing_is_taken_over_in_another_cluster_than_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    world = HalfWorld(parts.NAMESPACE)
    world.last_uid = "uid-2"
    assert found(world, observed(), monkeypatch) == {}


def test_credentials_are_taken_over_only_where_their_generated_values_are_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = HalfWorld(parts.NAMESPACE, parts.CREDENTIALS)
    generated = (parts.NAMESPACE, *parts.RANDOM_PARTS)
    assert found(world, observed(*generated), monkeypatch) == {TEA: {parts.CREDENTIALS}}
    # New values would lock the shop out of its database: this is a lost state, and no broken-off run.
    assert found(world, observed(*generated[:-1]), monkeypatch) == {}


@pytest.mark.parametrize(
    ("history", "taken"), [(("deployed",), True), (("failed",), True), (("pending-install",), False)]
)
def test_a_release_is_taken_over_where_helm_is_done_with_it(
    history: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, *, taken: bool
) -> None:
    everything = [part for part in parts.PARTS if part != parts.RELEASE]
    world = HalfWorld(releases=history)
    assert found(world, observed(*everything), monkeypatch) == ({TEA: {parts.RELEASE}} if taken else {})


def test_what_is_taken_over_is_read_first_and_then_made_as_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen_options: list[RunOptions] = []
    passes: Any = SimpleNamespace(
        context=SimpleNamespace(scope=None),
        _pass=lambda options, _targets=(): seen_options.append(options) or EngineResult((), {}),
    )
    Passes.over(passes, RunOptions(taken_over={TEA: frozenset({parts.NAMESPACE})}))
    assert [dict(options.taken_over) for options in seen_options] == [{TEA: {parts.NAMESPACE}}, {}]
