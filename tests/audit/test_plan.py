from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from audit import plan
from audit.limits import Claim
from audit.plan import Action, LimitUse, Plan, StorePlan
from audit.records import OwnerUsage, Usage
from components.desired import DesiredStore, ReleaseSpec, store_objects
from components.objects import Quota, Surroundings

STORE = "tea-house-x7k2m"


def store(**values: Any) -> DesiredStore:
    return DesiredStore(
        store_id=STORE,
        name="tea-house",
        owner="alice",
        url="http://tea-house-x7k2m.example.com",
        host="tea-house-x7k2m.example.com",
        protected=False,
        objects=store_objects(STORE, owner="alice", environment="local", quota=Quota(), surroundings=Surroundings()),
        release=ReleaseSpec(
            chart="./charts/store",
            values={
                "chartDigest": "a" * 64,
                "uploads": {"size": "2Gi", "storageClass": "local-path"},
                "database": {"storage": {"size": "1Gi"}},
                **values,
            },
            timeout_s=600,
        ),
    )


def test_what_was_applied_as_it_is_wanted_changes_nothing() -> None:
    assert plan.changes(store().to_dict(), store()) == ()


def test_a_run_that_only_waits_longer_is_no_change() -> None:
    before = store()
    longer = DesiredStore(**{**before.__dict__, "release": ReleaseSpec("./charts/store", before.release.values, 900)})
    assert plan.changes(before.to_dict(), longer) == ()


def test_a_changed_value_is_named_by_its_path_in_the_values() -> None:
    (change,) = plan.changes(store(store={"title": "Tea"}).to_dict(), store(store={"title": "Tea House"}))
    assert (change.path, change.before, change.after, change.danger) == ("store.title", "Tea", "Tea House", False)


def test_an_edited_chart_reads_as_one_change() -> None:
    (change,) = plan.changes(store().to_dict(), store(chartDigest="b" * 64))
    assert (change.path, change.before, change.after) == ("chart", "a" * 12, "b" * 12)


def test_what_appears_and_what_goes_are_both_changes() -> None:
    before, after = store(extra={"a": 1}), store(other={"b": 2})
    assert [(change.path, change.before, change.after) for change in plan.changes(before.to_dict(), after)] == [
        ("extra.a", 1, None),
        ("other.b", None, 2),
    ]


@pytest.mark.parametrize(
    ("size", "danger"), [("1Gi", True), ("2047Mi", True), ("2048Mi", False), ("3Gi", False), ("1.5Gi", True)]
)
def test_only_a_shrinking_volume_endangers_data(size: str, *, danger: bool) -> None:
    uploads = {"size": size, "storageClass": "local-path"}
    assert {change.danger for change in plan.changes(store().to_dict(), store(uploads=uploads))} == {danger}


def test_another_storage_class_endangers_data() -> None:
    after = store(uploads={"size": "2Gi", "storageClass": "gp2"})
    assert [change.danger for change in plan.changes(store().to_dict(), after)] == [True]


@pytest.mark.parametrize(
    ("was", "becomes", "danger"),
    [
        (None, "", False),
        (None, "db.example.com", True),
        ("", "db.example.com", True),
        ("db.example.com", "", True),
        ("db.example.com", "restored.example.com", False),
    ],
)
def test_an_own_database_and_a_shared_one_do_not_take_each_others_place(
    was: str | None, becomes: str, *, danger: bool
) -> None:
    def of(host: str | None) -> DesiredStore:
        external = {} if host is None else {"external": {"host": host}}
        return store(database={"storage": {"size": "1Gi"}, **external})

    (change,) = plan.changes(of(was).to_dict(), of(becomes))
    assert (change.path, change.danger) == ("database.external.host", danger)


def test_another_namespace_endangers_data() -> None:
    before = deepcopy(store().to_dict())
    before["objects"]["namespace"]["metadata"]["name"] = "store-other"
    assert [change.path for change in plan.changes(before, store()) if change.danger] == ["namespace.metadata.name"]


def usage(**used: int) -> Usage:
    owners = tuple(OwnerUsage(name, count, 10, 1, 5, None) for name, count in used.items())
    return Usage("local", owners, sum(used.values()), 100, 3600, datetime(2026, 3, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("claim", "total", "alice", "bob", "begun"),
    [
        (Claim("alice"), 12, 3, 9, 1),
        (Claim("alice", new=True), 13, 4, 9, 2),
        (Claim("bob", moved_from="alice"), 12, 2, 10, 1),
        (Claim("alice", gives_back="alice"), 11, 2, 9, 1),
        (Claim("bob", gives_back="alice"), 11, 2, 9, 1),
    ],
    ids=["update", "creation", "owner change", "removal", "removal of a store whose slot is another's"],
)
def test_the_use_of_limits_afterwards_is_what_the_judged_claims_take(
    claim: Claim, total: int, alice: int, bob: int, begun: int
) -> None:
    uses = {use.name: (use.before, use.after) for use in plan.limit_use([claim], usage(alice=3, bob=9))}
    assert uses == {
        "stores in all": (12, total),
        "stores of alice": (3, alice),
        "stores of bob": (9, bob),
        "creations of alice in 60 min": (1, begun),
        "creations of bob in 60 min": (1, 1),
    }


def test_a_plan_with_nothing_but_untouched_stores_is_empty() -> None:
    untouched = StorePlan(STORE, "tea-house", "alice", "01", Action.UNTOUCHED)
    assert Plan("local", "", (untouched,), ()).empty
    denied = StorePlan("b-x7k2m", "b", "alice", "01", Action.CREATE, denial="over the limit")
    assert not Plan("local", "", (untouched, denied), ()).empty


def test_a_denied_store_is_not_among_the_changing_ones() -> None:
    denied = StorePlan(STORE, "tea-house", "alice", "01", Action.CREATE, denial="over the limit")
    both = Plan("local", "", (denied,), (LimitUse("stores in all", 0, 0, 100),))
    assert both.changing == ()
    assert both.denied == (denied,)


def test_same_is_not_counted_among_the_operations() -> None:
    assert plan.count_operations(["create", "same", "create", "update"]) == {"create": 2, "update": 1}
