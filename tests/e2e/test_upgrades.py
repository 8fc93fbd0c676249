"""Upgrades and rollbacks of live shops, from an older WordPress whose database really needs an update.

Each test goes on where the one before it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit import schema as schemas
from bench.load import visited
from components import naming
from sandbox import cache, contents, images
from sandbox.instance import Instance
from sandbox.loading import ImageStore
from sandbox.progress import silent
from stacks.cluster import Cluster
from tests.charts.live import eventually
from tests.e2e.project import ROOT, Done, Project, store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

TEA, BAR = naming.new_store_id("tea"), naming.new_store_id("bar")
OLDER, NOW, NEXT, BROKEN, ABSENT = (
    f"{version}-php8.4-apache" for version in ("6.8.3", "7.1.4", "7.1.5", "7.1.98", "7.1.99")
)
FEW = 60
"""Page views of the short form; `python -m bench.upgrades` takes the full count."""


@pytest.fixture(scope="module")
def image_store(sandbox_instance: Instance) -> None:
    """Have the images of these tests in the sandbox: an older WordPress, a later tag, one that cannot start."""
    here = contents.references(ROOT)["wordpress"]
    repository = here.rpartition(":")[0]
    kept = ImageStore.of(sandbox_instance.folder)
    wanted = {"wordpress-older": f"{repository}:{OLDER}", "wordpress-broken": f"{repository}:{BROKEN}"}
    for archive in images.build(cache.root(), wanted, silent, for_tests=True):
        kept.load(archive)
    kept.tag(here, f"{repository}:{NEXT}")


@pytest.fixture(scope="module")
def project(image_store: None, make_project: Callable[[], Project]) -> Project:
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


def carried_out(project: Project, *command: str, code: int = 0) -> dict[str, Any]:
    done = project.stores(*command, "--yes", "--no-backup", "--json", timeout_s=900)
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
    project: Project, cluster: Cluster, sandbox_instance: Instance, tmp_path: Path
) -> None:
    before = schemas.ask(cluster, TEA)
    assert before is not None
    with visited(sandbox_instance.folder, status(project)["url"], "Tea House", tmp_path / "stop") as load:
        result = carried_out(project, "upgrade", TEA, "--image-tag", NOW, "--reason", "CVE-2026-1")
    assert load.requests >= FEW
    assert load.lost == 0, load.seen
    (found,) = result["stores"]
    assert (found["status"], found["before"], found["runs"]) == ("Ready", OLDER, NOW)
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


def test_a_rollback_across_the_change_of_the_database_is_refused(project: Project) -> None:
    before = manifest(project)
    done = project.stores("rollback", TEA, "--yes", "--no-backup")
    assert done.code == 11, str(done)
    assert "the database was updated since" in done.err
    assert manifest(project) == before
    assert len(history(project)) == 2


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
    assert (found["status"], found["runs"]) == ("Ready", NOW)
    assert manifest(project) == before
    shown = status(project)
    assert shown["status"] == "Ready"
    assert f"upgrade to image {tag} failed" in shown["reason"]
    assert reason in shown["reason"]
    assert f"it was rolled back, and serves with image {NOW} as before" in shown["reason"]
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


def test_everything_can_be_removed(project: Project) -> None:
    for store_id in (TEA, BAR):
        assert project.stores("rm", store_id).code == 0
    done = project.stores("up")
    assert done.code == 0, str(done)
