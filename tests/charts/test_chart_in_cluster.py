from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.instance import Instance

from .live import Cluster, Release, eventually
from .rendering import Chart

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(sandbox_instance: Instance, chart: Chart) -> Cluster:
    return Cluster(sandbox_instance.kubeconfig, sandbox_instance.http_port, chart.helm)


def made(cluster: Cluster) -> Iterator[Release]:
    release = Release(cluster, f"chart-{secrets.token_hex(3)}")
    cluster.make_namespace(release.name)
    release.make_credentials()
    yield release
    cluster.delete_namespace(release.name)


@pytest.fixture
def empty(cluster: Cluster) -> Iterator[Release]:
    """Return a release that is not installed yet."""
    yield from made(cluster)


@pytest.fixture(scope="module")
def shop(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """Return a release that is installed by plain Helm as the README says, in a namespace of the restricted profile."""
    release = Release(cluster, f"chart-{secrets.token_hex(3)}")
    release.install_by_hand(tmp_path_factory.mktemp("by-hand"))
    yield release
    cluster.delete_namespace(release.name)


def by_helm_4(release: Release, programs: Mapping[str, Path]) -> Release:
    return replace(release, cluster=replace(release.cluster, helm=programs["helm4"]))


def newest_web_pod(release: Release) -> str:
    return str(release.pods("wordpress")[-1].metadata.name)


def test_plain_helm_makes_a_shop_that_answers(shop: Release) -> None:
    front = shop.get("/")
    assert front.code == 200
    assert "<title>Tea House</title>" in front.body
    assert shop.get("/wp-login.php").code == 200
    # Pretty permalinks are on: this is the post that every new WordPress has.
    assert shop.get("/hello-world/").code == 200


def test_the_login_page_stays_on_the_shops_own_address(shop: Release) -> None:
    assert f'action="http://{shop.host}/wp-login.php"' in shop.get("/wp-login.php").body


def test_a_second_start_installs_nothing_again(shop: Release) -> None:
    before = shop.pods("wordpress")[-1].metadata.name
    assert "WordPress is installed" in shop.log(before, "install")
    shop.upgrade("--set", "web.php.uploadMaxMib=65")
    assert newest_web_pod(shop) != before
    log = shop.log(newest_web_pod(shop), "install")
    assert "step-10-core.php done" in log
    assert "WordPress is installed" not in log
    assert "is now" not in log


def test_a_new_title_in_the_values_reaches_the_shop(shop: Release) -> None:
    shop.upgrade("--set-string", 'store.title=Bob\'s "Tea" & Co')
    assert "<title>Bob&#039;s &quot;Tea&quot; &amp; Co</title>" in shop.get("/").body


def test_an_upgrade_and_a_rollback_lose_no_request(shop: Release) -> None:
    answers: Counter[str] = Counter()
    over = threading.Event()

    def visit() -> None:
        while not over.is_set():
            try:
                answer = shop.get("/wp-login.php")
            except OSError as error:
                answers[repr(error)] += 1
            else:
                answers["200" if answer.code == 200 else f"{answer.code} {answer.body}"] += 1

    visitor = threading.Thread(target=visit)
    visitor.start()
    try:
        shop.upgrade("--set", "web.php.uploadMaxMib=66")
        shop.rollback()
        eventually(lambda: len(shop.pods("wordpress")) == 1, "the old web pods are gone")
    finally:
        over.set()
        visitor.join()
    assert set(answers) == {"200"}
    assert answers["200"] > 50


@pytest.mark.parametrize(("volume", "value"), [("uploads", "uploads.size"), ("mariadb", "database.storage.size")])
def test_a_larger_size_in_the_values_is_a_larger_volume(shop: Release, volume: str, value: str) -> None:
    assert shop.volume_size(volume) == "1Gi"
    shop.upgrade("--set", f"{value}=2Gi")
    eventually(lambda: shop.volume_size(volume) == "2Gi", f"the volume {volume} has grown")
    assert shop.get("/wp-login.php").code == 200


def test_a_shop_moves_to_other_user_ids_with_all_it_has(shop: Release) -> None:
    shop.upgrade("--set", "web.userId=10033", "--set", "database.userId=10999")
    contexts = {c: shop.pods(c)[-1].spec.security_context.run_as_user for c in ("wordpress", "mariadb")}
    assert contexts == {"wordpress": 10033, "mariadb": 10999}
    assert shop.get("/hello-world/").code == 200
    assert "WordPress is installed" not in shop.log(newest_web_pod(shop), "install")


def test_helm_4_goes_on_with_a_release_of_helm_3(shop: Release, programs: Mapping[str, Path]) -> None:
    newer = by_helm_4(shop, programs)
    newer.upgrade("--set", "web.php.uploadMaxMib=67")
    assert newer.get("/wp-login.php").code == 200
    newer.rollback()
    assert newer.get("/wp-login.php").code == 200


@pytest.mark.long
def test_helm_4_makes_a_shop_that_answers(empty: Release, programs: Mapping[str, Path]) -> None:
    by_helm_4(empty, programs).install({"store": {"title": "Four"}})
    assert "<title>Four</title>" in empty.get("/").body


def test_uploads_are_never_run_as_programs(shop: Release) -> None:
    assert shop.get("/wp-content/uploads/anything.php").code == 403


def test_a_release_that_is_installed_again_finds_its_shop(shop: Release) -> None:
    shop.uninstall()
    # A volume never shrinks, so the size must be the one that it has.
    sizes = {"uploads": {"size": "2Gi"}, "database": {"storage": {"size": "2Gi"}}}
    shop.install({"store": {"title": "Coffee"}, **sizes})
    assert "WordPress is installed" not in shop.log(newest_web_pod(shop), "install")
    # As an upgrade's, its title reaches the database that was kept.
    assert "<title>Coffee</title>" in shop.get("/").body


@pytest.mark.long
def test_pods_killed_in_the_middle_of_the_first_installation_do_no_harm(empty: Release) -> None:
    empty.install({"store": {"title": "Survivor"}}, wait=False)
    eventually(lambda: empty.pods("mariadb") and empty.pods("mariadb")[0].status.phase == "Running", "MariaDB starts")
    empty.kill(f"{empty.name}-mariadb-0")

    def installing() -> bool:
        states = [state for pod in empty.pods("wordpress") for state in pod.status.init_container_statuses or []]
        return any(state.name == "install" and state.state.running for state in states)

    eventually(installing, "the install runs")
    empty.kill(newest_web_pod(empty))
    empty.install({"store": {"title": "Survivor"}})
    assert "<title>Survivor</title>" in empty.get("/").body


def test_a_wrong_password_is_told_with_its_cure(empty: Release) -> None:
    empty.install({})
    patch = {"stringData": {"mariadb-password": "another"}}
    empty.cluster.core.patch_namespaced_secret(f"{empty.name}-credentials", empty.name, patch)
    empty.kill(newest_web_pod(empty))

    def said() -> str:
        """Return what a failed container of the newest pod said last, as the pod's status has it."""
        states = [state for pod in empty.pods("wordpress") for state in pod.status.init_container_statuses or []]
        ends = [end.terminated for state in states for end in (state.state, state.last_state) if end.terminated]
        return "".join(end.message or "" for end in ends if end.exit_code != 0)

    eventually(lambda: "Access denied for user 'wordpress'" in said(), "the install is refused")
    assert "put back the mariadb-password of that time into the credentials Secret" in said()
