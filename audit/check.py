"""One thing that `stores doctor` has looked at, and what is to be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `cure` is empty unless something is to be done."""

    name: str
    state: State
    detail: str
    cure: str = ""
