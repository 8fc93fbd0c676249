"""What is remembered of a started instance, in its `instance.json`: enough to tell whether it still runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sandbox import process

FILE = "instance.json"


@dataclass(frozen=True)
class Record:
    """One start of an instance. `started_at` is an ISO time in UTC; `made_of` names its programs."""

    identity: process.Identity
    started_at: str
    http_port: int
    https_port: int | None
    api_port: int
    made_of: str
    versions: Mapping[str, str]

    def save(self, folder: Path) -> None:
        """Make the record the one of the instance in `folder`."""
        unfinished = folder / f"{FILE}.new"
        unfinished.write_text(json.dumps(asdict(self), indent=1))
        unfinished.replace(folder / FILE)


def load(folder: Path) -> Record | None:
    """Return the record of the instance in `folder`; None when none was started, or its record is unreadable."""
    try:
        data = json.loads((folder / FILE).read_text())
        return Record(**{**data, "identity": process.Identity(**data["identity"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def end_of(record: Record | None, boot_id: str) -> str | None:
    """Return how the recorded instance ended without `down`, in words; None while its process runs."""
    if record is None:
        return "its record is missing or damaged"
    if record.identity.boot_id != boot_id:
        return "the machine was restarted since"
    if not process.is_alive(record.identity):
        return "its process has ended"
    return None
