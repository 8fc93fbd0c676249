"""How answers look: tables and lines for people, one JSON document for programs.

Colours and moving pictures only where a person watches; a pipe gets plain lines without any control character, also
where a message from the cluster brings some along.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import IO, Any, Final, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli import times
from stacks.errors import UsageError

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_C1: Final = re.compile(r"[\x7f-\x9f]")

STYLES: Final = {
    "Ready": "green",
    "Failed": "red",
    "Pending": "yellow",
    "Provisioning": "yellow",
    "Deleting": "yellow",
    "create": "green",
    "update": "yellow",
    "retry": "yellow",
    "delete": "red",
    "scheduled": "yellow",
    "leaving": "yellow",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
    "success": "green",
    "failure": "red",
    "denied": "yellow",
    "cancelled": "yellow",
}


class _Notes:
    """What a command says beside its answer: where nobody can be told any more, the work goes on all the same.

    A reader may have left, a terminal may be gone, the disk below a log may be full.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            silence(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            silence(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _LastingConsole(Console):
    """A console whose reader may leave: the command goes on to its end, and prints for nobody."""

    def on_broken_pipe(self) -> None:
        """Print no more. Rich's own way is to end the program, in whichever thread has just printed."""
        silence(self.file)


@dataclass(frozen=True)
class Output:
    """Where a command prints: answers on stdout, progress on stderr. `color` False switches colours off everywhere."""

    color: bool = True

    @property
    def out(self) -> Console:
        """Return the console of the answers."""
        return self._console(sys.stdout)

    @property
    def err(self) -> Console:
        """Return the console of the progress."""
        return self._console(cast("IO[str]", _Notes(sys.stderr)))

    def line(self, text: str = "") -> None:
        """Print one line, with its times as the clock on the wall says where a person reads it."""
        self._print(self.out, text)

    def note(self, text: str) -> None:
        """Print one line that is not part of the answer, so on stderr."""
        self._print(self.err, text)

    def _print(self, console: Console, text: str) -> None:
        console.print(Text(clean(for_people(text, console.file))), soft_wrap=True)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; nothing when it has no row."""
        if not rows:
            return
        cells = [[clean(for_people(cell, sys.stdout)).replace("\n", " ") for cell in row] for row in rows]
        if self.watched(self.out):
            self.out.print(_rich_table(headers, cells))
            return
        widths = [max(len(row[column]) for row in (headers, *cells)) for column in range(len(headers))]
        for row in (headers, *cells):
            self.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def json(self, value: Any) -> None:
        """Print `value` as one JSON document: frozen data becomes mappings, times become ISO 8601 in UTC."""
        text = json.dumps(plain(value), indent=2, ensure_ascii=False)
        self.data(_C1.sub(lambda found: f"\\u{ord(found[0]):04x}", text))

    def data(self, text: str) -> None:
        """Print what is meant for a program, as it is: its times stay in UTC on a terminal too."""
        self.out.print(Text(clean(text)), soft_wrap=True)

    def watched(self, console: Console) -> bool:
        """Return whether a person sees this console and wants it to move and have colours."""
        return console.is_terminal and self._wants_color() and os.environ.get("TERM") != "dumb"

    def _console(self, stream: IO[str]) -> Console:
        return _LastingConsole(
            file=stream, no_color=not self._wants_color(), highlight=False, markup=False, emoji=False
        )

    def _wants_color(self) -> bool:
        return self.color and not os.environ.get("NO_COLOR")


def silence(stream: IO[str]) -> None:
    """Let a stream lead nowhere whose reader (`head`) has left: neither we nor Python's last flush are to fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextlib.contextmanager
def destination(file: Path | None) -> Iterator[IO[str]]:
    """Give a stream for an answer: stdout, or a file that is in its place only once all of it is written.

    Raises UsageError when the file cannot be written.
    """
    if file is None:
        try:
            yield sys.stdout
            sys.stdout.flush()
        except BrokenPipeError:
            silence(sys.stdout)
        return
    try:
        if file.exists() and not file.is_file():
            # A pipe or a device: nothing that could be put in its place.
            with file.open("w", encoding="utf-8") as stream:
                yield stream
        else:
            with _replacing(file.resolve()) as stream:
                yield stream
    except OSError as error:
        what, cure = f"cannot be written: {error.strerror}", "name a file in a folder that exists"
        raise UsageError(str(file), what, cure) from None


@contextlib.contextmanager
def _replacing(file: Path) -> Iterator[IO[str]]:
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            yield stream
        if file.exists():
            shutil.copymode(file, temporary)
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def clean(text: str) -> str:
    """Return `text` with every control character shown instead of sent: `\\x1b` could rewrite a terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def plain(value: Any) -> Any:
    """Return `value` as what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def moment(at: datetime | None) -> str:
    """Return a time for people, to the second: local on a terminal, in UTC in a pipe; `-` when there is none."""
    if at is None:
        return "-"
    return times.local(at) if sys.stdout.isatty() else f"{at:%Y-%m-%d %H:%M:%S}Z"


def for_people(text: str, stream: IO[str]) -> str:
    """Return a text as it goes to a stream: on a terminal its times are local, else they stay in UTC."""
    return times.in_local(text) if stream.isatty() else text


def duration(seconds: float) -> str:
    """Return a length of time for people: `8 s`, `3 min 20 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*headers, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    return table
