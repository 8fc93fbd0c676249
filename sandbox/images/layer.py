"""Layers and images as files: tar archives that are the same, byte for byte, when made from the same tree."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from sandbox.images.recipe import Settings

Snapshot: TypeAlias = Mapping[str, tuple[int, int, int, int, int, str]]

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Layer:
    """A tar archive of the files that one recipe adds or changes."""

    file: Path
    digest: str


def snapshot(root: Path) -> Snapshot:
    """Return what can differ of every path under `root`: kind and mode, owner, group, size, time, target of a link."""
    return {path: _state(root / path) for path in _paths(root)}


def newest(root: Path, before: Snapshot) -> int:
    """Return the time of the newest file that is not as it was in `before`, in whole seconds; 0 where there is none."""
    states = ((path, _state(root / path)) for path in _paths(root))
    return max((state[4] // 10**9 for path, state in states if before.get(path) != state), default=0)


def write_layer(root: Path, before: Snapshot, file: Path, *, not_after: int) -> Layer:
    """Write what changed under `root` since `before`. Files that were made just now get the time `not_after`.

    A layer here only adds and changes; a path that is gone since `before` is a defect of a recipe and a ValueError.
    """
    gone = [path for path in before if not os.path.lexists(root / path)]
    if gone:
        raise ValueError(f"a layer cannot take away what its parent has: {', '.join(gone[:5])}")
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in _paths(root):
            if before.get(path) == _state(root / path):
                continue
            member = _member(root, path, not_after)
            if member.isreg():
                with (root / path).open("rb") as content:
                    archive.addfile(member, content)
            else:
                archive.addfile(member)
    return Layer(file, file_digest(file))


def configuration(
    settings: Settings, layers: Sequence[Layer], labels: Mapping[str, str], *, architecture: str, created: str
) -> bytes:
    """Return the image's configuration; its digest is the image's id."""
    config: dict[str, Any] = {"Labels": dict(labels)}
    if settings.entrypoint:
        config["Entrypoint"] = list(settings.entrypoint)
    if settings.command:
        config["Cmd"] = list(settings.command)
    if settings.environment:
        config["Env"] = [f"{name}={value}" for name, value in settings.environment.items()]
    if settings.user:
        config["User"] = settings.user
    if settings.working_folder:
        config["WorkingDir"] = settings.working_folder
    if settings.ports:
        config["ExposedPorts"] = {port: {} for port in settings.ports}
    if settings.volumes:
        config["Volumes"] = {volume: {} for volume in settings.volumes}
    if settings.stop_signal:
        config["StopSignal"] = settings.stop_signal
    document = {
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in layers]},
        "history": [{"created": created, "created_by": "sandbox"} for _ in layers],
    }
    return json.dumps(document, sort_keys=True).encode()


def write_image(file: Path, config: bytes, layers: Sequence[Layer], reference: str) -> None:
    """Write the archive that `docker load` and `ctr images import` read, holding one image under `reference`."""
    name = f"{bytes_digest(config)}.json"
    manifest = [
        {"Config": name, "RepoTags": [reference], "Layers": [f"{layer.digest}/layer.tar" for layer in layers]},
    ]
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
        _add_bytes(archive, "manifest.json", json.dumps(manifest).encode())
        _add_bytes(archive, name, config)
        for layer in layers:
            member = tarfile.TarInfo(f"{layer.digest}/layer.tar")
            member.size = layer.file.stat().st_size
            with layer.file.open("rb") as content:
                archive.addfile(member, content)


def bytes_digest(content: bytes) -> str:
    """Return the SHA-256 of the content, in hex."""
    return hashlib.sha256(content).hexdigest()


def file_digest(file: Path) -> str:
    """Return the SHA-256 of the file's content, in hex."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _paths(root: Path) -> Iterator[str]:
    """Yield every path under `root`, a folder before what is in it, in an order that does not depend on the disk."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        relative = os.path.relpath(folder, root)
        prefix = "" if relative == "." else f"{relative}/"
        if prefix:
            yield relative
        links = [name for name in folders if Path(folder, name).is_symlink()]
        yield from (f"{prefix}{name}" for name in sorted([*files, *links]))


def _state(path: Path) -> tuple[int, int, int, int, int, str]:
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode):
        # A folder's size and time change with what is in it, which is compared by itself.
        return (found.st_mode, found.st_uid, found.st_gid, 0, 0, "")
    target = str(path.readlink()) if stat.S_ISLNK(found.st_mode) else ""
    return (found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns, target)


def _member(root: Path, path: str, not_after: int) -> tarfile.TarInfo:
    found = (root / path).lstat()
    member = tarfile.TarInfo(path)
    member.mode = stat.S_IMODE(found.st_mode)
    member.uid, member.gid = found.st_uid, found.st_gid
    member.mtime = min(int(found.st_mtime), not_after)
    if stat.S_ISDIR(found.st_mode):
        member.type = tarfile.DIRTYPE
        member.mtime = not_after
    elif stat.S_ISLNK(found.st_mode):
        member.type = tarfile.SYMTYPE
        member.linkname = str((root / path).readlink())
    elif stat.S_ISREG(found.st_mode):
        member.size = found.st_size
    else:
        raise ValueError(f"{path} is neither file, folder nor link; an image of ours holds nothing else")
    return member
