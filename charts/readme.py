"""Keeps the table of values in charts/store/README.md equal to the `# --` lines of values.yaml.

`make docs` writes the table; with `--check` nothing is written, and a stale table ends with code 1.
It must never guess: a value without a `# --` line is an error.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

CHART: Final = Path(__file__).parent / "store"
BEGIN: Final = "<!-- begin of the table that `make docs` writes -->"
END: Final = "<!-- end of the table -->"

_KEY: Final = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z]\w*):(?P<rest>.*)")
_DOC: Final = re.compile(r" *# -- (?P<text>.+)")


@dataclass(frozen=True)
class Value:
    """One documented value: its dotted path, its default, and its `# --` line."""

    path: str
    default: Any
    meaning: str

    @property
    def row(self) -> str:
        """The value as a row of the table."""
        default = json.dumps(self.default, ensure_ascii=False)
        return f"| `{self.path}` | `{default}` | {self.meaning.replace('|', chr(92) + '|')} |"


def documented(values: Path) -> Iterator[Value]:
    """Yield every value that has no values below it, in the file's order. Raise ValueError for one without a line.

    The file is read line by line for the comments, and as YAML for the defaults; lists are written in one line.
    """
    defaults = YAML(typ="safe").load(values)
    path: list[str] = []
    meaning: str | None = None
    for number, line in enumerate(values.read_text().splitlines(), start=1):
        if doc := _DOC.fullmatch(line):
            meaning = doc["text"]
        elif key := _KEY.fullmatch(line):
            path = [*path[: len(key["indent"]) // 2], key["key"]]
            if not key["rest"].strip():
                continue
            if meaning is None:
                name = ".".join(path)
                raise ValueError(f"{values}:{number}: {name} has no `# --` line; say what it is, its unit, its range")
            default = defaults
            for part in path:
                default = default[part]
            yield Value(".".join(path), default, meaning)
            meaning = None


def table(values: Path) -> str:
    """Return the table of all values, in Markdown."""
    rows = [value.row for value in documented(values)]
    return "\n".join(["| Value | Default | Meaning |", "|---|---|---|", *rows])


def with_table(readme: str, new: str) -> str:
    """Return the text with the new table between its two marks."""
    before, found_begin, rest = readme.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found_begin and found_end):
        raise ValueError(f"README.md lacks the lines {BEGIN!r} and {END!r}; put them where the table belongs")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def main() -> int:
    """Write or check the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the table is stale")
    parser.add_argument("--chart", type=Path, default=CHART, help="the chart's folder")
    arguments = parser.parse_args()
    readme = arguments.chart / "README.md"
    old = readme.read_text()
    new = with_table(old, table(arguments.chart / "values.yaml"))
    if new == old:
        return 0
    if arguments.check:
        print(f"{readme}: the table of values is stale; run `make docs`", file=sys.stderr)
        return 1
    readme.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
