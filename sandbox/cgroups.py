"""The control group of an instance: what the kernel accounts for and limits its pods by."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from stacks.errors import ClusterUnreachableError, UsageError

MOUNT: Final = Path("/sys/fs/cgroup")
NEEDED: Final = ("cpu", "cpuset", "memory", "pids")
# Below an instance's group: its own programs. The kubelet makes the pods' groups beside it.
SYSTEM: Final = "system"
_REMOVE_TIMEOUT_S: Final = 10.0
# A program moves itself into every group named before `--`, and then becomes the command after it.
_ENTER: Final = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'


def is_unified(mount: Path = MOUNT) -> bool:
    """Return whether the machine has one hierarchy for all controllers (version 2)."""
    return (mount / "cgroup.controllers").exists()


def missing_controllers(mount: Path = MOUNT) -> Sequence[str]:
    """Return the controllers that pods need and the machine does not have."""
    if is_unified(mount):
        available = (mount / "cgroup.controllers").read_text().split()
        return [name for name in NEEDED if name not in available]
    return [name for name in NEEDED if not (mount / name / "cgroup.procs").exists()]


def make(name: str, mount: Path = MOUNT) -> None:
    """Make the group `name` and its group for programs exist for every controller, at the top of each hierarchy."""
    for hierarchy in _hierarchies(mount):
        for group in (hierarchy / name, hierarchy / name / SYSTEM):
            group.mkdir(exist_ok=True)
            _share_processors(group)
    if is_unified(mount):
        _delegate(mount)
        _delegate(mount / name)


def entering(name: str, command: Sequence[str], mount: Path = MOUNT) -> Sequence[str]:
    """Return a command that is `command`, run as a program of the group `name` from its first moment on."""
    groups = [str(hierarchy / name / SYSTEM) for hierarchy in _hierarchies(mount)]
    return ["/bin/sh", "-c", _ENTER, "sh", *groups, "--", *command]


def processes(name: str, mount: Path = MOUNT) -> frozenset[int]:
    """Return every process of the group and of all groups below it."""
    found: set[int] = set()
    for hierarchy in _hierarchies(mount):
        for file in (hierarchy / name).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):  # the group has gone, or cannot hold processes itself
                found.update(int(line) for line in file.read_text().split())
    return frozenset(found)


def remove(name: str, mount: Path = MOUNT) -> None:
    """Make no group `name` exist. Its processes must have ended. Raises ClusterUnreachableError when it stays."""
    deadline = time.monotonic() + _REMOVE_TIMEOUT_S
    while left := [path for hierarchy in _hierarchies(mount) for path in _remove_tree(hierarchy / name)]:
        if time.monotonic() > deadline:
            raise ClusterUnreachableError(
                "sandbox", f"the control group {left[0]} cannot be removed",
                "something has put a process into it; end that, and run `stores sandbox down` again",
            )  # fmt: skip
        time.sleep(0.05)  # the kernel lets go of a group a moment after its last process


def exists(name: str, mount: Path = MOUNT) -> bool:
    """Return whether any hierarchy has the group `name`."""
    return any((hierarchy / name).is_dir() for hierarchy in _hierarchies(mount))


def _hierarchies(mount: Path) -> Sequence[Path]:
    if is_unified(mount):
        return [mount]
    return sorted({path.resolve() for path in mount.iterdir() if (path / "cgroup.procs").exists()})


def _share_processors(group: Path) -> None:
    # A new cpuset group of version 1 has no processors, and takes no process until it gets some.
    for name in ("cpuset.cpus", "cpuset.mems"):
        file, parent = group / name, group.parent / name
        if file.exists() and parent.exists() and not file.read_text().strip():
            file.write_text(parent.read_text())


def _delegate(group: Path) -> None:
    control = group / "cgroup.subtree_control"
    available = (group / "cgroup.controllers").read_text().split()
    lacking = [name for name in NEEDED if name in available and name not in control.read_text().split()]
    if not lacking:
        return
    try:
        control.write_text(" ".join(f"+{name}" for name in lacking))
    except OSError as error:
        raise UsageError(
            "sandbox",
            f"the control group {group} cannot hand {', '.join(lacking)} on: {error.strerror}",
            "run it outside of a container, or use a cluster of your own (kind, k3s, Docker Desktop), see README.md",
        ) from error


def _remove_tree(group: Path) -> Sequence[Path]:
    if not group.is_dir():
        return []
    left: list[Path] = []
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(FileNotFoundError):
            try:
                Path(folder).rmdir()
            except OSError:
                left.append(Path(folder))
    return left
