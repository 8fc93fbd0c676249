"""Whole stores on a real cluster, by the commands that people type. Each test goes on where the one before it ended."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from audit.probe import address_of
from components import naming
from tests.e2e.conftest import ROOT
from tests.e2e.project import Done, Project, store

pytestmark = [pytest.mark.cluster, pytest.mark.chain, pytest.mark.timeout(900)]

TEA, BAR = naming.new_store_id("tea"), naming.new_store_id("bar")
# A name that is the whole of another store's id.
TWIN = naming.new_store_id(TEA)


@pytest.fixture(scope="module")
def project(make_project: Callable[[], Project]) -> Project:
    return make_project()


def page(url: str, path: str = "/") -> str:
    """Return a page of a shop, asked through the ingress by the shop's own host."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(address_of(parts.hostname or ""), parts.port, timeout=20)
    try:
        connection.request("GET", path, headers={"Host": parts.netloc})
        response = connection.getresponse()
        assert response.status == 200, f"{url}{path} answered {response.status}"
        return response.read().decode()
    finally:
        connection.close()


def browse(url: str, folder: Path, *options: str) -> str:
    """Open an address in a real browser, without a window, and return what it prints."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium is not None, "Chromium is missing; apt-get install chromium"
    done = subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            # The name service behind nip.io names need not be reachable: they hold their own address.
            "--host-resolver-rules=MAP *.nip.io 127.0.0.1",
            f"--user-data-dir={folder / 'profile'}", *options, url,
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return done.stdout


def tea(**more: Any) -> dict[str, Any]:
    return store(TEA, **{"title": "Tea House", **more})


def up(project: Project, *, code: int = 0, cwd: Path | None = None) -> dict[str, Any]:
    done = project.stores("up", "--json", cwd=cwd)
    assert done.code == code, str(done)
    return {found["store_id"]: found for found in done.data["stores"]}


def revision(project: Project, store_id: str) -> int:
    done = project.helm("history", store_id, "--namespace", f"store-{store_id}", "--output", "json")
    assert done.code == 0, str(done)
    return int(done.data[-1]["revision"])


def status(project: Project) -> dict[str, Any]:
    done = project.stores("status", "--json")
    assert done.code == 0, str(done)
    return {found["store_id"]: found for found in done.data}


def assert_refused(done: Done, code: int, told: str) -> None:
    assert done.code == code, str(done)
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert told in line
    assert "Traceback" not in done.err


def import_state(project: Project, document: str) -> None:
    file = project.root.parent / "import.json"
    file.write_text(document)
    done = project.pulumi("stack", "import", "--stack", "local", "--file", str(file))
    assert done.code == 0, str(done)


def test_two_stores_of_two_owners_come_up_and_answer(project: Project, tmp_path: Path) -> None:
    project.write(tea(), store(BAR, owner="bob"))
    # From anywhere: nothing may depend on the folder that a command is called in.
    results = up(project, cwd=tmp_path)
    assert {found["status"] for found in results.values()} == {"Ready"}
    for store_id, title in ((TEA, "Tea House"), (BAR, f"Shop {BAR}")):
        assert title in page(results[store_id]["url"])
        assert results[store_id]["content"].startswith("WooCommerce stand-in ")


def test_a_browser_shows_the_shop(project: Project, tmp_path: Path) -> None:
    url = status(project)[TEA]["url"]
    picture = tmp_path / "shop.png"
    browse(url, tmp_path, f"--screenshot={picture}", "--window-size=1280,800")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "<title>Tea House</title>" in browse(url, tmp_path, "--dump-dom")
    # A blank page of this size is a few kilobytes.
    assert picture.stat().st_size > 15_000
    if os.environ.get("STORES_WRITE_DOCS") == "1":
        shutil.copy(picture, ROOT / "docs/images/shop.png")


def test_the_audit_log_has_an_intent_and_an_outcome_for_each(project: Project) -> None:
    entries = project.stores("audit", "list", "--json", "--action", "store.create").data
    told = {(entry["store_id"], entry["outcome"]) for entry in entries}
    assert told == {(store_id, outcome) for store_id in (TEA, BAR) for outcome in ("unknown", "success")}
    assert {entry["source_ip"] for entry in entries} == {None}


def test_the_credentials_sign_in_and_their_reading_is_on_record(project: Project) -> None:
    done = project.stores("credentials", TEA, "--json")
    assert done.code == 0, str(done)
    password = done.data["password"]
    assert len(password) == 24
    (entry,) = project.stores("audit", "list", "--json", "--action", "store.credentials.read").data
    assert (entry["store_id"], entry["outcome"]) == (TEA, "success")


def test_no_password_is_in_state_release_log_or_manifest(project: Project) -> None:
    password = project.stores("credentials", BAR, "--json").data["password"]
    release = project.helm("get", "all", BAR, "--namespace", f"store-{BAR}")
    assert password not in release.out
    for file in project.root.parent.rglob("*"):
        if file.is_file() and not file.is_relative_to(project.root):
            assert password.encode() not in file.read_bytes(), file


def test_a_second_run_has_nothing_to_do(project: Project) -> None:
    done = project.stores("up")
    assert done.code == 0, str(done)
    assert "nothing to do" in done.out
    assert revision(project, TEA) == revision(project, BAR) == 1


def test_plain_pulumi_finds_nothing_to_do_either(project: Project) -> None:
    preview = project.pulumi("preview", "--stack", "local", "--expect-no-changes")
    assert preview.code == 0, str(preview)
    plain = project.pulumi("up", "--stack", "local", "--yes", "--skip-preview", "--expect-no-changes")
    assert plain.code == 0, str(plain)
    done = project.stores("up")
    assert done.code == 0, str(done)
    assert "nothing to do" in done.out


@pytest.fixture
def pending_change(project: Project) -> None:
    project.write(tea(), store(BAR, owner="bob", web={"memory": "600Mi"}))


@pytest.mark.usefixtures("pending_change")
def test_a_wrong_passphrase_is_one_clear_sentence(project: Project) -> None:
    (project.root.parent / "wrong").write_text("another passphrase\n")
    done = project.stores("up", PULUMI_CONFIG_PASSPHRASE_FILE=str(project.root.parent / "wrong"))
    assert_refused(done, 7, "the passphrase does not open the state")


@pytest.mark.usefixtures("pending_change")
def test_a_locked_stack_is_one_clear_sentence(project: Project) -> None:
    lock = project.root.parent / "state/.pulumi/locks/organization/stores/local/somebody.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text('{"pid": 1, "username": "somebody", "hostname": "elsewhere", "timestamp": "2026-01-01T00:00:00Z"}')
    done = project.stores("up")
    lock.unlink()
    assert_refused(done, 8, "the engine's state is locked by process 1 on elsewhere")
    assert status(project)[BAR]["status"] == "Ready"


@pytest.mark.usefixtures("pending_change")
def test_an_unreachable_cluster_is_one_clear_sentence(project: Project) -> None:
    kubeconfig = project.root.parent / "nowhere"
    text = Path(project.variables["KUBECONFIG"]).read_text()
    kubeconfig.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", text))
    assert_refused(project.stores("up", KUBECONFIG=str(kubeconfig)), 7, "it does not answer")


@pytest.mark.usefixtures("pending_change")
def test_another_cluster_is_refused(project: Project) -> None:
    project.configure(clusterUid="00000000-0000-0000-0000-000000000000")
    done = project.stores("up")
    project.configure(clusterUid=None)
    assert_refused(done, 11, "but the stores of local live in 00000000-0000-0000-0000-000000000000")


@pytest.mark.usefixtures("pending_change")
def test_a_missing_plugin_is_one_clear_sentence(project: Project) -> None:
    home = project.root.parent / "empty-home"
    home.mkdir(exist_ok=True)
    assert_refused(project.stores("up", PULUMI_HOME=str(home)), 7, "the plugin kubernetes is missing")


@pytest.mark.usefixtures("pending_change")
def test_a_missing_engine_is_one_clear_sentence(project: Project) -> None:
    assert_refused(project.stores("up", PATH="/usr/bin:/bin"), 7, "no `pulumi` program was found")


@pytest.mark.usefixtures("pending_change")
def test_nothing_of_this_has_changed_a_store(project: Project) -> None:
    assert revision(project, BAR) == 1
    plans = {found["store_id"]: found for found in project.stores("plan", "--json").data["stores"]}
    assert plans[BAR]["action"] == "update"
    assert plans[TEA]["action"] == "untouched"


def test_a_plan_names_each_changed_property_and_changes_nothing(project: Project) -> None:
    project.write(tea(web={"memory": "600Mi"}), store(BAR, owner="bob"))
    done = project.stores("plan", "--json", "--detailed-exitcode")
    assert done.code == 10, str(done)
    plans = {found["store_id"]: found for found in done.data["stores"]}
    assert plans[BAR]["action"] == "untouched"
    assert plans[TEA]["action"] == "update"
    (change,) = plans[TEA]["changes"]
    assert (change["path"], change["before"], change["after"]) == ("web.resources.limits.memory", "512Mi", "600Mi")
    assert plans[TEA]["resources"] == {"update": 1}
    assert revision(project, TEA) == 1


def test_a_changed_store_changes_alone(project: Project) -> None:
    results = up(project)
    assert (results[TEA]["action"], results[TEA]["status"]) == ("update", "Ready")
    assert results[BAR]["action"] == "untouched"
    assert (revision(project, TEA), revision(project, BAR)) == (2, 1)


def test_one_that_cannot_start_stops_nobody_and_says_why(project: Project) -> None:
    project.configure(releaseTimeoutSeconds=45)
    broken = {"image": {"tag": "0.0.0-none"}}
    project.write(tea(web={"memory": "600Mi"}), store(BAR, owner="bob", **broken), store(TWIN, owner="bob"))
    project.configure(releaseTimeoutSeconds=90)
    results = up(project, code=6)
    assert results[TWIN]["status"] == "Ready"
    assert f"Shop {TWIN}" in page(results[TWIN]["url"])
    assert results[BAR]["status"] == "Failed"
    assert "0.0.0-none" in results[BAR]["reason"]
    assert results[TEA]["action"] == "untouched"
    # The old pods serve on: the update failed, not the shop.
    assert f"Shop {BAR}" in page(f"{results[TWIN]['url']}".replace(TWIN, BAR))


def test_a_failed_store_is_retried_by_running_again(project: Project) -> None:
    project.configure(releaseTimeoutSeconds=240)
    project.write(tea(web={"memory": "600Mi"}), store(BAR, owner="bob"), store(TWIN, owner="bob"))
    results = up(project)
    assert {found["status"] for found in results.values()} == {"Ready"}
    used = project.stores("limits", "--json").data
    assert used["total_used"] == 3


def test_what_the_engine_would_replace_unasked_is_refused_before_anything_is_changed(project: Project) -> None:
    exported = project.pulumi("stack", "export", "--stack", "local")
    before, tampered = exported.out, exported.data
    for resource in tampered["deployment"]["resources"]:
        if resource["urn"].endswith(f"::{BAR}-namespace"):
            for side in ("inputs", "outputs"):
                resource[side]["metadata"]["name"] = "somebody-elses"
    import_state(project, json.dumps(tampered))
    project.write(tea(title="Not to be"), store(BAR, owner="bob"), store(TWIN, owner="bob"))
    done = project.stores("up")
    assert done.code == 11, str(done)
    assert f"store '{BAR}': the engine would replace its namespace" in done.err
    assert "Not to be" not in page(status(project)[TEA]["url"])
    assert f"Shop {BAR}" in page(status(project)[BAR]["url"])
    import_state(project, before)
    project.write(tea(web={"memory": "600Mi"}), store(BAR, owner="bob"), store(TWIN, owner="bob"))
    up(project)


def test_deleting_one_leaves_the_one_whose_name_begins_alike(project: Project) -> None:
    assert project.stores("rm", TEA).code == 0
    results = up(project)
    assert results[TEA]["status"] == "Deleted"
    assert f"Shop {TWIN}" in page(status(project)[TWIN]["url"])
    assert project.helm("list", "--namespace", f"store-{TEA}", "--output", "json").data == []
    assert project.stores("limits", "--json").data["total_used"] == 2


def test_a_vanished_block_is_refused(project: Project) -> None:
    project.write(store(TWIN, owner="bob"))
    done = project.stores("up")
    assert done.code == 3, str(done)
    assert f"store '{BAR}' of owner 'bob' exists, but its block is gone" in done.err


def test_a_lost_state_is_rebuilt_from_the_live_stores(project: Project) -> None:
    project.write(store(BAR, owner="bob"), store(TWIN, owner="bob"))
    before = project.stores("credentials", BAR, "--json").data["password"]
    state = project.root.parent / "state"
    state.rename(state.with_name("lost"))
    state.mkdir()
    blind: Done = project.stores("up")
    assert blind.code == 6, str(blind)
    assert "exists" in blind.err + blind.out
    (state.with_name("blind")).mkdir()
    state.rename(state.with_name("blind") / "state")
    state.mkdir()

    done = project.stores("reconcile", "--import")
    assert done.code == 0, str(done)
    assert project.stores("credentials", BAR, "--json").data["password"] == before
    up(project)
    assert "nothing to do" in project.stores("up").out
    preview = project.pulumi("preview", "--stack", "local", "--expect-no-changes")
    assert preview.code == 0, str(preview)
    for file in state.rglob("*"):
        if file.is_file():
            assert before.encode() not in file.read_bytes(), file


def test_everything_can_be_deleted(project: Project) -> None:
    for store_id in (BAR, TWIN):
        assert project.stores("rm", store_id).code == 0
    assert {found["status"] for found in up(project).values()} == {"Deleted"}
    project.write()
    assert "nothing to do" in project.stores("up").out
    assert project.stores("limits", "--json").data["total_used"] == 0
