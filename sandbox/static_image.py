"""An image that is one static program and nothing else, in the form that containerd imports."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path
from typing import Final

from sandbox import cache

COREDNS: Final = "registry.k8s.io/coredns/coredns:sandbox"
REPOSITORY: Final = "docker.io/restic/rest-server:0.14.0"
"""The server of backups: `audit.backup_server` asks for the official image of this version."""

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def build(cache_root: Path, program: Path, reference: str) -> Path:
    """Make the archive of the program's image exist in the cache, and return it."""
    name = program.name
    # The program's folder is named by everything it was built from.
    entry = cache_root / name / cache.key_of(program.parent.parent.name, reference)
    return cache.ensure(entry, lambda folder: _write(folder / f"{name}.tar", program, reference)) / f"{name}.tar"


def _write(archive: Path, program: Path, reference: str) -> None:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        # Where the official images have theirs, so that a command names it without a path.
        entry = tarfile.TarInfo(f"usr/bin/{program.name}")
        entry.size, entry.mode = program.stat().st_size, 0o755
        with program.open("rb") as binary:
            tar.addfile(entry, binary)
    machine = platform.machine()
    configuration = {
        "architecture": _ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {"Entrypoint": [f"/usr/bin/{program.name}"], "Env": ["PATH=/usr/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        for name, content in (
            ("config.json", json.dumps(configuration).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
            ("layer.tar", layer.getvalue()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
