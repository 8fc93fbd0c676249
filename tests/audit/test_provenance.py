"""A real git repository each: an older checkout must not undo what a newer one applied."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit import provenance
from audit.provenance import Provenance
from audit.records import CellRecord
from stacks.errors import RefusedError


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    return tmp_path


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(root: Path, text: str) -> str:
    (root / "file").write_text(text)
    git(root, "add", "file")
    git(root, "commit", "--quiet", "-m", text)
    return git(root, "rev-parse", "HEAD")


def last(commit: str | None, version: str = "0.1.0") -> CellRecord:
    return CellRecord("local", "01", "digest", commit, version, "uid", datetime.now(UTC), "run-1")


def test_an_older_checkout_is_refused(repository: Path) -> None:
    older = commit(repository, "one")
    newer = commit(repository, "two")
    with pytest.raises(RefusedError, match=r"this checkout .* is older"):
        provenance.refuse_older(repository, "local", Provenance(older, "0.1.0"), last(newer))


def test_the_same_a_newer_and_a_sibling_checkout_may_run(repository: Path) -> None:
    base = commit(repository, "one")
    newer = commit(repository, "two")
    git(repository, "checkout", "--quiet", "-b", "side", base)
    side = commit(repository, "three")
    for ours, theirs in ((base, base), (newer, base), (side, newer)):
        provenance.refuse_older(repository, "local", Provenance(ours, "0.1.0"), last(theirs))


@pytest.mark.parametrize(("ours", "refused"), [("0.9.0", True), ("0.10.0", False), ("0.10.1", False), ("1.0", False)])
def test_an_older_program_is_refused(repository: Path, ours: str, *, refused: bool) -> None:
    if refused:
        with pytest.raises(RefusedError, match=r"0\.10\.0 was applied last"):
            provenance.refuse_older(repository, "local", Provenance(None, ours), last(None, "0.10.0"))
    else:
        provenance.refuse_older(repository, "local", Provenance(None, ours), last(None, "0.10.0"))


def test_a_first_run_and_a_folder_without_git_may_run(tmp_path: Path) -> None:
    provenance.refuse_older(tmp_path, "local", provenance.here(tmp_path), None)
    assert provenance.here(tmp_path).commit is None
    provenance.refuse_older(tmp_path, "local", provenance.here(tmp_path), last("0" * 40))
