"""Volumes that are really as large as their claims say: each is a file with a file system of its own.

What happens when a volume is full cannot be tried on a folder of the machine's disk. Class `local-path-sized` has these
volumes. They need loop devices, which not every machine that can run a sandbox offers, so they are not the default.

A file system in use can grow only with a right (CAP_SYS_RESOURCE) that containers of machines often lack. So it is made
larger than the claim from the start, and a file beside the pod's folder takes up what is too much; that file shrinks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

PARAMETER: Final = "sized"
LARGEST_GROWTH: Final = 8
"""How many times its first size a volume can have at most."""
_TIMEOUT_S: Final = 60
_BALLAST: Final = "ballast"
_SIZE: Final = "size"


class SizedError(OSError):
    """A file system could not be made, mounted, grown or unmounted."""


def image_of(folder: Path) -> Path:
    """Return the file behind a volume's folder."""
    return folder.with_name(f"{folder.name}.img")


def make(folder: Path, size_bytes: int) -> Path:
    """Mount a file system of this size at the folder, if it is not there yet; return the pods' part of it."""
    image, data = image_of(folder), folder / "data"
    if not image.exists():
        unfinished = image.with_suffix(".new")
        with unfinished.open("wb") as file:
            file.truncate(size_bytes * LARGEST_GROWTH)
        # No share for root: a pod is told when the disk is full. No journal: nobody needs this data tomorrow.
        _run("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(unfinished))
        unfinished.rename(image)
    if not folder.is_mount():
        _run("mount", "-o", "loop", str(image), str(folder))
    if not data.exists():
        too_much = shutil.disk_usage(folder).free - size_bytes
        _run("fallocate", "--length", str(too_much), str(folder / _BALLAST))
        (folder / _SIZE).write_text(str(size_bytes), encoding="ascii")
        data.mkdir()
    return data


def grow(folder: Path, size_bytes: int) -> None:
    """Make the pods' part as large as this; they go on working meanwhile. It never becomes smaller."""
    size, ballast = folder / _SIZE, folder / _BALLAST
    more = size_bytes - int(size.read_text(encoding="ascii"))
    if more <= 0:
        return
    left = ballast.stat().st_size - more
    if left < 0:
        raise SizedError(
            f"a volume of class local-path-sized cannot be more than {LARGEST_GROWTH} times its first size"
        )
    os.truncate(ballast, left)
    size.write_text(str(size_bytes), encoding="ascii")


def remove(folder: Path) -> None:
    """Unmount the folder and remove the file behind it, if there are such; raises while somebody uses it."""
    if folder.is_mount():
        _run("umount", str(folder))
    image_of(folder).unlink(missing_ok=True)


def _run(*command: str) -> None:
    """Run a program to its end; raises SizedError with what it said when it fails."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SizedError(f"{' '.join(command)}: {error}") from error
    if result.returncode != 0:
        raise SizedError(f"{' '.join(command)}: {' '.join(result.stderr.split())}")
