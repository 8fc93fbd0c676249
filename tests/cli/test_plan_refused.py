"""What endangers data is in the plan and its comment, first, and then the command ends with 11; with real files."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audit import comparison
from components.desired import DesiredStore
from tests.cli.conftest import Done
from tests.repository import BOOKS, TEA, Repository, block


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


Change = Callable[[Repository, pytest.MonkeyPatch], None]


def _shrink_by_the_block(repository: Repository, _patch: pytest.MonkeyPatch) -> None:
    repository.write(block(TEA, title="More tea", uploads={"storage": "512Mi"}), block(BOOKS))


def _shrink_by_taking_a_size_out(repository: Repository, _patch: pytest.MonkeyPatch) -> None:
    repository.write(block(TEA, database={"storage": "2Gi"}), block(BOOKS))
    repository.commit("a larger database")
    repository.git("push", "-q", "origin", "HEAD:main")
    repository.write(block(TEA), block(BOOKS))


def _in_values(before: str, after: str) -> Change:
    def edit(repository: Repository, _patch: pytest.MonkeyPatch) -> None:
        file = repository.root / "values/values-local.yaml"
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after))

    return edit


def _other_namespace(_repository: Repository, patch: pytest.MonkeyPatch) -> None:
    """The name follows from the id, so that only another program can change it: what was applied says another one."""
    read = comparison._Files.read.__func__

    def renamed(store: DesiredStore) -> DesiredStore:
        objects = deepcopy(store.to_dict()["objects"])
        objects["namespace"]["metadata"]["name"] = "shop-of-old"
        return replace(store, objects=objects)

    def reading(kind: Any, root: Path, environment: str) -> Any:
        found = read(kind, root, environment)
        if (root / ".git").exists():
            return found
        return replace(found, desired={store_id: renamed(store) for store_id, store in found.desired.items()})

    patch.setattr(comparison._Files, "read", classmethod(reading))


DANGERS: dict[str, tuple[Change, str]] = {
    "a smaller volume": (_shrink_by_the_block, "uploads.storage 512Mi is smaller than the 1Gi that exist"),
    "a size that is taken out": (_shrink_by_taking_a_size_out, "database.storage 1Gi is smaller than the 2Gi"),
    "another class of one volume": (
        _in_values("uploads:\n  storageClass: local-path", "uploads:\n  storageClass: fast"),
        "uploads.storageClass local-path -> fast would replace, move or shrink",
    ),
    "another class of the database": (
        _in_values("storage:\n    storageClass: local-path", "storage:\n    storageClass: fast"),
        "database.storage.storageClass local-path -> fast",
    ),
    "another access mode": (
        _in_values("uploads:\n", "uploads:\n  accessMode: ReadWriteMany\n"),
        "uploads.accessMode ReadWriteOnce -> ReadWriteMany",
    ),
    "another namespace": (_other_namespace, "namespace.metadata.name shop-of-old -> store-"),
}


def plan(stores: Callable[..., Done], repository: Repository, *more: str) -> Done:
    return stores("--root", str(repository.root), "plan", "--against", "origin/main", *more)


@pytest.mark.parametrize("name", DANGERS)
def test_the_comment_is_written_with_the_danger_first_and_then_the_command_ends_with_11(
    repository: Repository, stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    change, told = DANGERS[name]
    change(repository, monkeypatch)
    file = tmp_path / "comment.md"
    done = plan(stores, repository, "--markdown", "--output", str(file), "--detailed-exitcode")
    assert done.code == 11
    assert told in done.err
    comment = file.read_text()
    headings = [line for line in comment.splitlines() if line.startswith("#### ")]
    assert headings[0] == "#### Data in danger"
    assert comment.index("**Refused:**") < comment.index("#### Data in danger")
    rows = [line for line in comment.splitlines() if line.startswith("| <code>")]
    assert "**would replace, move or shrink data**" in rows[0]


def test_text_and_json_show_the_whole_plan_before_they_end_with_11(repository: Repository, stores) -> None:
    repository.write(block(BOOKS, title="More books"), block(TEA, uploads={"storage": "512Mi"}))
    done = plan(stores, repository)
    assert done.code == 11
    assert done.out.index(f"~ {TEA}") < done.out.index(f"~ {BOOKS}")
    assert "uploads.size: 1Gi -> 512Mi  DANGER" in done.out
    assert "REFUSED: 1 changes endanger data" in done.out

    done = plan(stores, repository, "--json")
    assert done.code == 11
    document = json.loads(done.out)
    assert [store["store_id"] for store in document["stores"]] == [BOOKS, TEA]
    [refused] = document["refused"]
    assert refused.startswith("stacks/local/stores.yaml:")
    assert refused.endswith("write uploads.storage: 1Gi or more")


@pytest.mark.parametrize(("size", "code"), [("1023Mi", 11), ("1024Mi", 10), ("2Gi", 10)])
def test_a_volume_may_stay_or_grow_and_not_shrink(repository: Repository, stores, size: str, code: int) -> None:
    repository.write(block(TEA, title="More tea", uploads={"storage": size}), block(BOOKS))
    assert plan(stores, repository, "--detailed-exitcode").code == code


def test_a_tombstoned_store_may_say_any_size(repository: Repository, stores) -> None:
    repository.write(block(TEA, state="deleted", uploads={"storage": "512Mi"}), block(BOOKS))
    assert plan(stores, repository, "--detailed-exitcode").code == 10


@pytest.mark.parametrize("change", [[block(TEA)], [block(TEA, cell="02"), block(BOOKS)]], ids=["vanished", "moved"])
def test_a_block_that_vanished_or_moved_is_a_wrong_manifest_and_no_plan(
    repository: Repository, stores, tmp_path: Path, change: list[dict[str, Any]]
) -> None:
    repository.write(*change)
    file = tmp_path / "comment.md"
    assert plan(stores, repository, "--markdown", "--output", str(file)).code == 3
    assert not file.exists()
