"""One figure that was measured or counted: what was wanted, what was seen, when, and on what.

Each is a JSON file, so that a run that measures some of them leaves the others as they were.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Result:
    """One figure. `order` is its number in the list of figures, `met` whether what was seen is what was wanted."""

    order: str
    name: str
    wanted: str
    seen: str
    met: bool
    at: str
    conditions: str
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        return "-".join("".join(c if c.isalnum() else " " for c in f"{self.order} {self.name}".lower()).split())


def record(
    order: str, name: str, *, wanted: str, seen: str, met: bool, values: dict[str, Any] | None = None
) -> Result:  # fmt: skip
    """Leave the figure as a file and return it."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    result = Result(order, name, wanted, seen, met, now, conditions(), values or {})
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{result.file_name}.json").write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")
    print(f"{'met ' if met else 'NOT MET'} {order} {name}: {seen} (wanted: {wanted})", flush=True)
    return result


def load() -> list[Result]:
    """Return every figure that is there, in order."""
    found = [Result(**json.loads(path.read_text(encoding="utf-8"))) for path in FOLDER.glob("*.json")]
    return sorted(found, key=lambda result: (result.order, result.name))


def conditions() -> str:
    """Return on what the figure was taken: processors, load of the machine, versions."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} CPUs, load {load:.1f} before, Python {platform.python_version()}, {mariadb_version()}"


def mariadb_version() -> str:
    try:
        said = subprocess.run(["/usr/sbin/mariadbd", "--version"], capture_output=True, text=True, check=True).stdout
    except OSError:
        return "no MariaDB"
    return "MariaDB " + said.split("Ver ")[-1].split()[0]


def spread(values: Sequence[float], unit: str, digits: int = 0) -> str:
    """Return the least, the middle and the greatest of some values."""
    least, middle, most = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} {unit} ({least:.{digits}f} to {most:.{digits}f})"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
