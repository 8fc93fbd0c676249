"""Upgrades and rollbacks of live shops, from an older WordPress whose database really needs an update.

Each test goes on where the one before it ended.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from audit import live
from audit import schema as schemas
from audit.closed import RESTORING
from bench.load import visited
from components import naming
from sandbox import cache, contents, images
from sandbox.instance import Instance
from sandbox.loading import ImageStore
from sandbox.progress import silent
from stacks.cluster import Cluster
from tests.charts.live import eventually
from tests.e2e.project import ROOT, Done, Project, store
from tests.e2e.shop import Shop
from tests.e2e.test_interrupted import once_free, running

pytestmark = [pytest.mark.cluster, pytest.mark.chain, pytest.mark.timeout(1200)]

TEA, BAR, PUB = (naming.new_store_id(name) for name in ("tea", "bar", "pub"))
OLDER, NOW, NEXT, BROKEN, ABSENT = (
    f"{version}-php8.4-apache" for version in ("6.8.3", "7.1.4", "7.1.5", "7.1.98", "7.1.99")
)
FEW = 60
"""Page views of the short form; `python -m bench.upgrades` takes the full count."""


@dataclass(frozen=True)
class Images:
    """The images of the sandbox, and the archive of the older WordPress."""

    kept: ImageStore
    older: str
    archive: Path


@pytest.fixture(scope="module")
def image_store(sandbox_instance: Instance) -> Images:
    """Have the images of these tests in the sandbox: an older WordPress, a later tag, one that cannot start."""
    here = contents.references(ROOT)["wordpress"]
    repository = here.rpartition(":")[0]
    kept = ImageStore.of(sandbox_instance.folder)
    wanted = {"wordpress-older": f"{repository}:{OLDER}", "wordpress-broken": f"{repository}:{BROKEN}"}
    archives = images.build(cache.root(), wanted, silent, for_tests=True)
    for archive in archives:
        kept.load(archive)
    kept.tag(here, f"{repository}:{NEXT}")
    return Images(kept, wanted["wordpress-older"], archives[0])


@pytest.fixture(scope="module")
def project(image_store: Images, make_project: Callable[[], Project]) -> Project:
    made = make_project()
    made.write(tea(OLDER), store(BAR, image={"tag": OLDER}, title="Bar"))
    done = made.stores("up", timeout_s=600)
    assert done.code == 0, str(done)
    return made


def tea(tag: str | None) -> dict[str, Any]:
    return store(TEA, title="Tea House", **({"image": {"tag": tag}} if tag else {}))


@pytest.fixture(scope="module")
def cluster(sandbox_instance: Instance) -> Cluster:
    return Cluster(kubeconfig=str(sandbox_instance.kubeconfig))


@pytest.fixture(scope="module")
def shop(cluster: Cluster) -> Shop:
    return Shop(cluster, TEA)


def carried_out(project: Project, *command: str, code: int = 0, backup: bool = False) -> dict[str, Any]:
    options = ("--yes", "--json") if backup else ("--yes", "--json", "--no-backup")
    done = project.stores(*command, *options, timeout_s=900)
    assert done.code == code, str(done)
    return dict(done.data)


def status(project: Project, store_id: str = TEA) -> dict[str, Any]:
    return next(dict(found) for found in project.stores("status", "--json").data if found["store_id"] == store_id)


def manifest(project: Project) -> str:
    return (project.root / "stacks/local/stores.yaml").read_text()


def history(project: Project, store_id: str = TEA) -> list[dict[str, Any]]:
    done = project.helm("history", store_id, "--namespace", f"store-{store_id}", "--output", "json")
    assert done.code == 0, str(done)
    return list(done.data)


def nothing_is_left_to_do(project: Project) -> bool:
    done = project.stores("plan", "--json")
    assert done.code == 0, str(done)
    return bool(done.data["empty"])


def test_an_upgrade_asks_first_and_changes_nothing_before(project: Project) -> None:
    before = manifest(project)
    plan = project.stores("upgrade", TEA, "--image-tag", NOW, "--no-backup", "--dry-run")
    assert plan.code == 0, str(plan)
    assert f"~ {TEA}: image {OLDER} -> {NOW}" in plan.out
    refused: Done = project.stores("upgrade", TEA, "--image-tag", NOW, "--no-backup")
    assert refused.code == 2, str(refused)
    assert "nobody is there to agree to the plan" in refused.err
    assert manifest(project) == before
    assert len(history(project)) == 1


def test_an_upgrade_brings_shop_manifest_and_database_to_the_new_version_and_loses_no_request(
    project: Project, cluster: Cluster, shop: Shop, sandbox_instance: Instance, tmp_path: Path
) -> None:
    before = schemas.ask(cluster, TEA)
    assert before is not None
    shop.sql("CREATE TABLE wp_kept (words TEXT); INSERT INTO wp_kept VALUES ('before')")
    shop.shell("mkdir -p wp-content/uploads/2026 && echo before > wp-content/uploads/2026/photo.txt")
    with visited(sandbox_instance.folder, status(project)["url"], "Tea House", tmp_path / "stop") as load:
        result = carried_out(project, "upgrade", TEA, "--image-tag", NOW, "--reason", "CVE-2026-1", backup=True)
    assert load.requests >= FEW
    assert load.lost == 0, load.seen
    (found,) = result["stores"]
    assert (found["status"], found["before"], found["runs"]) == ("Ready", OLDER, NOW)
    (snapshot,) = backups(project)
    assert (snapshot["id"], snapshot["reason"]) == (found["backup"], "pre-upgrade")
    assert f"wordpress:{OLDER}" in snapshot["versions"]
    assert f"tag: {NOW}" in manifest(project)
    assert f"tag: {OLDER}" in manifest(project)  # the neighbour's
    after = schemas.ask(cluster, TEA)
    assert after is not None
    assert after.wordpress is not None
    assert before.wordpress is not None
    assert after.wordpress > before.wordpress
    assert (after.wordpress, after.pending) == (after.code_wordpress, ())
    assert nothing_is_left_to_do(project)
    entries = project.stores("audit", "list", "--action", "store.upgrade", "--json").data
    assert [entry["outcome"] for entry in entries] == ["success", "unknown"]
    assert entries[0]["metadata"]["schema"]["wordpress_db"] == after.wordpress
    assert (entries[1]["reason"], entries[1]["metadata"]["image"]) == ("CVE-2026-1", {"from": OLDER, "to": NOW})
    assert entries[1]["metadata"]["backup"] == snapshot["id"]
    taken = project.stores("audit", "list", "--action", "store.backup", "--json").data
    assert [(entry["outcome"], entry["metadata"].get("snapshot")) for entry in taken] == [
        ("success", snapshot["id"]), ("unknown", None),
    ]  # fmt: skip


def test_a_rollback_across_the_change_of_the_database_is_refused(project: Project) -> None:
    before = manifest(project)
    done = project.stores("rollback", TEA, "--yes", "--no-backup")
    assert done.code == 11, str(done)
    assert "the database was updated since" in done.err
    assert f"`stores rollback {TEA} 1 --restore-backup` puts back the backup" in done.err
    back = project.stores("upgrade", TEA, "--image-tag", OLDER, "--yes", "--no-backup")
    assert (back.code, "the database was updated since" in back.err) == (11, True), str(back)
    assert manifest(project) == before
    assert len(history(project)) == 2


@pytest.mark.long
def test_an_older_image_in_the_manifest_is_not_brought_about_on_a_newer_database(project: Project) -> None:
    project.write(tea(OLDER), store(BAR, image={"tag": OLDER}, title="Bar"))
    done = project.stores("up")
    assert done.code == 6, str(done)
    assert f"image {OLDER} cannot be gone back to alone: the database was updated since" in done.err
    assert len(history(project)) == 2
    assert entrance_answers(project)
    project.write(tea(NOW), store(BAR, image={"tag": OLDER}, title="Bar"))
    assert project.stores("up").code == 0
    assert status(project)["status"] == "Ready"


def test_an_upgrade_of_the_same_database_can_be_rolled_back_and_loses_no_request(
    project: Project, sandbox_instance: Instance, tmp_path: Path
) -> None:
    carried_out(project, "upgrade", TEA, "--image-tag", NEXT)
    with visited(sandbox_instance.folder, status(project)["url"], "Tea House", tmp_path / "stop") as load:
        result = carried_out(project, "rollback", TEA)
    assert load.requests >= FEW
    assert load.lost == 0, load.seen
    (found,) = result["stores"]
    assert (found["status"], found["before"], found["runs"]) == ("Ready", NEXT, NOW)
    assert NEXT not in manifest(project)
    assert nothing_is_left_to_do(project)
    (entry, _) = project.stores("audit", "list", "--action", "store.rollback", "--json").data
    assert entry["outcome"] == "success"


def backups(project: Project) -> list[dict[str, Any]]:
    done = project.stores("backups", TEA, "--json")
    assert done.code == 0, str(done)
    return list(done.data)


def entrance_answers(project: Project) -> bool:
    shown = project.stores("status", TEA, "--deep", "--json").data[0]
    return bool(shown["checks"]) and all(check["problem"] is None for check in shown["checks"])


def sell(shop: Shop) -> None:
    """Make what is not in the backup of before the upgrade."""
    shop.sql("INSERT INTO wp_kept VALUES ('since'); CREATE TABLE IF NOT EXISTS wp_new (id INT)")
    shop.shell("echo since > wp-content/uploads/since.txt")


def test_going_back_with_the_data_says_first_what_is_lost_and_changes_nothing(project: Project, shop: Shop) -> None:
    sell(shop)
    before, number = manifest(project), len(history(project))
    (snapshot,) = backups(project)
    plan = project.stores("rollback", TEA, "1", "--restore-backup", "--dry-run")
    assert plan.code == 0, str(plan)
    assert f"(snapshot {snapshot['id'][:8]})" in plan.out
    assert "LOSES every order, customer and change since 20" in plan.out
    unasked = project.stores("rollback", TEA, "1", "--restore-backup")
    assert (unasked.code, "nobody is there to agree" in unasked.err) == (2, True), str(unasked)
    # An image of which no upgrade has taken a backup: that of revision 3 ran, and its upgrade took none.
    none = project.stores("rollback", TEA, "3", "--restore-backup", "--yes")
    assert none.code == 2, str(none)
    assert "so no backup has to be put back" in none.err
    assert (manifest(project), len(history(project))) == (before, number)
    assert "since" in shop.sql("SELECT words FROM wp_kept")


@pytest.mark.long
def test_killed_while_the_data_is_replaced_the_shop_stays_closed_until_the_command_is_given_again(
    project: Project, cluster: Cluster
) -> None:
    before = manifest(project)
    with running(project, "restoring snapshot", "rollback", TEA, "1", "--restore-backup", "--yes") as process:
        os.killpg(process.pid, signal.SIGKILL)
    assert manifest(project) == before
    done = once_free(project, "up")
    assert done.code == 6, str(done)
    assert "closed: run-" in done.err
    assert "replaces its data, or broke off in it" in status(project)["held"]
    assert web(cluster)["spec"]["replicas"] == 0
    refused = project.stores("rollback", TEA, "1", "--yes", "--no-backup")
    assert (refused.code, "closed: run-" in refused.err) == (2, True), str(refused)


def web(cluster: Cluster) -> Mapping[str, Any]:
    found = live.read(cluster, "apps/v1", "Deployment", f"store-{TEA}", f"{TEA}-wordpress")
    assert found is not None
    return found


def test_a_rollback_with_the_backup_of_before_brings_back_code_and_data_of_then(
    project: Project, cluster: Cluster, shop: Shop
) -> None:
    command = ("rollback", TEA, "1", "--restore-backup", "--reason", "checkout fails")
    result = carried_out(project, *command, backup=True)
    (found,) = result["stores"]
    assert (found["status"], found["before"], found["runs"]) == ("Ready", NOW, OLDER)
    assert shop.sql("SELECT words FROM wp_kept") == "before"
    assert shop.sql("SHOW TABLES LIKE 'wp_new'") == ""
    assert shop.shell("cat wp-content/uploads/2026/photo.txt; ls wp-content/uploads").split() == ["before", "2026"]
    schema = schemas.ask(cluster, TEA)
    assert schema is not None
    assert (schema.image, schema.wordpress, schema.pending) == (OLDER, schema.code_wordpress, ())
    assert entrance_answers(project)
    deployment = web(cluster)
    assert (deployment["spec"]["replicas"], RESTORING in deployment["metadata"]["annotations"]) == (1, False)
    assert NOW not in manifest(project)
    assert status(project)["held"] is None
    assert nothing_is_left_to_do(project)
    taken = {snapshot["id"]: snapshot for snapshot in backups(project)}
    assert taken[found["backup"]]["reason"] == "pre-restore"
    assert f"wordpress:{NOW}" in taken[found["backup"]]["versions"]
    (done, intent, *_) = project.stores("audit", "list", "--action", "store.rollback", "--json").data
    assert (done["outcome"], intent["outcome"]) == ("success", "unknown")
    assert (done["metadata"]["snapshot"], done["metadata"]["undo"]) == (intent["metadata"]["snapshot"], found["backup"])
    assert taken[done["metadata"]["snapshot"]]["reason"] == "pre-upgrade"
    assert (intent["reason"], intent["metadata"]["revision"]) == ("checkout fails", 1)


@pytest.mark.long
def test_where_the_old_image_does_not_start_the_data_of_before_comes_back_too(
    project: Project, shop: Shop, image_store: Images
) -> None:
    carried_out(project, "upgrade", TEA, "--image-tag", NOW, backup=True)
    sell(shop)
    before = manifest(project)
    image_store.kept.remove(image_store.older)
    project.configure(releaseTimeoutSeconds=40)
    result = carried_out(project, "rollback", TEA, "--restore-backup", code=6, backup=True)
    project.configure(releaseTimeoutSeconds=240)
    image_store.kept.load(image_store.archive)
    (found,) = result["stores"]
    assert (found["status"], found["runs"]) == ("Ready", NOW)
    assert "it was rolled back, and serves with image" in found["reason"]
    assert sorted(shop.sql("SELECT words FROM wp_kept").split()) == ["before", "since"]
    assert manifest(project) == before
    assert entrance_answers(project)


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        (BROKEN, "the module of the century is missing"),
        pytest.param(ABSENT, "cannot be pulled", marks=pytest.mark.long),
    ],
)
def test_a_broken_image_is_rolled_back_by_itself_while_the_shop_serves(
    project: Project, sandbox_instance: Instance, tmp_path: Path, tag: str, reason: str
) -> None:
    before = manifest(project)
    project.configure(releaseTimeoutSeconds=40)
    with visited(sandbox_instance.folder, status(project)["url"], "Tea House", tmp_path / "stop") as load:
        result = carried_out(project, "upgrade", TEA, "--image-tag", tag, code=6)
    project.configure(releaseTimeoutSeconds=240)
    assert load.lost == 0, load.seen
    (found,) = result["stores"]
    assert (found["status"], found["runs"]) == ("Ready", found["before"])
    assert manifest(project) == before
    shown = status(project)
    assert shown["status"] == "Ready"
    assert f"upgrade to image {tag} failed" in shown["reason"]
    assert reason in shown["reason"]
    assert f"it was rolled back, and serves with image {found['before']} as before" in shown["reason"]
    assert [revision["status"] for revision in history(project)[-2:]] == ["failed", "deployed"]
    assert shown["held"] is None
    assert nothing_is_left_to_do(project)
    assert "nothing to do" in project.stores("up").out
    assert status(project)["reason"] is None


@pytest.mark.long
def test_of_all_stores_a_failing_canary_leaves_the_others_as_they_are(project: Project) -> None:
    before = manifest(project)
    project.configure(releaseTimeoutSeconds=30)
    result = carried_out(project, "upgrade", "--all", "--canary", TEA, "--image-tag", ABSENT, code=6)
    project.configure(releaseTimeoutSeconds=240)
    assert (result["new"], result["old"], result["waiting"]) == ([], [TEA, BAR], [BAR])
    assert f"stores upgrade {BAR} --image-tag {ABSENT}" in result["problems"][-1]
    assert manifest(project) == before
    assert len(history(project, BAR)) == 1


@pytest.mark.long
def test_after_a_plain_helm_upgrade_the_database_is_updated_too(project: Project, cluster: Cluster) -> None:
    done = project.helm(
        "upgrade", BAR, "charts/store", "--namespace", f"store-{BAR}", "--reuse-values", "--wait",
        "--set", f"image.tag={NOW}",
    )  # fmt: skip
    assert done.code == 0, str(done)

    def updated() -> bool:
        schema = schemas.ask(cluster, BAR)
        return schema is not None and schema.image == NOW and not schema.pending

    eventually(updated, "the database is up to date")
    assert f"changed by hand: image.tag {OLDER} -> {NOW}" in status(project, BAR)["held"]
    left = carried_out(project, "upgrade", "--all", "--image-tag", NOW, code=6)
    assert (left["new"], left["old"]) == ([TEA], [BAR])
    assert "held: its Helm revision is 2" in left["left_out"][0]


@pytest.mark.long
def test_what_was_done_by_hand_becomes_the_platforms(project: Project) -> None:
    carried_out(project, "upgrade", BAR, "--image-tag", NOW, "--overwrite-drift")
    assert status(project, BAR)["held"] is None
    assert OLDER not in manifest(project)
    assert nothing_is_left_to_do(project)


@pytest.mark.long
def test_of_all_stores_a_failing_second_one_ends_it_and_the_third_is_not_begun(
    project: Project, cluster: Cluster
) -> None:
    blocks = {"image": {"tag": NOW}, "title": "Shop"}
    project.write(tea(NOW), store(BAR, **blocks), store(PUB, **blocks))
    up = project.stores("up", timeout_s=600)
    assert up.code == 0, str(up)
    # Only this store has no room for a second web pod beside its first.
    namespace = f"store-{BAR}"
    full = {"metadata": {"name": "full"}, "spec": {"hard": {"pods": str(len(live.pods(cluster, namespace, {})))}}}
    cluster.core.create_namespaced_resource_quota(namespace, full)
    project.configure(releaseTimeoutSeconds=60)
    command = ("upgrade", "--all", "--canary", TEA, "--parallel", "1", "--image-tag", NEXT)
    result = carried_out(project, *command, code=6)
    assert (result["new"], result["old"], result["waiting"]) == ([TEA], [BAR, PUB], [PUB])
    (ready, failed) = result["stores"]
    assert (ready["status"], ready["runs"]) == ("Ready", NEXT)
    assert (failed["status"], failed["runs"]) == ("Ready", NOW)
    assert "exceeded quota: full" in failed["reason"]
    assert f"stores upgrade {PUB} --image-tag {NEXT}" in result["problems"][-1]
    assert (manifest(project).count(f"tag: {NEXT}"), manifest(project).count(f"tag: {NOW}")) == (1, 2)
    assert len(history(project, PUB)) == 1
    assert nothing_is_left_to_do(project)
    cluster.core.delete_namespaced_resource_quota("full", namespace)
    again = carried_out(project, *command[:2], "--image-tag", NEXT)
    assert sorted(again["new"]) == sorted([TEA, BAR, PUB])
    assert {found["store_id"] for found in again["stores"]} == {BAR, PUB}
    project.configure(releaseTimeoutSeconds=240)
    assert project.stores("rm", PUB).code == 0


def test_everything_can_be_removed(project: Project) -> None:
    for store_id in (TEA, BAR):
        assert project.stores("rm", store_id).code == 0
    done = project.stores("up")
    assert done.code == 0, str(done)
