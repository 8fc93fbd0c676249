"""One thing in the cluster that is waited for, and whether that can come to anything; pure, with the clock passed in.

A release that the engine waits for and a Job of the gate's own are judged alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stacks.evidence import Evidence
from stacks.explanation import causes, explain, patience_s

_WORTH_TELLING: Final = 0


@dataclass
class Watched:
    """What is waited for. Times are of one monotonic clock, in seconds."""

    began: float
    doomed_since: float | None = None
    patience_s: float = 0.0
    why: str = ""
    seen: str = ""
    """What kept it at the last look."""
    told: bool = False

    def look(self, found: Evidence, now: float) -> str | None:
        """Take one look; return what to tell of it, once it was seen twice, and once only."""
        shown = causes(found) if found.namespace is not None else ()
        patience = patience_s(shown)
        if patience is None:
            self.doomed_since = None
        else:
            # A pod whose image is being tried once more shows it by other words for a moment.
            self.patience_s = patience if self.doomed_since is None else min(patience, self.patience_s)
            self.doomed_since = now if self.doomed_since is None else self.doomed_since
            self.why = explain(found)
        before, self.seen = self.seen, ""
        if shown and (shown[0].rank == _WORTH_TELLING or patience is not None):
            self.seen = str(shown[0])
        if self.told or not before or not self.seen:
            return None
        self.told = True
        return self.seen

    def is_doomed(self, now: float) -> bool:
        """Return whether waiting for it comes to nothing."""
        return self.doomed_since is not None and now - self.doomed_since >= self.patience_s
