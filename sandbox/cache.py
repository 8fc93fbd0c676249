"""The user's cache folder: things that are slow to make and can always be made again.

An entry is a folder that is either complete or not there. It is made beside its place and renamed when done, so that a
build that was killed, or lost power, is never taken for a good one. State never belongs here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

APPLICATION = "multi-store-platform"


def root() -> Path:
    """Return the folder that holds every cached thing of this platform."""
    return platformdirs.user_cache_path(APPLICATION)


def key_of(*parts: bytes | str) -> str:
    """Return a short name for exactly these parts, in this order; no part can run into the next."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:20]


def ensure(entry: Path, build: Callable[[Path], None], *, waiting: Callable[[], None] = lambda: None) -> Path:
    """Make `entry` a complete folder, by calling `build` with an empty one unless it is there already.

    Two callers at once build once: the second waits for the first, after calling `waiting`.
    """
    if entry.is_dir():
        return entry
    with locked(entry.with_name(f"{entry.name}.lock"), waiting=waiting):
        if entry.is_dir():
            return entry
        # A compiler whose caller was killed may still write: each build has a folder of its own.
        for left in entry.parent.glob(f"{entry.name}.unfinished-*"):
            shutil.rmtree(left, ignore_errors=True)
        unfinished = entry.with_name(f"{entry.name}.unfinished-{os.getpid()}")
        unfinished.mkdir()
        build(unfinished)
        _flush(unfinished)
        unfinished.rename(entry)
    return entry


@contextmanager
def locked(file: Path, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an exclusive lock on `file`. It ends with this process, however that ends; the file stays."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _flush(folder: Path) -> None:
    # The rename may reach the disk before the files' contents do, so the contents go first.
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
