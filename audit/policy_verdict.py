"""What a probe of network policies found, and remembering it: the next `stores doctor` shows it with its age.

Kept beside the environment's other state on this machine, and only worth something for the very cluster it was made on.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

FILE: Final = "network-policies.json"
# Network plugins are replaced more rarely than that, and nobody runs a probe each day.
FRESH: Final = timedelta(days=30)


@dataclass(frozen=True)
class Verdict:
    """Which directions of policies a cluster was seen to enforce. `probed_at` is aware, in UTC."""

    cluster_uid: str
    probed_at: datetime
    ingress: bool
    egress: bool

    def save(self, folder: Path) -> None:
        """Make this the verdict that is remembered."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = folder / f"{FILE}.new"
        unfinished.write_text(json.dumps({**asdict(self), "probed_at": self.probed_at.isoformat()}), encoding="utf-8")
        unfinished.replace(folder / FILE)

    def age(self, now: datetime) -> timedelta:
        """Return how long ago it was found; never less than nothing, whatever the clocks say."""
        return max(now - self.probed_at, timedelta())


def load(folder: Path, cluster_uid: str) -> Verdict | None:
    """Return the verdict about this cluster; None where there is none, or an unreadable one."""
    try:
        data = json.loads((folder / FILE).read_text(encoding="utf-8"))
        found = Verdict(**{**data, "probed_at": datetime.fromisoformat(data["probed_at"]).astimezone(UTC)})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    return found if found.cluster_uid == cluster_uid else None


def age_text(age: timedelta) -> str:
    """Return an age in its largest whole unit: `20 s`, `3 min`, `5 h`, `12 days`."""
    seconds = int(age.total_seconds())
    for length, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= length:
            count = seconds // length
            return f"{count} day" if (count, unit) == (1, "days") else f"{count} {unit}"
    return f"{seconds} s"
