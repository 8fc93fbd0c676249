"""A run that is over a limit only in part, on a real cluster."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from components import naming
from tests.e2e.project import Project, store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_what_fits_is_made_and_what_does_not_is_denied_without_a_trace_in_the_cluster(
    make_project: Callable[[], Project],
) -> None:
    project = make_project()
    project.configure(createsPerHour=1)
    first, second = naming.new_store_id("first"), naming.new_store_id("second")
    project.write(store(first), store(second))

    plan = project.stores("plan", "--json").data
    assert {found["store_id"]: found["denial"] is not None for found in plan["stores"]} == {first: False, second: True}

    done = project.stores("up", "--json")
    assert done.code == 4, str(done)
    results = {found["store_id"]: found for found in done.data["stores"]}
    assert results[first]["status"] == "Ready"
    assert results[second]["status"] == "Pending"
    assert "owner 'alice' has begun 1 of 1 creations within 60 minutes; run again after" in results[second]["reason"]
    assert project.helm("list", "--namespace", f"store-{second}", "--output", "json").data == []
    denied = [entry for entry in project.stores("audit", "list", "--json").data if entry["outcome"] == "denied"]
    assert [(entry["store_id"], entry["action"]) for entry in denied] == [(second, "store.create")]
    assert project.stores("limits", "--json").data["total_used"] == 1

    # A change of an existing store that is denied changes nothing of it, whatever else its block says.
    alice, bob = {"name": "alice", "contact": "alice@example.com"}, {"name": "bob", "contact": "bob@example.com"}
    project.write_owners(alice, {**bob, "limits": {"stores": 0}})
    project.write(store(first, owner="bob", title="Moved"))
    moved = project.stores("up", "--json")
    assert moved.code == 4, str(moved)
    assert "owner 'bob' has 0 of 0 stores" in moved.data["stores"][0]["reason"]
    assert moved.data["stores"][0]["status"] == "Ready"
    history = project.helm("history", first, "--namespace", f"store-{first}", "--output", "json")
    assert len(history.data) == 1
    (left,) = project.stores("status", "--json").data[:1]
    assert (left["owner"], left["status"]) == ("alice", "Ready")

    project.write_owners(alice, bob)
    project.write(store(first))
    assert "nothing to do" in project.stores("up").out
    assert project.stores("rm", first).code == 0
    assert project.stores("up").code == 0
