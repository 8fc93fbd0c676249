"""The programs of the sandbox, compiled from pinned Go modules once and then taken from the cache.

Nothing is downloaded but module sources, whose hashes are in the committed go.sum files.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from sandbox import cache, golang
from sandbox.compiler import Pace, Watch, compile_group
from sandbox.program_groups import GROUPS, TEST_GROUPS, Group
from sandbox.progress import Report


def build(cache_root: Path, report: Report, *, for_tests: bool = False) -> Mapping[str, Path]:
    """Make every program exist in the cache and return the path of each, those that only tests use if asked for.

    Raises UsageError where Go is not usable.
    """
    go = golang.require()
    entries = _entries(cache_root, go, for_tests=for_tests)
    missing = [group for group in entries if not entries[group].is_dir()]
    pace = Pace({group.name: group.expected_s for group in missing})
    for ordinal, group in enumerate(missing, start=1):
        watch = Watch(group, ordinal, len(missing), pace, report)
        cache.ensure(entries[group], partial(compile_group, group, watch), waiting=watch.waiting)
    return _paths(entries)


def built(cache_root: Path, *, for_tests: bool = False) -> Mapping[str, Path] | None:
    """Return the programs if all of them are in the cache for the sources as they are now, else None."""
    entries = _entries(cache_root, golang.version() or "", for_tests=for_tests)
    return _paths(entries) if all(entry.is_dir() for entry in entries.values()) else None


def key(group: Group, go: str) -> str:
    """Return the name of the group's cache entry: another source, flag or compiler is another entry."""
    files = sorted(path for path in group.folder.rglob("*") if path.suffix in {".go", ".mod", ".sum"})
    parts: list[bytes | str] = [go, *group.flags, *(f"{name}={package}" for name, package in group.packages.items())]
    for path in files:
        parts += [path.relative_to(group.folder).as_posix(), path.read_bytes()]
    return cache.key_of(*parts)


def _entries(cache_root: Path, go: str, *, for_tests: bool) -> Mapping[Group, Path]:
    return {
        group: cache_root / "programs" / f"{group.name}-{key(group, go)}"
        for group in (*GROUPS, *(TEST_GROUPS if for_tests else ()))
    }


def _paths(entries: Mapping[Group, Path]) -> Mapping[str, Path]:
    return MappingProxyType(
        {program: entry / "bin" / program for group, entry in entries.items() for program in group.packages}
    )
