"""A store on whose release an operator works with plain Helm: it is held, and nothing of ours undoes it in passing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from components import naming
from tests.e2e.project import Project, store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

TEA, BAR = naming.new_store_id("held"), naming.new_store_id("free")


@pytest.fixture(scope="module")
def project(make_project: Callable[[], Project]) -> Project:
    made = make_project()
    made.write(store(TEA), store(BAR))
    done = made.stores("up")
    assert done.code == 0, str(done)
    return made


def history(project: Project, store_id: str = TEA) -> list[dict[str, Any]]:
    done = project.helm("history", store_id, "--namespace", f"store-{store_id}", "--output", "json")
    assert done.code == 0, str(done)
    found: list[dict[str, Any]] = done.data
    return found


def planned(project: Project, *arguments: str) -> dict[str, Any]:
    done = project.stores("plan", "--json", *arguments)
    assert done.code == 0, str(done)
    return {found["store_id"]: found for found in done.data["stores"]}


def listed(project: Project, store_id: str = TEA) -> dict[str, Any]:
    (found,) = project.stores("list", store_id, "--json").data
    return dict(found)


def upgraded_by_hand(project: Project, *arguments: str) -> None:
    done = project.helm(
        "upgrade", TEA, "charts/store", "--namespace", f"store-{TEA}", "--reuse-values", "--wait", *arguments
    )
    assert done.code == 0, str(done)


def test_what_the_platform_has_made_is_not_held(project: Project) -> None:
    assert listed(project)["held"] is None
    assert planned(project)[TEA]["action"] == "untouched"


def test_a_store_that_plain_helm_has_changed_is_held_with_what_was_changed(project: Project) -> None:
    upgraded_by_hand(project, "--set", "cron.intervalSeconds=120")
    found = planned(project)
    assert (found[TEA]["action"], found[BAR]["action"]) == ("held", "untouched")
    reason = "held: its Helm revision is 2 (deployed), and the platform's was 1; changed by hand: cron.intervalSeconds"
    assert found[TEA]["reason"] == reason
    assert listed(project)["held"] == reason
    assert "Ready (held)" in project.stores("status").out


def test_up_leaves_a_held_store_alone_while_its_neighbour_changes(project: Project) -> None:
    assert "nothing to do" in project.stores("up").out
    project.write(store(TEA), store(BAR, title="New title"))
    done = project.stores("up", "--json")
    assert done.code == 0, str(done)
    results = {found["store_id"]: found for found in done.data["stores"]}
    assert (results[BAR]["action"], results[TEA]["action"]) == ("update", "held")
    assert "held: its Helm revision is 2" in results[TEA]["reason"]
    assert len(history(project)) == 2
    assert listed(project)["held"] is not None


def test_a_rollback_by_plain_helm_is_held_as_well(project: Project) -> None:
    done = project.helm("rollback", TEA, "1", "--namespace", f"store-{TEA}", "--wait")
    assert done.code == 0, str(done)
    assert planned(project)[TEA]["reason"] == (
        "held: its Helm revision is 3 (deployed), and the platform's was 1; its values are the platform's"
    )


def test_a_change_of_its_block_ends_the_holding(project: Project) -> None:
    project.write(store(TEA, title="Another title"), store(BAR, title="New title"))
    assert planned(project)[TEA]["action"] == "update"
    done = project.stores("up")
    assert done.code == 0, str(done)
    assert listed(project)["held"] is None
    assert "nothing to do" in project.stores("up").out


def test_overwriting_brings_everything_back_and_leaves_nothing_to_do(project: Project) -> None:
    upgraded_by_hand(project, "--set", "cron.intervalSeconds=90")
    assert planned(project)[TEA]["action"] == "held"
    assert planned(project, "--overwrite-drift")[TEA]["action"] == "update"
    done = project.stores("up", "--overwrite-drift")
    assert done.code == 0, str(done)
    values = project.helm("get", "values", TEA, "--namespace", f"store-{TEA}", "--output", "json").data
    assert values["cron"]["intervalSeconds"] == 60
    assert any("overwrites revision" in found["description"] for found in history(project))
    assert listed(project)["held"] is None
    assert "nothing to do" in project.stores("up").out
    preview = project.pulumi("preview", "--stack", "local", "--expect-no-changes")
    assert preview.code == 0, str(preview)


def test_held_stores_can_be_deleted(project: Project) -> None:
    upgraded_by_hand(project, "--set", "cron.intervalSeconds=90")
    for store_id in (TEA, BAR):
        assert project.stores("rm", store_id).code == 0
    done = project.stores("up")
    assert done.code == 0, str(done)
