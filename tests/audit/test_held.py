"""When a store is held, and what a run then does with it; with real Helm in tests/e2e/test_upgrades.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from audit import held as holding
from audit import observation as observations
from audit.engine.state import Snapshot, read_snapshot
from audit.held import Held
from audit.observation import Observation
from audit.plan import Action, PropertyChange
from audit.records import StoreRow
from stacks.helm_history import Revision, RevisionContent
from stacks.manifest_model import Image
from tests.audit.test_observation import TEA, desired, row, seen

APPLIED = desired().to_dict()
RELEASE_URN = f"urn:pulumi:local::stores::stores:index:StoreTenant$kubernetes:helm.sh/v3:Release::{TEA}-release"


class LiveCluster:
    address = "https://cluster.example.com"

    def __init__(self, *revisions: Revision, values: Any = None) -> None:
        self._revisions = revisions
        self._values = values if values is not None else APPLIED["release"]["values"]

    def revisions(self, namespace: str, release: str) -> tuple[Revision, ...]:
        assert (namespace, release) == (f"store-{TEA}", TEA)
        return self._revisions

    def revision(self, _namespace: str, _release: str, number: int) -> RevisionContent:
        return RevisionContent(number, "deployed", "", self._values)


def snapshot(**more: Any) -> Snapshot:
    return Snapshot(exists=True, applied={TEA: APPLIED}, known=frozenset({TEA}), revisions={TEA: 2}, **more)


def found(cluster: LiveCluster, of: Snapshot | None = None, known: StoreRow | None = None) -> Held | None:
    rows = {TEA: known if known is not None else row("Ready")}
    return holding.find(cluster, [of or snapshot()], rows).get(TEA)


def test_a_release_at_our_own_revision_is_not_held() -> None:
    assert found(LiveCluster(Revision(1, "superseded"), Revision(2, "deployed"))) is None


@pytest.mark.parametrize("status", ["deployed", "failed", "pending-upgrade"])
def test_a_release_with_a_later_revision_is_held_whatever_its_status(status: str) -> None:
    held = found(LiveCluster(Revision(2, "superseded"), Revision(3, status)))
    assert held is not None
    assert f"its Helm revision is 3 ({status}), and the platform's was 2" in held.reason


def test_a_release_that_is_gone_is_not_called_held() -> None:
    assert found(LiveCluster()) is None


def test_what_a_killed_engine_left_is_not_held() -> None:
    cluster = LiveCluster(Revision(2, "deployed"), Revision(3, "pending-upgrade"))
    assert found(cluster, snapshot(pending=(RELEASE_URN,))) is None
    assert found(cluster, snapshot(pending=(RELEASE_URN.replace(TEA, f"x-{TEA}"),))) is not None


@pytest.mark.parametrize(("status", "expected"), [("failed", False), ("deployed", True)])
def test_a_broken_off_run_is_gone_on_with_but_what_an_operator_brought_to_an_end_is_held(
    status: str, *, expected: bool
) -> None:
    cluster = LiveCluster(Revision(2, "superseded"), Revision(3, status))
    assert (found(cluster, known=row("Failed")) is not None) is expected


def test_the_reason_tells_the_image_and_of_other_values_only_their_names() -> None:
    values = {**APPLIED["release"]["values"], "image": {"tag": "6.8.3"}, "web": {"secret": "s3cret"}}
    held = found(LiveCluster(Revision(3, "deployed"), values=values))
    assert held is not None
    assert held.reason.endswith("changed by hand: image.tag None -> 6.8.3, web.secret")
    assert "s3cret" not in held.reason


def test_a_held_store_without_other_values_says_so() -> None:
    held = found(LiveCluster(Revision(3, "deployed")))
    assert held is not None
    assert held.reason.endswith("its values are the platform's")


HELD = Held(2, Revision(3, "deployed"), (PropertyChange("image.tag", "a", "b"),))


def planned(observation: Observation) -> tuple[Action, str | None]:
    (plan,) = observations.plan_stores(observation)
    return plan.action, plan.reason


def observed(title: str = "Tea", status: str = "Ready", **more: Any) -> Observation:
    return replace(seen(applied=desired(title).to_dict(), rows=(row(status),)), held={TEA: HELD}, **more)


def test_a_held_store_is_left_alone_and_the_plan_says_why() -> None:
    assert planned(observed()) == (Action.HELD, HELD.reason)
    assert planned(observed(status="Failed")) == (Action.HELD, HELD.reason)


def test_a_changed_block_ends_the_holding() -> None:
    action, reason = planned(observed(title="Old"))
    assert action is Action.UPDATE
    assert "its block has changed" in str(reason)


def test_a_new_chart_or_default_does_not_end_the_holding_but_is_listed() -> None:
    observation = observed()
    wanted = desired()
    newer = replace(wanted, release=replace(wanted.release, values={**wanted.release.values, "chartDigest": "new"}))
    observation = replace(observation, desired={TEA: newer})
    (plan,) = observations.plan_stores(observation)
    assert plan.action is Action.HELD
    assert [change.path for change in plan.changes] == ["chart"]


def test_a_new_image_in_the_block_ends_the_holding() -> None:
    observation = observed()
    block = replace(observation.manifest.stores[0], image=Image(tag="6.9"))
    observation.manifest.stores = (block,)
    wanted = desired()
    newer = replace(wanted, release=replace(wanted.release, values={**wanted.release.values, "image": {"tag": "6.9"}}))
    assert planned(replace(observation, desired={TEA: newer}))[0] is Action.UPDATE


def test_overwriting_brings_a_held_store_back_even_where_nothing_of_ours_has_changed() -> None:
    action, reason = planned(observed(overwrite_held=True))
    assert action is Action.UPDATE
    assert "overwrites what was done by hand" in str(reason)


def test_a_tombstone_goes_before_the_holding() -> None:
    observation = replace(seen(state="deleted", known=True, rows=(row("Ready"),)), held={TEA: HELD})
    assert planned(observation)[0] is Action.DELETE


def test_a_held_store_stays_as_it_was_applied_while_others_of_its_cell_change() -> None:
    observation = observed()
    assert observations.restrained(observation, observations.plan_stores(observation), frozenset()) == (
        frozenset(),
        {TEA: observation.applied(TEA)},
    )


def test_the_revision_that_we_left_is_read_from_the_state() -> None:
    component = f"urn:pulumi:local::stores::stores:index:StoreTenant::{TEA}"
    state = {
        "resources": [
            {"urn": component, "type": "stores:index:StoreTenant", "outputs": {}},
            {
                "urn": RELEASE_URN,
                "type": "kubernetes:helm.sh/v3:Release",
                "parent": component,
                "outputs": {"status": {"revision": 4, "status": "deployed"}},
            },
        ]
    }
    assert read_snapshot(state).revisions == {TEA: 4}
