"""What became of an upgrade or a rollback: plain data for the command line, and how the log tells it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from audit.records import Entry, Replay
from audit.upgrade_plan import Kind, UpgradePlan
from stacks.errors import StoresError


@dataclass(frozen=True)
class StoreUpgrade:
    """What became of one store. `runs` is the image that it has now, as far as the platform brought it there."""

    store_id: str
    before: str
    wanted: str
    runs: str
    status: str
    reason: str | None
    url: str | None
    content: str | None
    elapsed_s: float
    run_id: str
    backup: str | None = None


@dataclass(frozen=True)
class UpgradeResult:
    """What became of the whole. `waiting`: stores that had not begun when it ended."""

    plan: UpgradePlan
    stores: tuple[StoreUpgrade, ...]
    waiting: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    exit_error: StoresError | None = None
    replayed: bool = False

    @property
    def new(self) -> tuple[str, ...]:
        """Return the stores that run the wanted image, those that did before included."""
        return (*self.plan.there, *(store.store_id for store in self.stores if store.runs == store.wanted))

    @property
    def old(self) -> tuple[str, ...]:
        """Return the stores that do not, though it was asked for."""
        left_out = tuple(problem.where.removeprefix("store ").strip("'") for problem in self.plan.left_out)
        return (*(store.store_id for store in self.stores if store.runs != store.wanted), *self.waiting, *left_out)

    def as_json(self) -> dict[str, Any]:
        """Return plain data for `--json`."""
        problems = self.exit_error.problems if self.exit_error is not None else ()
        return {
            "kind": self.plan.kind,
            "image_tag": self.plan.tag,
            "stores": self.stores,
            "new": self.new,
            "old": self.old,
            "waiting": self.waiting,
            "left_out": [str(problem) for problem in self.plan.left_out],
            "notes": self.notes,
            "replayed": self.replayed,
            "problems": [str(problem) for problem in problems],
        }


def answered(environment: str, kind: Kind, replay: Replay, entries: Sequence[Entry]) -> UpgradeResult:
    """Return the result of an upgrade that was done before, from what its runs have left in the log."""
    asked = {entry.store_id: entry for entry in entries if entry.outcome == "unknown" and "image" in entry.metadata}
    stores = []
    for outcome in replay.outcomes:
        entry = asked[outcome.store_id]
        image: Any = entry.metadata["image"]
        runs = image["to"] if outcome.outcome == "success" else image["from"]
        backup = entry.metadata.get("backup")
        stores.append(
            StoreUpgrade(
                store_id=outcome.store_id,
                before=image["from"],
                wanted=image["to"],
                runs=runs,
                status=outcome.status,
                reason=outcome.reason,
                url=outcome.url,
                content=outcome.content,
                elapsed_s=0.0,
                run_id=str(entry.run_id),
                backup=None if backup is None else str(backup),
            )
        )
    plan = UpgradePlan(environment, kind, stores[-1].wanted, ())
    return UpgradeResult(plan, tuple(stores), replayed=True)
