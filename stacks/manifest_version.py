"""The format of the manifest's files, and the way from an older format to today's.

A file of an older version is not read: `stores fmt` rewrites it, so that the change is reviewed like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from stacks.errors import Problem
from stacks.yaml_document import YamlDocument

CURRENT_VERSION: Final = 1

Migration = Callable[[str], str]
"""Takes the text of a file in one version and returns it in the next, comments and order kept."""

MIGRATIONS: Final[Mapping[int, Migration]] = {}
"""By the version that they start from; every version below the current one has one."""


def version_of(document: YamlDocument) -> int | None:
    """Return the version that the file names; None when it names none or something else than a whole number."""
    version = document.data.get("version") if isinstance(document.data, Mapping) else None
    return version if isinstance(version, int) and not isinstance(version, bool) else None


def version_problem(document: YamlDocument, environment: str) -> Problem | None:
    """Return why nothing else in the file can be judged, or None. A missing version is judged with everything else."""
    version = version_of(document)
    if version == CURRENT_VERSION or ("version",) not in document.lines:
        return None
    written = document.written(("version",)) or "is no number and"
    what = f"version {written} is unknown, this program reads version {CURRENT_VERSION}"
    if version is not None and version > CURRENT_VERSION:
        cure = "update this program: the file was written for a newer one"
    elif version in MIGRATIONS:
        what = f"version {version} is an older format, this program reads version {CURRENT_VERSION}"
        cure = f"run `stores fmt --env {environment}`, which rewrites it"
    else:
        cure = f"write `version: {CURRENT_VERSION}`"
    return Problem(document.at(("version",)), what, cure)


def migrated(
    text: str, version: int, migrations: Mapping[int, Migration] = MIGRATIONS, current: int = CURRENT_VERSION
) -> str:
    """Return `text`, which is in `version`, in the current one, step by step."""
    for step in range(version, current):
        text = migrations[step](text)
    return text
