"""The control group of an instance: what the kernel accounts for and limits its pods by."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from stacks.errors import UsageError

MOUNT: Final = Path("/sys/fs/cgroup")
NEEDED: Final = ("cpu", "cpuset", "memory", "pids")
_REMOVE_TIMEOUT_S: Final = 10.0


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
    """Make the group `name` exist for every controller, at the top of each hierarchy."""
    for hierarchy in _hierarchies(mount):
        (hierarchy / name).mkdir(exist_ok=True)
    if is_unified(mount):
        _delegate(mount)
        _delegate(mount / name)
    elif (mount / "cpuset").is_dir():
        # A new cpuset group of version 1 has no processors and takes no process until it gets some.
        for file in ("cpuset.cpus", "cpuset.mems"):
            group = mount / "cpuset" / name
            if (group / file).exists() and not (group / file).read_text().strip():
                (group / file).write_text((mount / "cpuset" / file).read_text())


def remove(name: str, mount: Path = MOUNT) -> Sequence[Path]:
    """Make no group `name` exist, and return what could not be removed. Its processes must have ended."""
    deadline = time.monotonic() + _REMOVE_TIMEOUT_S
    while True:
        left = [path for hierarchy in _hierarchies(mount) for path in _remove_tree(hierarchy / name)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)  # the kernel lets go of a group a moment after its last process


def exists(name: str, mount: Path = MOUNT) -> bool:
    """Return whether any hierarchy has the group `name`."""
    return any((hierarchy / name).is_dir() for hierarchy in _hierarchies(mount))


def _hierarchies(mount: Path) -> Sequence[Path]:
    if is_unified(mount):
        return [mount]
    return sorted({path.resolve() for path in mount.iterdir() if (path / "cgroup.procs").exists()})


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
