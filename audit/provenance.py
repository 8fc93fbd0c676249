"""From what a run is made: the checkout's commit and the program's version, so that nothing old runs over newer."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from audit.records import CellRecord
from stacks.errors import RefusedError


@dataclass(frozen=True)
class Provenance:
    """`commit` is None where the checkout is no git repository."""

    commit: str | None
    program_version: str


def here(root: Path) -> Provenance:
    """Return what this checkout is."""
    head = git(root, "rev-parse", "HEAD")
    return Provenance(head.decode().strip() if head else None, metadata.version("multi-store-platform"))


def refuse_older(root: Path, environment: str, ours: Provenance, last: CellRecord | None) -> None:
    """Raise RefusedError when a newer checkout or a newer program was the last to change the cell."""
    if last is None:
        return
    where = f"environment {environment}, cell {last.cell}"
    if _version(last.program_version) > _version(ours.program_version):
        raise RefusedError(
            where,
            f"program version {last.program_version} was applied last, this one is {ours.program_version}",
            "install the newer program; nothing was changed",
        )
    if last.commit is None or ours.commit is None or last.commit == ours.commit:
        return
    if git(root, "merge-base", "--is-ancestor", ours.commit, last.commit) is not None:
        raise RefusedError(
            where,
            f"commit {last.commit[:12]} was applied last, and this checkout ({ours.commit[:12]}) is older",
            "run `git pull`; to go back on purpose, revert in a new commit",
        )


def git(root: Path, *arguments: str) -> bytes | None:
    """Return what the user's git answers about a checkout; None where it fails, or there is none."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)  # noqa: S607
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
