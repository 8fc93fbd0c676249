"""Faults of a store's first start, each in a namespace of its own: told, and healed by the next `stores up`."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components import naming
from sandbox.instance import Instance
from tests.e2e.live import Live, eventually
from tests.e2e.project import Done, Project, store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def live(sandbox_instance: Instance) -> Live:
    return Live(sandbox_instance)


GIVEN_UP = "this does not heal by itself"
# A file that every image has, in the place of an archive that somebody has changed.
CHANGED = {"slug": "gift-cards", "version": "1.0.0", "url": "file:///etc/passwd", "sha256": "0" * 64}


def up(project: Project, code: int = 0) -> dict[str, Any]:
    done = project.stores("up", "--json", timeout_s=900)
    assert done.code == code, str(done)
    return {found["store_id"]: found for found in done.data["stores"]}


def removed(project: Project, *store_ids: str) -> bool:
    for store_id in store_ids:
        assert project.stores("rm", store_id).code == 0
    return {found["status"] for found in up(project).values()} == {"Deleted"}


class Points:
    """The moments of a first start, as its volumes and pods show them; killing is what a broken node does."""

    def __init__(self, live: Live, store_id: str) -> None:
        self.live, self.store_id = live, store_id

    @property
    def data(self) -> Path | None:
        """The database's folder, once there is one."""
        for item in self.live.core.list_persistent_volume().items:
            claim = item.spec.claim_ref
            if claim.namespace == f"store-{self.store_id}" and claim.name.endswith("-mariadb"):
                return Path(item.spec.local.path) / "mysql"
        return None

    def await_file(self, name: str, *, but_not: str | None = None) -> None:
        """Return as soon as the database's folder holds a file."""
        eventually(lambda: self.data is not None, "the volume is there", within_s=300)
        data = self.data
        assert data is not None
        deadline = time.monotonic() + 300
        while not any(data.glob(name)):
            assert time.monotonic() < deadline, f"{name} never came"
            time.sleep(0.01)
        if but_not is not None:
            assert not (data / but_not).exists(), f"{but_not} was there already: killed too late to prove anything"

    def await_log(self, container: str, text: str) -> None:
        """Return as soon as a container of the newest web pod has said a text."""

        def said() -> bool:
            pods = self.live.pods(self.store_id, "wordpress")
            try:
                log = self.live.core.read_namespaced_pod_log(
                    pods[-1].metadata.name, f"store-{self.store_id}", container=container
                )
            except Exception:  # noqa: BLE001 - there is no log yet
                return False
            return text in (log or "")

        eventually(said, f"{container} says {text!r}", within_s=300)

    def kill_processes(self) -> int:
        """End every process that has the database's volume, as the kernel does when memory runs out."""
        data = self.data
        assert data is not None
        volume = data.parent.name
        killed = 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                text = (process / "mountinfo").read_text()
                mine = volume in text and "/var/lib/mysql" in text
                name = (process / "comm").read_text().strip()
                if mine and name in ("mariadbd", "bash", "mariadb-install-", "docker-entrypoi", "start.sh"):
                    os.kill(int(process.name), signal.SIGKILL)
                    killed += 1
            except OSError:
                continue
        return killed


def running(project: Project) -> tuple[threading.Thread, list[Done]]:
    """Return a thread that runs `stores up`, and where its answer will be."""
    answers: list[Done] = []
    thread = threading.Thread(target=lambda: answers.append(project.stores("up", "--json", timeout_s=900)))
    thread.start()
    return thread, answers


@pytest.mark.long
def test_a_first_start_that_is_killed_at_every_point_becomes_one_whole_shop(
    make_project: Callable[[], Project], live: Live
) -> None:
    project = make_project()
    project.configure(releaseTimeoutSeconds=400, readyTimeoutSeconds=60)
    store_id = naming.new_store_id("killed")
    project.write(store(store_id))
    points = Points(live, store_id)
    thread, answers = running(project)
    try:
        # The server's own tables are being made: the container is killed, and starts again in the same pod.
        points.await_file("mysql", but_not=".store-first-start-over")
        assert points.kill_processes() > 0
        # The shop's database is there, its user is not: now the pod.
        points.await_file("wordpress", but_not=".store-first-start-over")
        live.kill(store_id, "mariadb")
        points.await_file(".store-first-start-over")
        # WordPress' first tables are there, but no shop.
        points.await_file("wordpress/wp_*.ibd")
        live.kill(store_id, "wordpress")
        points.await_log("install", "step-10-core.php done")
        live.kill(store_id, "wordpress")
        assert points.kill_processes() > 0
    finally:
        thread.join()
    (done,) = answers
    if done.code != 0:
        # Whatever the run met: it says so, and the next one heals it.
        assert done.code == 6, str(done)
        assert done.data["stores"][0]["reason"]
    assert up(project)[store_id]["status"] == "Ready"
    assert live.sql(store_id, "SELECT COUNT(*) FROM wp_users").strip() == "1"
    assert live.sql(store_id, "SELECT option_value FROM wp_options WHERE option_name='blogname'").strip() == (
        f"Shop {store_id}"
    )
    assert live.sql(store_id, "SELECT COUNT(*) FROM wp_posts WHERE post_name='sample-page'").strip() == "1"
    assert removed(project, store_id)


class TestTold:
    """Each names its cause first, with what to do, and heals once that was done."""

    @pytest.fixture
    def project(self, make_project: Callable[[], Project]) -> Project:
        made = make_project()
        made.configure(releaseTimeoutSeconds=600, readyTimeoutSeconds=10)
        return made

    def broken(self, project: Project, store_id: str) -> str:
        project.write(store(store_id))
        found = up(project, code=6)[store_id]
        assert found["status"] == "Failed"
        return str(found["reason"])

    def given_up(self, project: Project, store_id: str) -> str:
        """Return the reason of a fault that does not heal by itself: nobody waits ten minutes for it."""
        reason = self.broken(project, store_id)
        assert GIVEN_UP in reason
        return reason

    def healed(self, project: Project, store_id: str) -> None:
        project.configure(releaseTimeoutSeconds=240, readyTimeoutSeconds=90)
        assert up(project)[store_id]["status"] == "Ready"
        assert "nothing to do" in project.stores("up").out
        assert removed(project, store_id)

    def test_a_plugin_whose_archive_is_another(self, project: Project) -> None:
        store_id = naming.new_store_id("checksum")
        values = project.root / "values/values-local.yaml"
        before = values.read_text()
        project.set_values(plugins=[CHANGED])
        reason = self.given_up(project, store_id)
        assert "container install of pod" in reason
        assert "file:///etc/passwd has the SHA-256" in reason
        assert "nothing of it was installed" in reason
        values.write_text(before)
        self.healed(project, store_id)

    @pytest.mark.long
    def test_a_database_image_that_is_not_there(self, project: Project) -> None:
        store_id = naming.new_store_id("dbimage")
        values = project.root / "values/values-local.yaml"
        before = values.read_text()
        project.set_values(database={"image": {"tag": "0.0.0-none"}})
        reason = self.given_up(project, store_id)
        assert reason.startswith("image docker.io/library/mariadb:0.0.0-none of mariadb of pod")
        assert "correct database.image.tag" in reason
        values.write_text(before)
        self.healed(project, store_id)

    @pytest.mark.long
    def test_a_quota_that_is_used_up(self, project: Project) -> None:
        store_id = naming.new_store_id("quota")
        project.configure(quotaPods=1)
        reason = self.given_up(project, store_id)
        assert reason.startswith(f"no pod of {store_id}-")
        assert "exceeded quota" in reason
        assert "raise stores:quota" in reason
        project.configure(quotaPods=None)
        self.healed(project, store_id)

    @pytest.mark.long
    def test_a_node_without_room(self, project: Project) -> None:
        store_id = naming.new_store_id("room")
        before = (project.root / "values/values-local.yaml").read_text()
        more = {"requests": {"cpu": "60"}, "limits": {"cpu": "60"}}
        # Another node may come, so this is waited for.
        project.configure(quotaCpu="70", releaseTimeoutSeconds=30)
        project.set_values(web={"resources": more})
        reason = self.broken(project, store_id)
        assert reason.startswith(f"no node takes pod {store_id}-wordpress-")
        assert "Insufficient cpu" in reason
        project.configure(quotaCpu=None)
        (project.root / "values/values-local.yaml").write_text(before)
        self.healed(project, store_id)

    @pytest.mark.long
    def test_a_storage_class_that_is_not_there(self, project: Project) -> None:
        store_id = naming.new_store_id("class")
        project.set_values(uploads={"storageClass": "golden"})
        reason = self.given_up(project, store_id)
        assert "golden" in reason
        assert removed(project, store_id)


@pytest.mark.long
class TestFullVolumes:
    """Volumes that are really full: each is a file system of its own, on class `local-path-sized`."""

    def test_both_are_told_and_grow_and_nothing_is_lost(self, make_project: Callable[[], Project], live: Live) -> None:
        project = make_project()
        project.configure(releaseTimeoutSeconds=240, readyTimeoutSeconds=90)
        project.set_values(
            database={"storage": {"size": "512Mi", "storageClass": "local-path-sized"}},
            uploads={"size": "128Mi", "storageClass": "local-path-sized"},
        )
        store_id = naming.new_store_id("full")
        block = store(store_id, database={"storage": "512Mi"}, uploads={"storage": "128Mi"})
        project.write(block)
        assert up(project)[store_id]["status"] == "Ready"
        volumes = live.volumes(store_id)
        live.sql(store_id, "CREATE TABLE kept (note TEXT); INSERT INTO kept VALUES ('still here')")

        # Full uploads: the shop sells, and an upload is refused.
        said = live.run(
            store_id, "wordpress", "cd /var/www/html/wp-content/uploads; cat /dev/zero > full.bin; echo; df ."
        )
        assert "No space left on device" in said
        eventually(lambda: "uploads is full" in str(deep(project, store_id)["reason"]), "the full uploads are told")
        assert deep(project, store_id)["status"] == "Ready"

        # A full database: its pages may be shown, but no order can be taken.
        live.sql(store_id, "CREATE TABLE filler (id INT AUTO_INCREMENT PRIMARY KEY, data LONGBLOB)")
        fill = "INSERT INTO filler (data) SELECT REPEAT('x', 4000000)"
        # The client ends at the first one that is refused; a server that cannot write its log ends itself.
        several = "; ".join([fill] * 10 + ["SELECT 'all in'"])
        eventually(lambda: "all in" not in live.sql(store_id, several), "an insert is refused", within_s=600)
        eventually(lambda: deep(project, store_id)["status"] == "Failed", "the full database is told")
        found = deep(project, store_id)
        assert "the volume of the database is full" in found["reason"]
        assert "raise database.storage in the store's block" in found["reason"]
        failed = up(project, code=6)[store_id]
        assert failed["status"] == "Failed"
        assert "the volume of the database is full" in failed["reason"]

        # Its server cannot even start any more, or just so: a restart must lose nothing.
        live.kill(store_id, "mariadb")
        project.write({**block, "database": {"storage": "1Gi"}, "uploads": {"storage": "256Mi"}})
        assert up(project)[store_id]["status"] == "Ready"
        assert live.sql(store_id, "SELECT note FROM kept").strip() == "still here"
        assert "all in" in live.sql(store_id, several)
        assert (
            live.run(store_id, "wordpress", "cd /var/www/html/wp-content/uploads; echo new > new; cat new").strip()
            == "new"
        )
        assert deep(project, store_id)["status"] == "Ready"
        assert removed(project, store_id)
        assert live.left_on_disk(volumes) == []


def deep(project: Project, store_id: str) -> dict[str, Any]:
    done = project.stores("status", store_id, "--deep", "--json")
    assert done.code == 0, str(done)
    (found,) = done.data
    return dict(found)
