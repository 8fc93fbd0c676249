"""The programs of the sandbox, compiled from pinned Go modules once and then taken from the cache.

Every group is a Go module of its own below `sandbox/programs/`, so that no program's dependencies move another's.
Nothing is downloaded but module sources, whose hashes are in the committed go.sum files.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import IO, Final

from sandbox import cache
from sandbox.progress import Progress, Report
from stacks.errors import ClusterUnreachableError, UsageError

SOURCES: Final = Path(__file__).parent / "programs"
MINIMUM_GO: Final = (1, 26)
OTHER_WAY: Final = "or use a cluster of your own (kind, k3s, Docker Desktop) and the official Pulumi CLI, see README.md"
_REPORT_EVERY_S: Final = 2.0
_RECORD_S: Final = 30.0


@dataclass(frozen=True, eq=False)
class Group:
    """Programs that are built together from one Go module.

    `packages` maps a program's name to the package it is built from; `stamps` are the variables that hold its version.
    `expected_s` was measured on 2 otherwise idle cores with nothing cached, modules included. What is `for_tests` is no
    part of the node.
    """

    name: str
    version: str
    packages: Mapping[str, str]
    stamps: Mapping[str, str]
    expected_s: float
    for_tests: bool = False

    @property
    def folder(self) -> Path:
        """Where the group's go.mod is."""
        return SOURCES / self.name

    @property
    def flags(self) -> Sequence[str]:
        """What `go build` and `go list` are both called with: the compiler's cache depends on it."""
        stamps = "".join(f" -X {variable}={value}" for variable, value in self.stamps.items())
        return ("-trimpath", "-ldflags", f"-s -w{stamps}")


_KUBERNETES: Final = "v1.34.3"
_ENGINE: Final = "v3.259.0"
_HELM: Final = "v3.20.2"
_COREDNS: Final = "v1.14.7"
_KUBECONFORM: Final = "v0.8.0"
_HELM4: Final = "v4.3.1"
_KUBE_SCORE: Final = "v1.20.0"
_CYCLONUS: Final = "v0.5.6"
_REST_SERVER: Final = "v0.14.0"

GROUPS: Final = (
    Group(
        name="engine",
        version=_ENGINE,
        packages={"pulumi": "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"},
        stamps={"github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": _ENGINE},
        expected_s=270,
    ),
    Group(
        name="kubernetes",
        version=_KUBERNETES,
        packages={
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet")
        },
        stamps={
            "k8s.io/component-base/version.gitVersion": _KUBERNETES,
            "k8s.io/component-base/version.gitMajor": "1",
            "k8s.io/component-base/version.gitMinor": "34",
        },
        expected_s=320,
    ),
    Group(
        name="helm",
        version=_HELM,
        packages={"helm": "helm.sh/helm/v3/cmd/helm"},
        stamps={"helm.sh/helm/v3/internal/version.version": _HELM},
        expected_s=75,
    ),
    Group(
        name="coredns",
        version=_COREDNS,
        packages={"coredns": "."},
        stamps={},
        expected_s=60,
    ),
    Group(
        name="repository",
        version=_REST_SERVER,
        packages={"rest-server": "github.com/restic/rest-server/cmd/rest-server"},
        stamps={},
        expected_s=20,
    ),
    Group(
        name="kubeconform",
        version=_KUBECONFORM,
        packages={"kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform"},
        stamps={"main.version": _KUBECONFORM},
        expected_s=20,
        for_tests=True,
    ),
    # The chart promises to work with both lines of Helm.
    Group(
        name="helm4",
        version=_HELM4,
        packages={"helm4": "helm.sh/helm/v4/cmd/helm"},
        stamps={"helm.sh/helm/v4/internal/version.version": _HELM4},
        expected_s=75,
        for_tests=True,
    ),
    Group(
        name="kubescore",
        version=_KUBE_SCORE,
        packages={"kube-score": "github.com/zegl/kube-score/cmd/kube-score"},
        stamps={"main.version": _KUBE_SCORE},
        expected_s=30,
        for_tests=True,
    ),
    # A second opinion on what network policies allow.
    Group(
        name="cyclonus",
        version=_CYCLONUS,
        packages={"cyclonus": "github.com/mattfenwick/cyclonus/cmd/cyclonus"},
        stamps={"github.com/mattfenwick/cyclonus/pkg/cli.version": _CYCLONUS},
        expected_s=60,
        for_tests=True,
    ),
)

VERSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {program: group.version for group in GROUPS for program in group.packages if not group.for_tests}
)


def build(cache_root: Path, report: Report, *, for_tests: bool = False) -> Mapping[str, Path]:
    """Make every program exist in the cache and return the path of each, those that only tests use if asked for.

    Raises UsageError where Go is not usable.
    """
    go = require_go()
    entries = _entries(cache_root, go, for_tests=for_tests)
    missing = [group for group in entries if not entries[group].is_dir()]
    pace = Pace({group.name: group.expected_s for group in missing})
    for ordinal, group in enumerate(missing, start=1):
        watch = _Watch(group, ordinal, len(missing), pace, report)
        cache.ensure(entries[group], partial(_compile, group, watch), waiting=watch.waiting)
    return _paths(entries)


def built(cache_root: Path, *, for_tests: bool = False) -> Mapping[str, Path] | None:
    """Return the programs if all of them are in the cache for the sources as they are now, else None."""
    entries = _entries(cache_root, go_version() or "", for_tests=for_tests)
    return _paths(entries) if all(entry.is_dir() for entry in entries.values()) else None


def key(group: Group, go: str) -> str:
    """Return the name of the group's cache entry: another source, flag or compiler is another entry."""
    files = sorted(path for path in group.folder.rglob("*") if path.suffix in {".go", ".mod", ".sum"})
    parts: list[bytes | str] = [go, *group.flags, *(f"{name}={package}" for name, package in group.packages.items())]
    for path in files:
        parts += [path.relative_to(group.folder).as_posix(), path.read_bytes()]
    return cache.key_of(*parts)


def go_problem() -> str | None:
    """Return what is wrong with the machine's Go, or None when it is good enough."""
    wanted = ".".join(str(part) for part in MINIMUM_GO)
    version = go_version()
    if version is None:
        return f"Go {wanted} or newer is not installed"
    if parse_go_version(version) < MINIMUM_GO:
        return f"Go is {version.removeprefix('go')}, and {wanted} or newer is needed"
    return None


def require_go() -> str:
    """Return the version of a Go that can compile the programs. Raises UsageError when there is none on PATH."""
    problem = go_problem()
    if problem is not None:
        raise UsageError("sandbox", problem, f"install it and run the command again, {OTHER_WAY}")
    return go_version() or ""


def go_version() -> str | None:
    """Return the compiler's version as it names itself (`go1.26.8`), or None when there is no Go."""
    program = shutil.which("go")
    if program is None:
        return None
    result = subprocess.run(
        [program, "env", "GOVERSION"], capture_output=True, text=True, env=_environment(), check=False
    )
    return result.stdout.strip() or None


def parse_go_version(version: str) -> tuple[int, int]:
    """Return major and minor of `go1.26.8` or `go1.27rc1`; (0, 0) for a version of no known form."""
    match = re.match(r"go(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)


class Pace:
    """How long is left, from recorded durations that are corrected by what was measured on this machine."""

    def __init__(self, expected_s: Mapping[str, float]) -> None:
        self._expected_s = dict(expected_s)
        self._finished: dict[str, float] = {}

    def resume(self, name: str, share: float) -> None:
        """Expect only `share` (0 to 1) of the group's work: the rest was done by a build before."""
        self._expected_s[name] *= share

    def finish(self, name: str, took_s: float) -> None:
        """Take the group's real duration into account from now on."""
        self._finished[name] = took_s

    def remaining_s(self, name: str, elapsed_s: float, fraction: float) -> float:
        """Return the seconds left in all, while `name` runs and `fraction` of it (0 to 1) is done."""
        later = sum(
            expected for other, expected in self._expected_s.items() if other != name and other not in self._finished
        )
        current = self._expected_s[name] * self._factor()
        # The first packages of a group are small ones of the standard library, so they say nothing of its speed.
        trust = max(0.0, min(1.0, 3 * (fraction - 0.05)))
        if trust:
            current = (1 - trust) * current + trust * (elapsed_s / fraction)
        return max(current * (1 - fraction), 1.0) + later * self._factor()

    def _factor(self) -> float:
        # What took a second says little about what takes minutes, so the record counts like half a minute of work.
        expected = sum(self._expected_s[name] for name in self._finished)
        return (sum(self._finished.values()) + _RECORD_S) / (expected + _RECORD_S)


class _Watch:
    """Turns what the compiler says into reports about one group."""

    def __init__(self, group: Group, ordinal: int, total: int, pace: Pace, report: Report) -> None:
        self._group = group
        self._ordinal = ordinal
        self._total = total
        self._pace = pace
        self._report = report
        self._started = time.monotonic()
        self.packages_total = 0
        self.packages_done = 0

    def start(self) -> None:
        self._started = time.monotonic()

    def waiting(self) -> None:
        self._say("waiting for another build of", None)

    def downloading(self) -> None:
        self._say("fetching sources of", 0.0)

    def downloaded(self, to_compile: int, of_all: int) -> None:
        self.packages_total = to_compile
        self._pace.resume(self._group.name, to_compile / of_all)

    def compiling(self) -> None:
        self._say("compiling", min(self.packages_done / self.packages_total, 1.0) if self.packages_total else 0.0)

    def finished(self) -> None:
        self._pace.finish(self._group.name, time.monotonic() - self._started)

    def _say(self, doing: str, fraction: float | None) -> None:
        elapsed_s = time.monotonic() - self._started
        self._report(
            Progress(
                "programs",
                f"{doing} {self._group.name} {self._group.version} ({self._ordinal} of {self._total})",
                done=min(self.packages_done, self.packages_total) if self.packages_total else None,
                total=self.packages_total or None,
                remaining_s=None if fraction is None else self._pace.remaining_s(self._group.name, elapsed_s, fraction),
            )
        )


def _compile(group: Group, watch: _Watch, folder: Path) -> None:
    watch.start()
    watch.downloading()
    watch.downloaded(*_count_packages(group))
    watch.compiling()
    binaries = folder / "bin"
    binaries.mkdir()
    # -v names each package when it is compiled; packages from Go's own cache are not named.
    # Alone, a program has our name; together, they have the names of their packages.
    output = f"{binaries}/{next(iter(group.packages)) if len(group.packages) == 1 else ''}"
    command = ["go", "build", "-v", *group.flags, "-o", output, *group.packages.values()]
    last_lines: deque[str] = deque(maxlen=15)
    with subprocess.Popen(
        command, cwd=group.folder, env=_environment(), text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None  # noqa: S101 - asked for above
        reader = Thread(target=_count_lines, args=(process.stderr, watch, last_lines), daemon=True)
        reader.start()
        try:
            code = _wait(process, watch)
        finally:
            process.kill()
            reader.join()
    if code != 0:
        raise _build_failed(group, "\n".join(last_lines))
    absent = [name for name in group.packages if not (binaries / name).is_file()]
    if absent:
        raise _build_failed(group, f"the compiler wrote no {', '.join(absent)}")
    watch.finished()


def _wait(process: subprocess.Popen[str], watch: _Watch) -> int:
    while True:
        try:
            return process.wait(timeout=_REPORT_EVERY_S)
        except subprocess.TimeoutExpired:
            watch.compiling()


def _count_lines(stream: IO[str], watch: _Watch, last_lines: deque[str]) -> None:
    for line in stream:
        last_lines.append(line.rstrip())
        watch.packages_done += 1


def _count_packages(group: Group) -> tuple[int, int]:
    """Return how many packages are still to be compiled, and of how many. Fetches the module sources on the way."""
    command = ["go", "list", "-deps", *group.flags, "-f", "{{.Stale}}", *group.packages.values()]
    result = subprocess.run(command, cwd=group.folder, env=_environment(), capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise _build_failed(group, "\n".join(result.stderr.strip().splitlines()[-15:]))
    answers = result.stdout.split()
    return answers.count("true"), len(answers)


def _build_failed(group: Group, said: str) -> ClusterUnreachableError:
    return ClusterUnreachableError(
        "sandbox",
        f"{group.name} {group.version} could not be built, Go said:\n{said}",
        "check that the Go module proxy can be reached and the disk has room, then run the command again: "
        f"it goes on where it stopped; {OTHER_WAY}",
    )


def _entries(cache_root: Path, go: str, *, for_tests: bool) -> Mapping[Group, Path]:
    return {
        group: cache_root / "programs" / f"{group.name}-{key(group, go)}"
        for group in GROUPS
        if for_tests or not group.for_tests
    }


def _paths(entries: Mapping[Group, Path]) -> Mapping[str, Path]:
    return MappingProxyType(
        {program: entry / "bin" / program for group, entry in entries.items() for program in group.packages}
    )


def _environment() -> Mapping[str, str]:
    return {
        **os.environ,
        "CGO_ENABLED": "0",  # static programs: CoreDNS runs in an image that holds nothing else
        "GOFLAGS": "-mod=readonly",  # go.mod and go.sum are what was reviewed
        "GOTOOLCHAIN": "local",  # never download another compiler
        "GOWORK": "off",
    }
