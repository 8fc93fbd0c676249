"""Faults of a live store: each ends in a clear state and message, and a later `stores up` heals it. No data is lost.

Tests of one class go on where the one before ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from components import naming
from sandbox.instance import Instance
from tests.e2e.live import Live, eventually
from tests.e2e.project import Done, Project, store

TEA, IMAGE, RIVALLED = (naming.new_store_id(name) for name in ("worked", "image", "rivalled"))

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def live(sandbox_instance: Instance) -> Live:
    return Live(sandbox_instance)


def results(done: Done, code: int) -> dict[str, Any]:
    assert done.code == code, str(done)
    return {found["store_id"]: found for found in done.data["stores"]}


def up(project: Project, code: int = 0) -> dict[str, Any]:
    return results(project.stores("up", "--json"), code)


def deep(project: Project, store_id: str) -> dict[str, Any]:
    done = project.stores("status", store_id, "--deep", "--json")
    assert done.code == 0, str(done)
    (found,) = done.data
    return dict(found)


@pytest.fixture(scope="module")
def working(make_project: Callable[[], Project]) -> Project:
    made = make_project()
    made.configure(releaseTimeoutSeconds=120, readyTimeoutSeconds=90, deletionTimeoutSeconds=10)
    # No image of the tests has a language pack.
    made.write(store(TEA, locale="de_DE"))
    return made


def objects(live: Live, namespace: str) -> set[str]:
    policies = live.networking.list_namespaced_network_policy(namespace).items
    quotas = live.core.list_namespaced_resource_quota(namespace).items
    return {item.metadata.name for item in (*policies, *quotas)}


class TestAStoreThatWorked:
    """What goes wrong with a store that was Ready."""

    def test_status_shows_what_was_asked_and_how_long_it_took(self, working: Project, live: Live) -> None:
        assert up(working)[TEA]["status"] == "Ready"
        found = deep(working, TEA)
        assert found["status"] == "Ready"
        assert [check["name"] for check in found["checks"]] == ["shop page", "login page", "store API"]
        assert found["content"].startswith("WooCommerce stand-in ")
        assert found["content"].endswith("; in en-US, not de_DE")
        assert all(check["code"] == 200 and check["milliseconds"] > 0 for check in found["checks"])
        assert "login page (/wp-login.php)" in working.stores("status", "--deep").out
        live.sql(TEA, "CREATE TABLE kept (note TEXT); INSERT INTO kept VALUES ('still here')")
        live.run(TEA, "wordpress", "echo kept > /var/www/html/wp-content/uploads/kept.txt")

    def test_a_changed_password_is_told_and_put_back(self, working: Project, live: Live) -> None:
        password = working.stores("credentials", TEA, "--json").data["password"]
        live.secret(TEA, {"mariadb-password": "another-password-of-somebody"})
        live.kill(TEA, "wordpress")

        def told() -> str:
            return str(deep(working, TEA)["reason"])

        eventually(lambda: "Access denied for user 'wordpress'" in told(), "the refused password is told")
        found = deep(working, TEA)
        assert found["status"] == "Failed"
        assert "another-password-of-somebody" not in str(found)
        # The row of before says Ready, and the block is unchanged: `up` sees for itself, and puts the password back.
        assert up(working)[TEA]["status"] == "Ready"
        assert working.stores("credentials", TEA, "--json").data["password"] == password
        self.assert_kept(live)
        assert "nothing to do" in working.stores("up").out

    def test_no_password_came_into_the_state_by_reading_it_back(self, working: Project) -> None:
        password = working.stores("credentials", TEA, "--json").data["password"]
        for file in (working.root.parent / "state").rglob("*"):
            assert not file.is_file() or password.encode() not in file.read_bytes(), file

    def test_a_removed_quota_and_policy_are_put_back(self, working: Project, live: Live) -> None:
        namespace = f"store-{TEA}"
        before = objects(live, namespace)
        live.networking.delete_namespaced_network_policy("mariadb", namespace)
        live.core.delete_namespaced_resource_quota(namespace=namespace, name="store")
        # Without its policy nothing reaches the database.
        eventually(lambda: deep(working, TEA)["status"] == "Failed", "the shop is down")
        assert up(working)[TEA]["status"] == "Ready"
        assert objects(live, namespace) == before
        self.assert_kept(live)

    def test_removed_web_pods_and_their_deployment_are_made_again(self, working: Project, live: Live) -> None:
        live.apps.delete_namespaced_deployment(f"{TEA}-wordpress", f"store-{TEA}")
        eventually(lambda: "the Deployment of its web pods is gone" in str(deep(working, TEA)["reason"]), "it is told")
        assert up(working)[TEA]["status"] == "Ready"
        self.assert_kept(live)
        assert "nothing to do" in working.stores("up").out

    def assert_kept(self, live: Live) -> None:
        assert live.sql(TEA, "SELECT note FROM kept").strip() == "still here"
        assert live.run(TEA, "wordpress", "cat /var/www/html/wp-content/uploads/kept.txt").strip() == "kept"

    def test_a_namespace_that_is_held_is_told_and_keeps_its_slot(self, working: Project, live: Live) -> None:
        namespace = f"store-{TEA}"
        held = {"metadata": {"name": "pinned", "finalizers": ["example.com/hold"]}}
        live.core.create_namespaced_config_map(namespace, held)
        assert working.stores("rm", TEA).code == 0
        found = up(working, code=6)[TEA]
        assert found["status"] == "Deleting"
        assert "example.com/hold" in found["reason"]
        assert "configmaps/pinned" in found["reason"]
        assert working.stores("limits", "--json").data["total_used"] == 1
        assert "example.com/hold" in working.stores("status", "--deep").out
        # A second run says so again, and frees nothing.
        assert up(working, code=6)[TEA]["status"] == "Deleting"
        assert working.stores("limits", "--json").data["total_used"] == 1

    def test_its_slot_is_freed_once_when_it_is_gone(self, working: Project, live: Live) -> None:
        volumes = live.volumes(TEA)
        live.core.patch_namespaced_config_map("pinned", f"store-{TEA}", {"metadata": {"finalizers": None}})
        assert up(working)[TEA]["status"] == "Deleted"
        assert not live.exists(TEA)
        assert live.volumes(TEA) == []
        assert live.left_on_disk(volumes) == []
        assert working.stores("limits", "--json").data["total_used"] == 0
        assert "nothing to do" in working.stores("up").out
        assert working.stores("limits", "--json").data["total_used"] == 0
        entries = working.stores("audit", "list", "--json", "--action", "store.delete").data
        assert [entry["outcome"] for entry in entries].count("success") == 1


@pytest.fixture(scope="module")
def starting(make_project: Callable[[], Project]) -> Project:
    made = make_project()
    made.configure(releaseTimeoutSeconds=600, readyTimeoutSeconds=600)
    return made


@pytest.fixture(scope="module")
def rival(live: Live) -> Iterator[str]:
    """Return an Ingress of somebody else for the host of a store that is not made yet: the older one has it."""
    namespace = f"rival-{RIVALLED}"
    live.core.create_namespace({"metadata": {"name": namespace}})
    backend = {"service": {"name": "nobody", "port": {"number": 80}}}
    host = f"{RIVALLED}.127.0.0.1.nip.io"
    rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    body = {"metadata": {"name": "claim"}, "spec": {"ingressClassName": "nginx", "rules": [rule]}}
    live.networking.create_namespaced_ingress(namespace, body)
    yield namespace
    live.core.delete_namespace(namespace)


@pytest.mark.long
class TestAStoreThatNeverWorked:
    """What goes wrong at a first start: an image that is not there, a host that somebody else has."""

    def test_each_is_told_with_what_to_do(self, starting: Project, rival: str) -> None:
        starting.write(store(IMAGE, image={"tag": "0.0.0-none"}), store(RIVALLED))
        found = up(starting, code=6)
        assert {result["status"] for result in found.values()} == {"Failed"}
        image = found[IMAGE]["reason"]
        assert image.startswith("image docker.io/library/wordpress:0.0.0-none of wordpress-files of pod")
        assert "cannot be pulled" in image
        assert "correct image.tag" in image
        rivalled = found[RIVALLED]["reason"]
        assert f"its host is claimed by another Ingress: {rival}/claim; delete that one" in rivalled
        # Neither was waited for to the end.
        assert "this does not heal by itself" in image

    def test_the_next_run_heals_both(self, starting: Project, live: Live, rival: str) -> None:
        live.networking.delete_namespaced_ingress("claim", rival)
        starting.write(store(IMAGE), store(RIVALLED))
        assert {result["status"] for result in up(starting).values()} == {"Ready"}
        assert starting.stores("limits", "--json").data["total_used"] == 2
        for store_id in (IMAGE, RIVALLED):
            starting.stores("rm", store_id)
        assert {result["status"] for result in up(starting).values()} == {"Deleted"}
