"""What a run is about that is about some stores only, such as an upgrade or a restore into a new store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from audit.plan import StorePlan
from audit.records import Change, StoreOutcome


class Data(Protocol):
    """What is done to a store's data beside the engine's work on it; see `audit.rewinds`."""

    @property
    def told(self) -> Mapping[str, object]:
        """What the audit log keeps of it with the outcome."""

    def before_engine(self) -> StoreOutcome | None:
        """Do it; return None where the engine is to go on, else what became of the store."""

    def started(self) -> None:
        """The engine has done its work."""

    def taken_back(self) -> str | None:
        """Undo it, since the engine could not do its work; return why that cannot be, or None where it is so."""


@dataclass(frozen=True)
class Scope:
    """What a run does to its stores, by their ids; `metadata` is what the audit log keeps of each.

    All other stores are registered as they were applied, and the engine is told to work on none of them.
    `data`: what is done to the one store's data first.
    """

    action: str
    metadata: Mapping[str, Mapping[str, object]]
    data: Data | None = None

    def narrowed(self, changes: Sequence[Change]) -> tuple[Change, ...]:
        """Return the changes of the scope's stores, named after what the run does."""
        return tuple(
            replace(change, action=self.action, metadata={**change.metadata, **self.metadata[change.store_id]})
            for change in changes
            if change.store_id in self.metadata
        )

    def within(self, stores: Sequence[StorePlan]) -> tuple[StorePlan, ...]:
        """Return the plan of the scope's stores alone."""
        return tuple(store for store in stores if store.store_id in self.metadata)

    def named(self, outcome: StoreOutcome) -> StoreOutcome:
        """Return the outcome; a failure says what it is a failure of."""
        if outcome.outcome != "failure":
            return outcome
        image = self.metadata[outcome.store_id].get("image")
        to = f" to image {image['to']}" if isinstance(image, Mapping) else ""
        return replace(outcome, reason=f"{self.action.removeprefix('store.')}{to} failed: {outcome.reason}")
