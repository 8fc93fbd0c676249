"""What Helm has noted of an operation that a killed run began is removed, and nobody else's."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from audit import live
from audit.held import Held
from audit.observation import Observation
from audit.phases import pending_releases
from audit.phases.broken_locks import CLOCKS_APART
from audit.records import NewEntry
from stacks.helm_history import Revision
from tests.audit.ledger_samples import ALICE
from tests.audit.test_observation import LOCAL, NOW, TEA, row, seen


class HelmWorld:
    """A run, and a cluster with one release."""

    actor, run_id, settings = ALICE, "run-now", LOCAL

    def __init__(self, *statuses: str, begun_at: datetime = NOW) -> None:
        self.history = [Revision(number, status) for number, status in enumerate(statuses, start=1)]
        self.begun_at = begun_at
        self.cluster = self.ledger = self
        self.recorded: list[NewEntry] = []
        self.told: list[str] = []

    def revisions(self, namespace: str, release: str) -> tuple[Revision, ...]:
        assert (namespace, release) == (f"store-{TEA}", TEA)
        return tuple(self.history)

    def record(self, entry: NewEntry) -> None:
        self.recorded.append(entry)

    def tell(self, _store_id: str, text: str) -> None:
        self.told.append(text)

    def read(self, _cluster: Any, _version: str, kind: str, _namespace: str, _name: str) -> Any:
        assert kind == "Secret"
        return {"metadata": {"creationTimestamp": f"{self.begun_at:%Y-%m-%dT%H:%M:%SZ}", "resourceVersion": "7"}}

    def delete(self, _cluster: Any, _version: str, _kind: str, where: tuple[str, str], resource_version: str) -> None:
        assert resource_version == "7"
        assert len(self.recorded) > len(self.removed), "on record before it is done"
        self.removed.append(where[1])

    removed: list[str]


def settled(world: HelmWorld, observation: Observation, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    world.removed = []
    monkeypatch.setattr(live, "read", world.read)
    monkeypatch.setattr(live, "delete", world.delete)
    run: Any = world
    pending_releases.settle(run, observation, [TEA])
    return world.removed


BROKE_OFF = seen(known=True, rows=(row("Failed"),))


@pytest.mark.parametrize("status", ["pending-upgrade", "pending-rollback"])
def test_an_upgrade_that_was_cut_short_leaves_what_was_deployed_before(
    status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = HelmWorld("superseded", "deployed", status)
    assert settled(world, BROKE_OFF, monkeypatch) == [f"sh.helm.release.v1.{TEA}.v3"]
    (entry,) = world.recorded
    assert (entry.action, entry.store_id, entry.run_id) == ("release.settle", TEA, "run-now")
    assert entry.metadata == {"release": TEA, "revision": 3, "was": status}


def test_a_first_installation_that_was_cut_short_leaves_no_release(monkeypatch: pytest.MonkeyPatch) -> None:
    world = HelmWorld("pending-install")
    assert settled(world, BROKE_OFF, monkeypatch) == [f"sh.helm.release.v1.{TEA}.v1"]


def test_several_that_were_cut_short_go_the_newest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    world = HelmWorld("deployed", "pending-upgrade", "pending-rollback")
    assert [name[-2:] for name in settled(world, BROKE_OFF, monkeypatch)] == ["v3", "v2"]


@pytest.mark.parametrize("statuses", [(), ("deployed",), ("deployed", "failed"), ("pending-upgrade", "deployed")])
def test_what_has_ended_stays(statuses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    world = HelmWorld(*statuses)
    assert settled(world, BROKE_OFF, monkeypatch) == []
    assert world.recorded == []


def check_that_it_stays(world: HelmWorld, observation: Observation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settled(world, observation, monkeypatch) == []
    assert world.recorded == []
    (told,) = world.told
    assert "by somebody else" in told


def test_an_operation_on_a_store_that_works_is_an_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    works = seen(known=True, rows=(row("Ready"),))
    check_that_it_stays(HelmWorld("deployed", "pending-upgrade"), works, monkeypatch)


def test_an_operation_on_a_held_store_is_an_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    held = replace(BROKE_OFF, held={TEA: Held(1, Revision(2, "pending-upgrade"), ())})
    check_that_it_stays(HelmWorld("deployed", "pending-upgrade"), held, monkeypatch)


@pytest.mark.parametrize(("after", "ours"), [(CLOCKS_APART, True), (CLOCKS_APART + timedelta(seconds=1), False)])
def test_what_began_after_the_run_had_ended_is_an_operators(
    after: timedelta, monkeypatch: pytest.MonkeyPatch, *, ours: bool
) -> None:
    world = HelmWorld("deployed", "pending-upgrade", begun_at=NOW + after)
    if ours:
        assert len(settled(world, BROKE_OFF, monkeypatch)) == 1
    else:
        check_that_it_stays(world, BROKE_OFF, monkeypatch)
