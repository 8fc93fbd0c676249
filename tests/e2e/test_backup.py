"""A live store, backed up and brought back: after a loss of data, after a loss of its namespace, and as another store.

Tests go on where the one before ended.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from components import naming
from stacks.cluster import Cluster
from tests.e2e.project import Project, store
from tests.e2e.shop import Shop

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

TEA = naming.new_store_id("backed")


@pytest.fixture(scope="module")
def project(make_project: Callable[[], Project]) -> Project:
    made = make_project()
    made.write(store(TEA))
    done = made.stores("up")
    assert done.code == 0, str(done)
    return made


@pytest.fixture(scope="module")
def cluster(project: Project) -> Cluster:
    return Cluster(kubeconfig=project.variables["KUBECONFIG"])


@pytest.fixture(scope="module")
def shop(cluster: Cluster) -> Shop:
    return Shop(cluster, TEA)


def test_a_backup_is_a_snapshot_in_the_list_and_two_entries_in_the_log(project: Project, shop: Shop) -> None:
    shop.sql("CREATE TABLE wp_kept (id INT PRIMARY KEY, words TEXT); INSERT INTO wp_kept VALUES (1, 'before')")
    shop.shell("mkdir -p wp-content/uploads/2026 && echo first > wp-content/uploads/2026/photo.txt")
    done = project.stores("backup", TEA, "--reason", "before the sale", "--json")
    assert done.code == 0, str(done)
    (backup,) = done.data
    listed = project.stores("backups", TEA, "--json")
    assert listed.code == 0, str(listed)
    (snapshot,) = listed.data
    assert (snapshot["id"], snapshot["reason"]) == (backup["snapshot"], "manual")
    assert any(version.startswith("wordpress:") for version in snapshot["versions"])
    entries = project.stores("audit", "list", "--json").data
    found = [(entry["outcome"], entry["reason"]) for entry in entries if entry["action"] == "store.backup"]
    assert sorted(found) == [("success", "before the sale"), ("unknown", "before the sale")]
