"""One group of programs compiled, and told meanwhile how far it is and how long the rest will take."""

from __future__ import annotations

import subprocess
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import IO, Final

from sandbox import golang
from sandbox.program_groups import Group
from sandbox.progress import Progress, Report
from stacks.errors import ClusterUnreachableError

_REPORT_EVERY_S: Final = 2.0
_RECORD_S: Final = 30.0


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


class Watch:
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


def compile_group(group: Group, watch: Watch, folder: Path) -> None:
    """Leave the group's programs in `bin` below the folder. Raises ClusterUnreachableError with what Go said."""
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
        command,
        cwd=group.folder,
        env=golang.environment(),
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
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


def _wait(process: subprocess.Popen[str], watch: Watch) -> int:
    while True:
        try:
            return process.wait(timeout=_REPORT_EVERY_S)
        except subprocess.TimeoutExpired:
            watch.compiling()


def _count_lines(stream: IO[str], watch: Watch, last_lines: deque[str]) -> None:
    for line in stream:
        last_lines.append(line.rstrip())
        watch.packages_done += 1


def _count_packages(group: Group) -> tuple[int, int]:
    """Return how many packages are still to be compiled, and of how many. Fetches the module sources on the way."""
    command = ["go", "list", "-deps", *group.flags, "-f", "{{.Stale}}", *group.packages.values()]
    result = subprocess.run(
        command, cwd=group.folder, env=golang.environment(), capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise _build_failed(group, "\n".join(result.stderr.strip().splitlines()[-15:]))
    answers = result.stdout.split()
    return answers.count("true"), len(answers)


def _build_failed(group: Group, said: str) -> ClusterUnreachableError:
    return ClusterUnreachableError(
        "sandbox",
        f"{group.name} {group.version} could not be built, Go said:\n{said}",
        "check that the Go module proxy can be reached and the disk has room, then run the command again: "
        f"it goes on where it stopped; {golang.OTHER_WAY}",
    )
