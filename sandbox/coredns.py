"""The image of the cluster's name server: one static program, in the form that containerd imports."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path
from typing import Final

from sandbox import cache

REFERENCE: Final = "registry.k8s.io/coredns/coredns:sandbox"
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def build(cache_root: Path, program: Path) -> Path:
    """Make the image's archive exist in the cache, and return it."""
    # The program's folder is named by everything it was built from.
    entry = cache_root / "coredns" / cache.key_of(program.parent.parent.name, REFERENCE)
    return cache.ensure(entry, lambda folder: _write(folder / "coredns.tar", program)) / "coredns.tar"


def _write(archive: Path, program: Path) -> None:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        entry = tarfile.TarInfo("coredns")
        entry.size, entry.mode = program.stat().st_size, 0o755
        with program.open("rb") as binary:
            tar.addfile(entry, binary)
    machine = platform.machine()
    configuration = {
        "architecture": _ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {"Entrypoint": ["/coredns"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [REFERENCE], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        for name, content in (
            ("config.json", json.dumps(configuration).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
            ("layer.tar", layer.getvalue()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
