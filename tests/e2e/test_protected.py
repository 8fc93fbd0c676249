"""What must survive in a protected environment, tried on a live store: edits, accidents and plain `pulumi`.

Source of each claim: docs/architecture.md, "What survives what". Tests go on where the one before ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.migrations import migrate
from audit.probe import ask
from components import desired, naming
from tests.audit import mariadb_server
from tests.e2e.project import Project, store

pytestmark = [pytest.mark.cluster, pytest.mark.chain, pytest.mark.timeout(900)]

TEA = naming.new_store_id("vault")


@pytest.fixture(scope="module")
def project(make_project: Callable[[], Project]) -> Iterator[Project]:
    """Return a protected project: its ledger is a MariaDB, since a protected environment refuses SQLite."""
    made = make_project()
    made.configure(protected=True, singleHost=True)
    with mariadb_server.running(*mariadb_server.NOT_DURABLE) as server:
        url = server.url(server.new_database())
        migrate(url)
        yield Project(made.root, {**made.variables, "STORES_LEDGER_URL": url})


def resources(project: Project) -> list[dict[str, Any]]:
    exported = project.pulumi("stack", "export", "--stack", "local")
    assert exported.code == 0, str(exported)
    found: list[dict[str, Any]] = exported.data["deployment"].get("resources", [])
    return found


def untouched(project: Project) -> dict[str, tuple[object, ...]]:
    """Return what tells an object from one that was worked on. Values are no such thing: encrypted anew they differ."""
    return {
        found["urn"]: tuple(found.get(name) for name in ("id", "protect", "created", "modified"))
        for found in resources(project)
        if found["type"] != "pulumi:providers:pulumi"  # of the question whether the stack was protected
    }


def alive(project: Project) -> bool:
    (found,) = [found for found in project.stores("status", "--json").data if found["store_id"] == TEA]
    return ask(found["url"]).ok


def encrypted_passwords(project: Project) -> dict[str, str]:
    return {
        found["urn"]: json.dumps(found["outputs"]["result"])
        for found in resources(project)
        if found["type"] == "random:index/randomPassword:RandomPassword"
    }


def test_a_plain_up_is_refused_and_a_preview_is_free(project: Project) -> None:
    project.write(store(TEA))
    assert project.pulumi("stack", "init", "local").code == 0
    preview = project.pulumi("preview", "--stack", "local")
    assert preview.code == 0, str(preview)
    plain = project.pulumi("up", "--stack", "local", "--yes", "--skip-preview")
    assert plain.code != 0
    assert "it is protected: a plain `pulumi up` asks no limit and leaves no audit trail" in plain.out + plain.err
    assert [found for found in resources(project) if found["type"] != "pulumi:pulumi:Stack"] == []


def test_a_ticket_lets_one_plain_up_make_what_was_admitted(project: Project) -> None:
    ticket = project.root.parent / "ticket.json"
    admitted = project.stores("admit", "--output", str(ticket), "--json")
    assert admitted.code == 0, str(admitted)
    assert admitted.data["admitted"] == [TEA]
    locked = project.stores("up")
    assert locked.code == 8, str(locked)

    # What was admitted is this manifest, and no other.
    project.write(store(TEA, title="Another shop"))
    other = project.pulumi("up", "--stack", "local", "--yes", "--skip-preview", STORES_TICKET_FILE=str(ticket))
    assert other.code != 0
    assert "the manifest was changed since" in other.out + other.err
    project.write(store(TEA))

    plain = project.pulumi("up", "--stack", "local", "--yes", "--skip-preview", STORES_TICKET_FILE=str(ticket))
    assert plain.code == 0, str(plain)
    closed = project.stores("reconcile", "--ticket", str(ticket), "--json")
    assert closed.code == 0, str(closed)
    assert [(found["store_id"], found["status"]) for found in closed.data["stores"]] == [(TEA, "Ready")]
    run = [
        entry for entry in project.stores("audit", "list", "--json").data if entry["run_id"] == closed.data["run_id"]
    ]
    assert sorted(entry["outcome"] for entry in run if entry["action"] == "store.create") == ["success", "unknown"]


def test_a_used_ticket_does_nothing_more(project: Project) -> None:
    ticket = project.root.parent / "ticket.json"
    again = project.stores("reconcile", "--ticket", str(ticket), "--json")
    assert (again.code, again.data["nothing_to_do"]) == (0, True), str(again)


def test_every_resource_is_protected(project: Project) -> None:
    done = project.stores("up")
    assert done.code == 0, str(done)
    unprotected = {
        found["urn"]
        for found in resources(project)
        if not found.get("protect") and not found["type"].startswith(("pulumi:pulumi:", "pulumi:providers:random"))
    }
    assert unprotected == set()


def test_destroy_deletes_nothing(project: Project) -> None:
    before = {found["urn"] for found in resources(project)}
    destroyed = project.pulumi("destroy", "--stack", "local", "--yes", "--skip-preview")
    assert destroyed.code != 0
    assert "protected" in destroyed.out + destroyed.err
    assert {found["urn"] for found in resources(project)} == before
    assert alive(project)


@pytest.mark.parametrize("option", [(), ("-c", "stores:protected=false")], ids=["plain", "unprotected"])
def test_a_plain_up_without_a_ticket_changes_nothing_of_a_store_that_exists(
    project: Project, option: tuple[str, ...]
) -> None:
    settings = project.root / "Pulumi.local.yaml"
    text, before = settings.read_text(), untouched(project)
    project.write(store(TEA, title="Changed past the gate"))
    plain = project.pulumi("up", "--stack", "local", "--yes", "--skip-preview", *option)
    settings.write_text(text)  # `-c` writes there
    project.write(store(TEA))
    assert plain.code != 0
    told = "stores:protected in the settings is false" if option else "a plain `pulumi up` asks no limit"
    assert told in plain.out + plain.err
    assert untouched(project) == before
    assert alive(project)


def test_a_changed_length_changes_no_password(project: Project) -> None:
    before = encrypted_passwords(project)
    component = project.root / "components/store_tenant.py"
    text = component.read_text()
    component.write_text(text.replace("PASSWORD_LENGTH: Final = 24", "PASSWORD_LENGTH: Final = 32"))
    preview = project.pulumi("preview", "--stack", "local", "--expect-no-changes")
    component.write_text(text)
    assert "PASSWORD_LENGTH: Final = 24" in text
    assert preview.code == 0, str(preview)
    assert encrypted_passwords(project) == before
    assert len(before) == 4


def test_another_address_of_the_same_cluster_replaces_nothing(project: Project) -> None:
    kubeconfig = project.root.parent / "other-address"
    text = Path(project.variables["KUBECONFIG"]).read_text()
    kubeconfig.write_text(re.sub(r"https://127\.0\.0\.1:", "https://localhost:", text))
    assert "https://localhost:" in kubeconfig.read_text()
    preview = project.pulumi("preview", "--stack", "local", KUBECONFIG=str(kubeconfig))
    assert preview.code == 0, str(preview)
    # The provider notes where its kubeconfig is, and that is all: the stack, the component and its parts stay.
    unchanged = 2 + len(desired.PARTS)
    assert re.search(rf"~ 1 to update\n\s+{unchanged} unchanged\n", preview.out), str(preview)


def test_a_vanished_block_is_refused_by_the_gate_and_by_the_engine(project: Project) -> None:
    project.write()
    done = project.stores("up")
    assert done.code == 3, str(done)
    preview = project.pulumi("preview", "--stack", "local")
    assert preview.code != 0
    assert "protected" in preview.out + preview.err
    project.write(store(TEA))


def test_volumes_stay_when_the_release_goes(project: Project) -> None:
    manifest = project.helm("get", "manifest", TEA, "--namespace", f"store-{TEA}").out
    claims = [part for part in manifest.split("---") if "kind: PersistentVolumeClaim" in part]
    assert len(claims) == 2
    assert all("helm.sh/resource-policy: keep" in claim for claim in claims)


def test_a_tombstone_begins_a_grace_in_which_the_shop_serves_on(project: Project) -> None:
    assert project.stores("rm", TEA).code == 0
    done = project.stores("up")
    assert done.code == 0, str(done)
    (found,) = project.stores("status", "--json").data
    assert found["status"] == "Deleting"
    assert "kept until" in found["reason"]
    assert alive(project)


def test_after_its_grace_the_store_goes_and_frees_its_slot(project: Project) -> None:
    project.configure(deletionGraceHours=0)
    done = project.stores("up")
    assert done.code == 0, str(done)
    assert project.stores("limits", "--json").data["total_used"] == 0
    assert [found for found in resources(project) if TEA in found["urn"]] == []
