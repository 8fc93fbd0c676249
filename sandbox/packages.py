"""What the node needs from Debian, unpacked into the cache.

Nothing is installed: apt resolves and downloads, `dpkg-deb` unpacks. So no service is started, no file of the user's
system is touched, and removing the cache removes all of it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sandbox import cache
from sandbox.progress import Progress, Report
from stacks.errors import ClusterUnreachableError, InternalError

NAMES: Final = (
    "etcd-server",
    "containerd",
    "runc",
    "containernetworking-plugins",
    "nftables",  # kube-proxy
    "iproute2",
    "openssl",
)

# A program of each package, and how it is asked for its version: a set where one of them does not start is not used.
_PROBES: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        "etcd": ("--version",),
        "containerd": ("--version",),
        "ctr": ("--version",),
        "runc": ("--version",),
        "nft": ("--version",),
        "ip": ("-Version",),
        "openssl": ("version",),
    }
)
_FOLDERS: Final = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")


@dataclass(frozen=True)
class Packages:
    """The unpacked packages."""

    root: Path

    @property
    def cni_plugins(self) -> Path:
        """The folder of the CNI plugins."""
        return self.root / "usr/lib/cni"

    def environment(self) -> Mapping[str, str]:
        """Return PATH and the library path that make the unpacked programs run on this machine."""
        libraries = [self.root / folder / f"{platform.machine()}-linux-gnu" for folder in ("usr/lib", "lib")]
        programs = [str(self.root / folder) for folder in _FOLDERS if (self.root / folder).is_dir()]
        return {
            "PATH": ":".join([*programs, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]),
            "LD_LIBRARY_PATH": ":".join(str(library) for library in libraries if library.is_dir()),
        }

    def program(self, name: str) -> Path:
        """Return the path of a program; it may be the system's own when apt had nothing to add."""
        found = shutil.which(name, path=self.environment()["PATH"])
        if found is None:
            raise InternalError("sandbox", f"Debian's packages hold no {name}", "report this: it is a defect")
        return Path(found)

    def versions(self) -> Mapping[str, str]:
        """Return the version of each program of the node, as it tells itself."""
        return {name: self._version(name) or "unknown" for name in _PROBES}

    def broken(self) -> Sequence[str]:
        """Return the programs that do not start, for example because a library of the system has changed since."""
        return [name for name in _PROBES if self._version(name) is None]

    def _version(self, name: str) -> str | None:
        program = shutil.which(name, path=self.environment()["PATH"])
        if program is None:
            return None
        result = subprocess.run(
            [program, *_PROBES[name]], capture_output=True, text=True, check=False,
            env={**os.environ, **self.environment()},
        )  # fmt: skip
        return parse_version(result.stdout) if result.returncode == 0 else None


def build(cache_root: Path, report: Report) -> Packages:
    """Make the packages exist in the cache, and return them. Raises ClusterUnreachableError when apt cannot."""
    entry = cache_root / "packages" / _key()
    packages = Packages(entry / "root")
    if entry.is_dir() and packages.broken():
        # The set was made for the libraries that the system had then.
        shutil.rmtree(entry)
    report_waiting = partial(report, Progress("packages", "waiting for another download"))
    cache.ensure(entry, partial(_unpack, report), waiting=report_waiting)
    broken = packages.broken()
    if broken:
        raise ClusterUnreachableError(
            "sandbox",
            f"{', '.join(broken)} from Debian's packages cannot start on this machine",
            f"upgrade the system's packages, or remove {entry} and run the command again",
        )
    return packages


def parse_version(said: str) -> str:
    """Return the first version number in what a program says about itself."""
    match = re.search(r"v?(\d+\.\d+(?:\.\d+)?(?:[-~+.\w]*)?)", said)
    return match[1] if match else said.strip()


def _key() -> str:
    release = Path("/etc/os-release")
    return cache.key_of(platform.machine(), release.read_bytes() if release.exists() else b"", *NAMES)


def _unpack(report: Report, folder: Path) -> None:
    downloads = folder / "archives"
    (downloads / "partial").mkdir(parents=True)
    report(Progress("packages", f"fetching {', '.join(NAMES)} and what they need"))
    problem = _download(downloads)
    if problem is not None:
        report(Progress("packages", "refreshing apt's package lists"))
        _apt("update")
        problem = _download(downloads)
    if problem is not None:
        raise ClusterUnreachableError(
            "sandbox",
            f"apt cannot download {', '.join(NAMES)}, it said:\n{problem}",
            "check the machine's apt sources (Debian's or Ubuntu's main archive), then run the command again",
        )
    archives = sorted(downloads.glob("*.deb"))
    root = folder / "root"
    root.mkdir()
    for done, archive in enumerate(archives):
        report(Progress("packages", "unpacking Debian packages", done=done, total=len(archives)))
        subprocess.run(["/usr/bin/dpkg-deb", "-x", str(archive), str(root)], check=True, capture_output=True)
    shutil.rmtree(downloads)


def _download(downloads: Path) -> str | None:
    result = _apt(
        "install", "--download-only", "--reinstall", "--yes", "--no-install-recommends",
        "-o", f"Dir::Cache::archives={downloads}", *NAMES,
    )  # fmt: skip
    return None if result.returncode == 0 else "\n".join(result.stderr.strip().splitlines()[-5:])


def _apt(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/usr/bin/apt-get", "-q", *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
    )  # fmt: skip
