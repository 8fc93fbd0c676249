"""What long work tells whoever waits for it. It never prints: the command line decides how progress looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Progress:
    """One moment of a long piece of work; `done` and `total` count the step's own units."""

    step: str
    detail: str
    done: int | None = None
    total: int | None = None
    remaining_s: float | None = None


Report: TypeAlias = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """Drop the report: for callers that nobody watches."""
