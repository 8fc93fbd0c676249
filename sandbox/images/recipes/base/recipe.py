"""What every image but `pause` stands on: a shell, the C library, certificates, time zones, the well-known accounts."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Final

from sandbox.images import tree
from sandbox.images.recipe import Folder, Recipe, Workshop


def _finish(workshop: Workshop) -> None:
    root = workshop.root
    for name in ("passwd", "group"):
        tree.write(root, f"/etc/{name}", (root / f"usr/share/base-passwd/{name}.master").read_text())
    tree.write(root, "/etc/nsswitch.conf", (root / "usr/share/libc-bin/nsswitch.conf").read_text())
    authorities = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    tree.write(root, "/etc/ssl/certs/ca-certificates.crt", "".join(file.read_text() for file in authorities))


RECIPE: Final = Recipe(
    name="base",
    folder=Path(__file__).parent,
    packages=(
        "base-files", "base-passwd", "bash", "ca-certificates", "coreutils", "dash", "debianutils", "findutils", "grep",
        "gzip", "hostname", "libc-bin", "mawk", "netbase", "sed", "tar", "tzdata",
    ),
    folders=(
        Folder("/tmp", 0o1777),  # noqa: S108
        Folder("/run"), Folder("/run/lock", 0o1777), Folder("/proc"), Folder("/sys"), Folder("/dev"),
    ),
    links=MappingProxyType({
        "/etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
        "/var/run": "/run",
        "/var/lock": "/run/lock",
        # Where OpenSSL looks; in Debian its command line program brings these links.
        "/usr/lib/ssl/certs": "/etc/ssl/certs",
        "/usr/lib/ssl/cert.pem": "/etc/ssl/certs/ca-certificates.crt",
        "/usr/bin/awk": "mawk",
        "/usr/bin/which": "which.debianutils",
    }),
    removed=("var/run", "var/lock", "boot", "etc/rmt", "usr/share/ca-certificates", "usr/share/zoneinfo/right"),
    finish=_finish,
)  # fmt: skip
