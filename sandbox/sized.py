"""Volumes that are really as large as their claims say: each is a file with a file system of its own.

What happens when a volume is full cannot be tried on a folder of the machine's disk. Class `local-path-sized` has these
volumes. They need loop devices, which not every machine that can run a sandbox offers, so they are not the default.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

PARAMETER: Final = "sized"
_TIMEOUT_S: Final = 60


class SizedError(OSError):
    """A file system could not be made, mounted, grown or unmounted."""


def image_of(folder: Path) -> Path:
    """Return the file behind a volume's folder."""
    return folder.with_name(f"{folder.name}.img")


def make(folder: Path, size_bytes: int) -> None:
    """Mount a file system of this size at the folder; one that is mounted already stays."""
    if folder.is_mount():
        return
    image = image_of(folder)
    if not image.exists():
        unfinished = image.with_suffix(".new")
        with unfinished.open("wb") as file:
            file.truncate(size_bytes)
        # No share for root: a pod is told that the disk is full when it is.
        _run("mkfs.ext4", "-q", "-m", "0", str(unfinished))
        unfinished.rename(image)
    _run("mount", "-o", "loop", str(image), str(folder))
    # A volume of a cloud has it too, which is why the chart's pods use folders below.
    folder.joinpath("lost+found").chmod(0o700)


def grow(folder: Path, size_bytes: int) -> None:
    """Make the file system as large as this; its pods go on working meanwhile."""
    image = image_of(folder)
    if image.stat().st_size >= size_bytes:
        return
    with image.open("r+b") as file:
        file.truncate(size_bytes)
    device = _run("findmnt", "--noheadings", "--output", "SOURCE", "--mountpoint", str(folder))
    _run("losetup", "--set-capacity", device)
    _run("resize2fs", device)


def remove(folder: Path) -> None:
    """Unmount the folder and remove the file behind it, if there are such; raises while somebody uses it."""
    if folder.is_mount():
        _run("umount", str(folder))
    image_of(folder).unlink(missing_ok=True)


def _run(*command: str) -> str:
    """Return what a program prints; raises SizedError with what it said when it fails."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SizedError(f"{' '.join(command)}: {error}") from error
    if result.returncode != 0:
        raise SizedError(f"{' '.join(command)}: {' '.join(result.stderr.split())}")
    return result.stdout.strip()
