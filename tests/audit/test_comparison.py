"""Plans from two checkouts alone, as a pull request's check makes them, in a real git repository."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from audit.plan import Action, Plan
from cli.markdown import plan_comment
from stacks.errors import ManifestError, UsageError
from tests.repository import BOOKS, TEA, Repository, block


def fresh(count: int, owner: str = "bob") -> list[dict[str, Any]]:
    return [block(f"shop-b2c{number}d", owner) for number in range(2, 2 + count)]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def actions(plan: Plan) -> dict[str, str]:
    return {store.store_id: store.action.value for store in plan.stores if store.action is not Action.UNTOUCHED}


def test_a_checkout_that_changed_nothing_plans_nothing(repository: Repository) -> None:
    assert repository.plan().empty


def test_new_changed_and_tombstoned_stores_are_told_apart(repository: Repository) -> None:
    repository.write(block(TEA, title="More tea"), block(BOOKS, state="deleted"), *fresh(1))
    plan = repository.plan()
    assert actions(plan) == {TEA: "update", BOOKS: "delete", "shop-b2c2d": "create"}
    changed = next(store for store in plan.stores if store.store_id == TEA)
    assert [(change.path, change.before, change.after) for change in changed.changes] == [
        ("store.title", "Tea", "More tea")
    ]
    uses = {use.name: (use.before, use.after) for use in plan.limits}
    assert uses["stores in all"] == (2, 2)
    assert uses["stores of alice"] == (2, 1)
    assert uses["creations of bob in 60 min"] == (0, 1)


def test_a_protected_environment_schedules_a_removal_and_needs_no_secret(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("STORES_", "PULUMI_"))]:
        monkeypatch.delenv(name)
    repository.write(block(TEA), block(BOOKS, state="deleted"), environment="prod")
    assert actions(repository.plan("prod")) == {BOOKS: "scheduled"}


def test_a_request_that_switches_the_protection_off_is_refused(repository: Repository) -> None:
    settings = repository.root / "Pulumi.prod.yaml"
    text = settings.read_text()
    assert 'stores:protected: "true"' in text or "stores:protected: true" in text
    settings.write_text(re.sub(r'stores:protected: "?true"?', 'stores:protected: "false"', text))
    (refused,) = repository.plan("prod").refused
    assert "stores:protected in the settings is false" in str(refused)


def test_what_others_merged_meanwhile_is_no_change_of_this_branch(repository: Repository) -> None:
    repository.git("switch", "-q", "main")
    repository.write(block(TEA), block(BOOKS), *fresh(1))
    repository.commit("somebody else's store")
    repository.git("push", "-q", "origin", "main")
    repository.git("switch", "-q", "change")
    assert repository.plan().empty


def test_an_edit_of_the_environments_values_shows_at_every_store(repository: Repository) -> None:
    values = repository.root / "values/values-local.yaml"
    values.write_text(values.read_text().replace("drainSeconds: 3", "drainSeconds: 4"))
    plan = repository.plan()
    assert actions(plan) == {TEA: "update", BOOKS: "update"}
    assert {change.path for store in plan.stores for change in store.changes} == {"web.shutdown.drainSeconds"}


def test_of_seven_new_stores_the_first_five_can_go(repository: Repository) -> None:
    repository.write(block(TEA), block(BOOKS), *fresh(7))
    plan = repository.plan()
    assert [store.store_id for store in plan.denied] == ["shop-b2c7d", "shop-b2c8d"]
    assert "5 of 5" in str(plan.denied[0].denial) or "5/5" in str(plan.denied[0].denial)


def test_the_eleventh_store_of_an_owner_is_denied(repository: Repository) -> None:
    settings = repository.root / "Pulumi.local.yaml"
    settings.write_text(settings.read_text() + '  stores:createsPerHour: "50"\n')
    repository.write(block(TEA), block(BOOKS), *fresh(8, "alice"), block("last-b2c4d", cell="02"))
    plan = repository.plan()
    assert [store.store_id for store in plan.denied] == ["last-b2c4d"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda: [block(TEA)], "its block is gone"),
        (lambda: [block(TEA, cell="02"), block(BOOKS)], "a store cannot move"),
        (lambda: [block(TEA), block("books-c4d7g")], "an id cannot change"),
    ],
)
def test_of_a_store_that_would_be_another_one_no_plan_is_made(
    repository: Repository, change: Callable[[], list[dict[str, Any]]], told: str
) -> None:
    repository.write(*change())
    with pytest.raises(ManifestError, match=told):
        repository.plan()


def uses(plan: Plan) -> dict[str, tuple[int, int]]:
    return {use.name: (use.before, use.after) for use in plan.limits if use.before != use.after}


def test_an_owner_change_moves_a_slot_from_the_old_owner_to_the_new_one(repository: Repository) -> None:
    repository.write(block(TEA, owner="bob"), block(BOOKS))
    assert uses(repository.plan()) == {"stores of alice": (2, 1), "stores of bob": (0, 1)}
    comment = plan_comment(repository.plan())
    assert "| <code>stores of bob</code> | 0 | 1 | 10 |" in comment
    assert "| <code>stores of alice</code> | 2 | 1 | 10 |" in comment


def test_a_tombstone_frees_the_slot_of_who_had_it_and_a_tombstone_of_long_ago_none(repository: Repository) -> None:
    repository.write(block(TEA, owner="bob", state="deleted"), block(BOOKS))
    assert uses(repository.plan()) == {"stores in all": (2, 1), "stores of alice": (2, 1)}
    repository.commit("tombstone")
    repository.git("push", "-q", "origin", "HEAD:main")
    repository.write(block(TEA, owner="bob", state="deleted"), block(BOOKS, title="Books"))
    assert uses(repository.plan()) == {}


def tombstoned_in_prod(repository: Repository, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """Leave prod's main branch with a tombstone of so many hours ago."""
    at = f"{datetime.now(UTC) - timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"
    repository.write(block(TEA), block(BOOKS, state="deleted"), environment="prod")
    for name in ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"):
        monkeypatch.setenv(name, at)
    repository.commit("tombstone")
    repository.git("push", "-q", "origin", "HEAD:main")


@pytest.mark.parametrize(("hours", "before", "told"), [(1, 2, "leaving"), (1000, 1, "untouched")])
def test_a_tombstoned_store_counts_until_its_grace_is_over(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, hours: int, before: int, told: str
) -> None:
    tombstoned_in_prod(repository, monkeypatch, hours)
    repository.write(block(TEA), block(BOOKS, state="deleted"), *fresh(1, "alice"), environment="prod")
    plan = repository.plan("prod")
    assert {store.store_id: store.action.value for store in plan.stores}[BOOKS] == told
    assert uses(plan)["stores of alice"] == (before, before + 1)


def test_a_removal_that_is_taken_back_within_its_grace_is_no_creation(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    tombstoned_in_prod(repository, monkeypatch, 1)
    repository.write(block(TEA), block(BOOKS), environment="prod")
    plan = repository.plan("prod")
    assert actions(plan) == {BOOKS: "retry"}
    assert uses(plan) == {}


def test_a_block_may_go_once_its_tombstone_was_merged(repository: Repository) -> None:
    repository.write(block(TEA), block(BOOKS, state="deleted"))
    repository.commit("tombstone")
    repository.git("push", "-q", "origin", "HEAD:main")
    repository.write(block(TEA))
    assert repository.plan().empty


def test_a_base_that_is_no_manifest_is_named_as_the_base(repository: Repository) -> None:
    repository.write(block(TEA, owner="nobody"))
    repository.commit("broken")
    repository.write(block(TEA))
    with pytest.raises(ManifestError, match=r"HEAD: stacks/local/stores.yaml"):
        repository.plan(ref="HEAD")


@pytest.mark.parametrize("ref", ["origin/absent", "--output=/dev/null", ""])
def test_an_unknown_reference_is_a_usage_error(repository: Repository, ref: str) -> None:
    with pytest.raises(UsageError, match="git knows no such commit"):
        repository.plan(ref=ref)


def test_the_command_asks_nobody_and_leaves_nothing_behind(repository: Repository) -> None:
    repository.write(block(TEA), block(BOOKS), *fresh(1))
    command = [str(Path(sys.executable).with_name("stores")), "--root", str(repository.root)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(repository.root.parent)}
    done = subprocess.run(
        [*command, "plan", "--against", "origin/main", "--json", "--detailed-exitcode"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 10, done.stderr
    assert [store["action"] for store in json.loads(done.stdout)["stores"]] == ["untouched", "untouched", "create"]
    assert not (repository.root / ".stores").exists()
