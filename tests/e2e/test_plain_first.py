"""A store that a plain `pulumi up` has made, met by the gate afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from components import naming
from tests.e2e.project import Project, store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_what_plain_pulumi_made_is_found_done_counted_and_deletable(make_project: Callable[[], Project]) -> None:
    project = make_project()
    store_id = naming.new_store_id("plain")
    project.write(store(store_id))
    assert project.pulumi("stack", "init", "local").code == 0
    plain = project.pulumi("up", "--stack", "local", "--yes")
    assert plain.code == 0, str(plain)

    done = project.stores("up")
    assert done.code == 0, str(done)
    assert "nothing to do" in done.out
    (found,) = project.stores("status", "--json").data
    assert (found["store_id"], found["status"]) == (store_id, "Ready")
    assert project.stores("limits", "--json").data["total_used"] == 1
    (entry,) = project.stores("audit", "list", "--json").data
    assert (entry["action"], entry["outcome"]) == ("store.adopt", "success")

    assert project.stores("rm", store_id).code == 0
    deleted = project.stores("up")
    assert deleted.code == 0, str(deleted)
    assert project.stores("limits", "--json").data["total_used"] == 0
