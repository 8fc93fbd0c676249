"""Anchors: the end of the log at some moment, kept where the database's users cannot write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Anchor:
    """The log had `seq` entries, and the last one's hash was `hash`."""

    chain_id: str
    seq: int
    hash: str
    at: datetime
