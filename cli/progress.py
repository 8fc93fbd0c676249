"""What a person sees while something long runs: a live table on a terminal, one line per step in a pipe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.output import STYLES, Output, clean, duration
from cli.times import in_local

if TYPE_CHECKING:
    from audit.results import ProgressEvent
    from sandbox.progress import Progress

Clock = Callable[[], float]

_REFRESH_PER_S: Final = 4
_SAME_STEP_S: Final = 10.0
"""In a pipe, how long a step that only counts on stays silent between two of its lines."""


@dataclass
class _Row:
    status: str
    step: str
    began_s: float
    ended_s: float | None = None


class _Feed:
    """Shows itself live where somebody watches. Safe to be told from several threads."""

    def __init__(self, output: Output, clock: Clock = time.monotonic) -> None:
        self._output = output
        self._clock = clock
        self._began_s = clock()
        self._lock = threading.RLock()
        console = output.err
        # The block goes when it is over: the answer follows on stdout.
        self._live = (
            Live(console=console, refresh_per_second=_REFRESH_PER_S, transient=True, get_renderable=self._render)
            if output.watched(console)
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def _elapsed(self) -> str:
        return duration(self._clock() - self._began_s)

    def _render(self) -> RenderableType:
        raise NotImplementedError


class RunProgress(_Feed):
    """Follows a run of the gate: which store is at which step, and since when."""

    def __init__(self, output: Output, clock: Clock = time.monotonic) -> None:
        self._rows: dict[str, _Row] = {}
        self._said = ""
        super().__init__(output, clock)

    def __call__(self, event: ProgressEvent) -> None:
        """Show one event."""
        with self._lock:
            if event.store_id is None:
                self._said = event.text
            else:
                self._note(event.store_id, event.text, event.status)
            if self._live is None:
                name = event.store_id or "run"
                self._output.note(f"[{self._elapsed()}] {name}: {event.text}{_status_note(event.status)}")

    def teller(self, store_id: str) -> Callable[[str], None]:
        """Return what shows steps of one store that are no run's."""

        def tell(text: str) -> None:
            from audit.results import ProgressEvent  # noqa: PLC0415 - loaded by now: its caller works with the gate

            self(ProgressEvent(store_id, text))

        return tell

    def _note(self, store_id: str, text: str, status: str | None) -> None:
        row = self._rows.setdefault(store_id, _Row("", text, self._clock()))
        row.step = text
        row.status = status or row.status
        row.ended_s = self._clock() if status in ("Ready", "Failed", "Deleted", "Pending") else None

    def _render(self) -> RenderableType:
        with self._lock:
            table = Table("store", "status", "step", "elapsed", box=None, pad_edge=False, header_style="bold")
            table.columns[2].overflow = "ellipsis"
            table.columns[2].no_wrap = True
            for store_id, row in self._rows.items():
                elapsed_s = (row.ended_s or self._clock()) - row.began_s
                status = Text(row.status, style=STYLES.get(row.status, ""))
                table.add_row(store_id, status, Text(clean(in_local(row.step))), duration(elapsed_s))
            return Group(Text(f"{clean(in_local(self._said))} ({self._elapsed()})"), table)


class BuildProgress(_Feed):
    """Follows the sandbox's work: what is being built, how far it is, how long it will take."""

    def __init__(self, output: Output, clock: Clock = time.monotonic) -> None:
        self._now: Progress | None = None
        self._printed: Progress | None = None
        self._printed_s = 0.0
        super().__init__(output, clock)

    def __call__(self, progress: Progress) -> None:
        """Show where the work is."""
        with self._lock:
            self._now = progress
            if self._live is None and self._worth_a_line(progress):
                self._printed, self._printed_s = progress, self._clock()
                self._output.note(f"[{self._elapsed()}] {_sentence(progress)}")

    def _worth_a_line(self, progress: Progress) -> bool:
        """Return whether the step is a new one, or has gone on for long enough to say so."""
        if self._printed is None or (self._printed.step, self._printed.detail) != (progress.step, progress.detail):
            return True
        return progress != self._printed and self._clock() - self._printed_s >= _SAME_STEP_S

    def _render(self) -> RenderableType:
        with self._lock:
            if self._now is None:
                return Text("")
            return Text(f"{_bar(self._now)}{clean(_sentence(self._now))}  ({self._elapsed()})")


def _status_note(status: str | None) -> str:
    return f" ({status})" if status else ""


def _sentence(progress: Progress) -> str:
    """Return the progress in words: `programs: kubelet, 3 of 9, about 4 min 10 s left`."""
    parts = [f"{progress.step}: {progress.detail}"]
    if progress.done is not None and progress.total is not None:
        parts.append(f"{progress.done} of {progress.total}")
    if progress.remaining_s is not None:
        parts.append(f"about {duration(progress.remaining_s)} left")
    return ", ".join(parts)


def _bar(progress: Progress, width: int = 20) -> str:
    if progress.done is None or not progress.total:
        return ""
    filled = round(width * min(progress.done, progress.total) / progress.total)
    return f"[{'#' * filled}{'.' * (width - filled)}] "
