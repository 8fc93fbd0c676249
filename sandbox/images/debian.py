"""Debian packages of the releases that the images are made from, by an apt that is not the machine's own.

It keeps its lists, archives and settings in the cache. It takes two things from the machine: where the mirror is and
how to reach it. Signatures are checked against Debian's archive keyring, whatever the machine's own sources say.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.images import tools
from sandbox.progress import Progress, Report
from stacks.errors import UsageError

RELEASE: Final = "trixie"
# WordPress itself comes from here: the stable release stays on a line that the official image has left.
NEWER_RELEASE: Final = "sid"
FROM_NEWER: Final = ("wordpress*", "libphp-phpmailer", "php-getid3", "libjs-*")

# What packages ask for only because of their install scripts, or for parts that no container here uses. For apt they
# are there already, so neither they nor what they need is fetched.
STAND_INS: Final = (
    "adduser", "debconf", "default-mysql-client", "galera-4", "init-system-helpers", "iproute2",
    "libaprutil1-dbd-sqlite3", "libaprutil1-ldap", "libconfig-inifiles-perl", "libdbi-perl", "lsof", "openssl",
    "openssl-provider-legacy", "passwd", "perl", "perl-base", "procps", "psmisc", "rsync", "socat", "ucf",
)  # fmt: skip

_WHERE: Final = "sandbox images"
_INSTALLED = re.compile(r"^Inst (?P<name>\S+) \((?P<version>\S+) .*\[(?P<architecture>[a-z0-9-]+)\]\)")


@dataclass(frozen=True, order=True)
class Package:
    """One version of a package for one architecture."""

    name: str
    version: str
    architecture: str

    @property
    def file_name(self) -> str:
        """The name that apt gives to the downloaded file."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"

    @property
    def upstream(self) -> str:
        """The version that the authors gave, without epoch, repackaging mark and Debian's revision."""
        version = self.version.partition(":")[2] or self.version
        return re.split(r"[+~]", version.rpartition("-")[0] or version)[0]


@dataclass(frozen=True)
class Archive:
    """An apt of its own in `folder`."""

    folder: Path
    architecture: str

    @classmethod
    def at(cls, folder: Path) -> Archive:
        """Return the apt that lives in `folder`, for the machine's architecture."""
        return cls(folder, tools.run("dpkg", "--print-architecture").strip())

    @property
    def debs(self) -> Path:
        """The folder of the downloaded packages."""
        return self.folder / "cache/archives"

    def update(self, report: Report) -> None:
        """Bring the package lists up to date. Raises UsageError when there are none and none can be fetched."""
        self._set_up()
        report(Progress("images", f"package lists of Debian {RELEASE} and {NEWER_RELEASE}"))
        result = self._apt("update", "--error-on=any")
        if result.returncode == 0:
            return
        said = tools.last_lines(result)
        if not any((self.folder / "state/lists").glob("*Packages*")):
            raise UsageError(_WHERE, f"apt cannot fetch its lists: {said}", "check the network")
        report(Progress("images", f"using the package lists of the last time, because apt said: {said}"))

    def resolve(self, names: Sequence[str]) -> tuple[Package, ...]:
        """Return what must be unpacked for these packages to work, in the newest versions, sorted."""
        result = self._apt("install", "--simulate", *names)
        if result.returncode != 0:
            raise UsageError(
                _WHERE, f"Debian has no working set of {', '.join(names)}: {tools.last_lines(result)}",
                "run it again later: the archive may be between two states",
            )  # fmt: skip
        return parse_simulation(result.stdout)

    def download(self, packages: Sequence[Package], report: Report) -> None:
        """Make every package's file exist, complete and with its signed checksum."""
        total = len(packages)
        done = sum((self.debs / package.file_name).exists() for package in packages)
        if done == total:
            return
        names = [f"{package.name}={package.version}" for package in packages]
        with tools.started(
            "apt-get", "-q", "install", "--download-only", "--yes", *names, environment=self._environment
        ) as process:
            for line in process.stdout or ():
                if line.startswith("Get:"):
                    done += 1
                    report(Progress("images", "fetching Debian packages", done=min(done, total), total=total))
        absent = [package.name for package in packages if not (self.debs / package.file_name).exists()]
        if process.returncode != 0 or absent:
            raise UsageError(
                _WHERE, f"{len(absent)} packages could not be downloaded: {', '.join(absent[:5])}",
                "check the network and run the command again: what is there is kept",
            )  # fmt: skip

    def forget(self, keep: Sequence[Package]) -> None:
        """Remove the files of all other packages."""
        wanted = {package.file_name for package in keep}
        for file in self.debs.glob("*.deb"):
            if file.name not in wanted:
                file.unlink()

    def _set_up(self) -> None:
        for path in ("state/lists/partial", "cache/archives/partial", "etc"):
            (self.folder / path).mkdir(parents=True, exist_ok=True)
        mirrors = find_mirrors(_indextargets())
        _write(self.folder / "etc/sources.list", "".join(f"{line}\n" for line in sources(mirrors)))
        _write(self.folder / "etc/preferences", preferences())
        _write(self.folder / "state/status", "\n".join(_stand_in(name, self.architecture) for name in STAND_INS))
        _write(self.folder / "etc/apt.conf", "".join(f"{line}\n" for line in self._settings()))

    def _settings(self) -> Iterator[str]:
        # Of the machine's own settings only those of the transport are kept: proxies, certificates, time-outs. Its
        # hooks (Docker's images have one that deletes every download) and its own sources are not.
        for line in tools.run("apt-config", "dump").splitlines():
            if line.startswith("Acquire::") and not line.startswith(("Acquire::IndexTargets", "Acquire::Languages")):
                yield line
        folder = self.folder
        for weakness in ("Acquire::AllowInsecureRepositories", "Acquire::AllowWeakRepositories"):
            yield f'{weakness} "false";'
        yield 'Acquire::Languages "none";'
        yield 'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";'
        yield 'Dir::Etc::parts "/dev/null";'
        yield 'Dir::Etc::main "/dev/null";'
        yield f'Dir::Etc::sourcelist "{folder}/etc/sources.list";'
        yield 'Dir::Etc::sourceparts "/dev/null";'
        yield f'Dir::Etc::preferences "{folder}/etc/preferences";'
        yield 'Dir::Etc::preferencesparts "/dev/null";'
        yield 'Dir::Etc::trusted "/dev/null";'
        yield 'Dir::Etc::trustedparts "/dev/null";'
        yield f'Dir::State "{folder}/state";'
        yield f'Dir::State::status "{folder}/state/status";'
        yield f'Dir::Cache "{folder}/cache";'
        yield f'APT::Architecture "{self.architecture}";'
        yield f'APT::Architectures {{ "{self.architecture}"; }};'
        yield 'APT::Install-Recommends "false";'
        # The cache may be in a folder that apt's own user cannot enter.
        yield 'APT::Sandbox::User "root";'

    @property
    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "APT_CONFIG": str(self.folder / "etc/apt.conf"),
            "LC_ALL": "C",
            "DEBIAN_FRONTEND": "noninteractive",
        }

    def _apt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return tools.attempt("apt-get", "-q", *arguments, environment=self._environment)


@dataclass(frozen=True)
class Mirrors:
    """Where this machine gets Debian from."""

    main: str
    security: str | None


def find_mirrors(indextargets: str) -> Mirrors:
    """Return the mirrors in what `apt-get indextargets` told: `origin|label|address` a line."""
    found: dict[str, str] = {}
    for line in indextargets.splitlines():
        origin, label, address = line.split("|", 2)
        if origin == "Debian":
            found.setdefault(label, address)
    if "Debian" not in found:
        raise UsageError(
            _WHERE, "apt on this machine has no source of Debian packages",
            "build the images on Debian, or use a cluster of your own with the official images",
        )  # fmt: skip
    return Mirrors(found["Debian"], found.get("Debian-Security"))


def sources(mirrors: Mirrors) -> Iterator[str]:
    """Yield the lines of sources.list."""
    places = [(mirrors.main, RELEASE), (mirrors.main, f"{RELEASE}-updates"), (mirrors.main, NEWER_RELEASE)]
    if mirrors.security is not None:
        places.append((mirrors.security, f"{RELEASE}-security"))
    for address, release in places:
        yield f"deb [signed-by={tools.KEYRING}] {address} {release} main"


def preferences() -> str:
    """Return the rule that nothing comes from the newer release but WordPress and the libraries made for it."""
    return (
        f"Package: *\nPin: release n={NEWER_RELEASE}\nPin-Priority: -1\n\n"
        f"Package: {' '.join(FROM_NEWER)}\nPin: release n={NEWER_RELEASE}\nPin-Priority: 990\n"
    )


def parse_simulation(output: str) -> tuple[Package, ...]:
    """Return the packages that `apt-get --simulate install` would install, sorted."""
    matches = (_INSTALLED.match(line) for line in output.splitlines())
    return tuple(sorted(Package(m["name"], m["version"], m["architecture"]) for m in matches if m))


def _stand_in(name: str, architecture: str) -> str:
    return (
        f"Package: {name}\nStatus: install ok installed\nMaintainer: none\nArchitecture: {architecture}\n"
        f"Multi-Arch: allowed\nVersion: 9999:0\nDescription: not needed in a container\n"
    )


def _indextargets() -> str:
    command = ("apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages")
    told = tools.run(*command)
    if not told:
        # A machine whose own lists were never fetched, or were removed, tells nothing.
        tools.attempt("apt-get", "-q", "update")
        told = tools.run(*command)
    return told


def _write(file: Path, text: str) -> None:
    # apt throws its parsed lists away when a file's time changes.
    if not file.exists() or file.read_text() != text:
        file.write_text(text)
