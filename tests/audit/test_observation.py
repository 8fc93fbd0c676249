"""What follows from one look at manifest, state and ledger; the look itself is in tests/e2e."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from audit import observation as observations
from audit.closed import Closed
from audit.engine.state import Snapshot
from audit.observation import Observation
from audit.plan import Action, Plan
from audit.records import StoreRow
from components.desired import DesiredStore, ReleaseSpec, store_objects
from components.objects import Quota, Surroundings
from stacks.errors import RefusedError
from stacks.manifest_model import Store
from stacks.platform_key import PlatformKey
from stacks.settings import Settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEA = "tea-x7k2m"
LOCAL = Settings(environment="local", protected=False)
PROD = Settings(environment="prod", protected=True, deletion_grace_hours=2)


class Wanted:
    def __init__(self, *stores: Store) -> None:
        self.stores = stores


class LiveCluster:
    address = "https://cluster.example.com"

    def __init__(self, uid: str) -> None:
        self.uid = uid


def store(state: str = "active") -> Store:
    return Store(id=TEA, name="tea", owner="alice", cell="01", title="Tea", admin_email="a@b.example", state=state)


def desired(title: str = "Tea", **values: Any) -> DesiredStore:
    return DesiredStore(
        store_id=TEA,
        name="tea",
        owner="alice",
        url="http://tea",
        host="tea",
        protected=False,
        objects=store_objects(TEA, owner="alice", environment="local", quota=Quota(), surroundings=Surroundings()),
        release=ReleaseSpec("./charts/store", {"store": {"title": title}, **values}, 600),
    )


def row(status: str, *, owner: str = "alice", since_at: datetime = NOW) -> StoreRow:
    return StoreRow(
        "local", TEA, "tea", owner, "01", status, None, since_at, None, None, status not in ("Pending", "Deleted"),
        "http://tea", None, "run-1", NOW,
    )  # fmt: skip


def seen(
    *, state: str = "active", settings: Settings = LOCAL, known: bool = False, applied: Any = None,
    rows: tuple[StoreRow, ...] = (), uid: str | None = None,
) -> Observation:  # fmt: skip
    snapshot = Snapshot(
        exists=True,
        applied={TEA: applied} if applied is not None else {},
        known=frozenset({TEA} if known or applied is not None else ()),
        cluster_uid=uid,
    )
    wanted = store(state)
    return Observation(
        settings=settings,
        manifest=Wanted(wanted),
        snapshots={"01": snapshot},
        rows={found.store_id: found for found in rows},
        desired={} if wanted.deleted else {TEA: desired()},
        now=NOW,
    )


def action(observation: Observation) -> Action:
    (plan,) = observations.plan_stores(observation)
    return plan.action


def test_what_nobody_knows_is_created() -> None:
    assert action(seen()) is Action.CREATE
    assert action(seen(rows=(row("Pending"),))) is Action.CREATE
    assert action(seen(rows=(row("Deleted"),))) is Action.CREATE


def test_what_was_begun_is_retried() -> None:
    assert action(seen(rows=(row("Failed"),))) is Action.RETRY
    assert action(seen(known=True, rows=(row("Failed"),))) is Action.RETRY
    assert action(seen(applied=desired().to_dict(), rows=(row("Failed"),))) is Action.RETRY
    assert action(seen(applied=desired().to_dict(), rows=(row("Provisioning"),))) is Action.RETRY


def test_a_store_whose_removal_was_taken_back_is_made_ready_again() -> None:
    assert action(seen(applied=desired().to_dict(), rows=(row("Deleting"),))) is Action.RETRY


def test_what_differs_is_updated_and_what_does_not_is_left_alone() -> None:
    assert action(seen(applied=desired("Old").to_dict(), rows=(row("Ready"),))) is Action.UPDATE
    assert action(seen(applied=desired().to_dict(), rows=(row("Ready"),))) is Action.UNTOUCHED


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("status", ["Ready", "Failed"])
def test_a_shop_that_is_closed_while_its_data_is_replaced_is_left_alone(status: str, *, overwrite: bool) -> None:
    observation = replace(
        seen(applied=desired("Old").to_dict(), rows=(row(status),)),
        closed={TEA: Closed("run-1", None, 1)},
        overwrite_held=overwrite,
    )
    (plan,) = observations.plan_stores(observation)
    assert (plan.action, plan.reason) == (Action.HELD, Closed("run-1", None, 1).reason)
    assert observations.changes_of(observation, [plan]) == ()
    (absent, frozen) = observations.restrained(observation, [plan], frozenset())
    assert (absent, frozen) == (frozenset(), {TEA: desired("Old").to_dict()})


def test_an_update_that_stops_the_shop_says_so() -> None:
    observation = seen(applied=desired("Old").to_dict(), rows=(row("Ready"),))
    (quiet,) = observations.plan_stores(observation)
    assert quiet.reason is None
    kept = desired(wpContent={"mode": "persistent"})
    (told,) = observations.plan_stores(replace(observation, desired={TEA: kept}))
    assert told.action is Action.UPDATE
    assert told.reason == "wpContent is persistent, so the shop may be away until its new pod serves"


def test_a_tombstone_deletes_at_once_where_nothing_is_protected() -> None:
    assert action(seen(state="deleted", known=True, rows=(row("Ready"),))) is Action.DELETE
    assert action(seen(state="deleted", rows=(row("Deleting"),))) is Action.DELETE
    assert action(seen(state="deleted", rows=(row("Deleted"),))) is Action.UNTOUCHED
    assert action(seen(state="deleted")) is Action.UNTOUCHED


@pytest.mark.parametrize(
    ("since_h", "expected"), [(0, Action.LEAVING), (1.99, Action.LEAVING), (2, Action.DELETE), (3, Action.DELETE)]
)
def test_a_protected_store_goes_only_after_its_grace(since_h: float, expected: Action) -> None:
    begun = row("Deleting", since_at=NOW - timedelta(hours=since_h))
    assert action(seen(state="deleted", settings=PROD, known=True, rows=(begun,))) is expected


def test_a_store_that_only_waits_for_its_grace_is_nothing_to_do() -> None:
    begun = seen(state="deleted", settings=PROD, known=True, rows=(row("Deleting"),))
    (leaving,) = observations.plan_stores(begun)
    assert leaving.reason == "tombstoned; kept until 2026-03-01T14:00:00Z"
    assert Plan("prod", "", (leaving,), ()).empty
    (fresh,) = observations.plan_stores(replace(begun, rows={TEA: row("Ready")}))
    assert not Plan("prod", "", (fresh,), ()).empty


def test_the_grace_begins_with_the_tombstone_and_not_with_the_store() -> None:
    old = row("Ready", since_at=NOW - timedelta(days=300))
    assert action(seen(state="deleted", settings=PROD, known=True, rows=(old,))) is Action.SCHEDULED


def test_what_is_not_admitted_is_neither_created_nor_changed() -> None:
    absent = seen()
    assert observations.restrained(absent, observations.plan_stores(absent), frozenset()) == ({TEA}, {})
    before = desired("Old").to_dict()
    changed = seen(applied=before, rows=(row("Ready"),))
    assert observations.restrained(changed, observations.plan_stores(changed), frozenset()) == (
        frozenset(),
        {TEA: before},
    )
    assert observations.restrained(changed, observations.plan_stores(changed), frozenset({TEA})) == (frozenset(), {})


def test_an_owner_change_is_told_to_the_limits_as_one() -> None:
    observation = seen(applied=desired("Old").to_dict(), rows=(row("Ready", owner="bob"),))
    (change,) = observations.changes_of(observation, observations.plan_stores(observation))
    assert change.action == "store.owner_change"


@pytest.mark.parametrize(("recorded", "live", "refused"), [("a", "a", False), (None, "a", False), ("a", "b", True)])
def test_another_cluster_than_the_recorded_one_is_refused(recorded: str | None, live: str, *, refused: bool) -> None:
    observation = seen(uid=recorded)
    if refused:
        with pytest.raises(RefusedError, match="its identity is b, but the stores of local live in a"):
            observations.refuse_other_cluster(LOCAL, LiveCluster(live), observation)
    else:
        observations.refuse_other_cluster(LOCAL, LiveCluster(live), observation)


def test_another_platform_key_is_refused_before_anything_is_derived_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    monkeypatch.setenv("STORES_PLATFORM_KEY_FILE", str(file))
    file.write_text(f"1:{'ab' * 32}\n")
    recorded = PlatformKey.read(file).fingerprints()
    snapshot = Snapshot(exists=True, platform_keys=recorded)
    observation = replace(seen(), snapshots={"01": snapshot})
    observations.refuse_other_key(tmp_path, LOCAL, observation)

    file.write_text(f"1:{'ab' * 32}\n2:{'cd' * 32}\n")
    observations.refuse_other_key(tmp_path, LOCAL, observation)

    file.write_text(f"1:{'ef' * 32}\n")
    with pytest.raises(RefusedError, match=f"but the stores were made with {recorded['1']}"):
        observations.refuse_other_key(tmp_path, LOCAL, observation)
