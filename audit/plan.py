"""What a run would do to each store: the manifest's wish compared with what was last applied. Pure.

The comparison needs no engine, since both sides are the same plain data that the program registers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from audit.limits import Claim
from audit.records import Usage
from components.desired import DesiredStore, flatten
from stacks.errors import Problem
from stacks.quantities import parse_bytes

# A change of one of these replaces or moves data. Sizes may grow, never shrink.
_DANGEROUS = ("objects.namespace.metadata.name",)
_DANGEROUS_ENDINGS = (".storageClass", ".accessMode")
# Set or emptied, it leaves the data where it is and begins an empty shop.
_DATABASE = "release.values.database.external.host"
_SIZES = ("release.values.uploads.size", "release.values.database.storage.size")

# How the release's values and objects read to people: shorter, and without what only the platform knows.
_SHORT = (("release.values.", ""), ("objects.", ""))
_PLATFORM = "release.values.chartDigest"


class Action(StrEnum):
    """What happens to a store in a run."""

    CREATE = "create"
    UPDATE = "update"
    RETRY = "retry"
    DELETE = "delete"
    SCHEDULED = "scheduled"
    """Newly tombstoned: a run lets its grace begin."""
    LEAVING = "leaving"
    """Tombstoned before, and kept until its grace is over: a run has nothing to do."""
    HELD = "held"
    """Somebody has worked on its release by plain Helm since; left alone until its block changes, or on demand."""
    UNTOUCHED = "untouched"


CHANGING = frozenset({Action.CREATE, Action.UPDATE, Action.RETRY, Action.DELETE})


@dataclass(frozen=True)
class PropertyChange:
    """One leaf that differs. `danger` marks a change that would replace, move or shrink data."""

    path: str
    before: Any
    after: Any
    danger: bool = False


@dataclass(frozen=True)
class StorePlan:
    """One store's part of a plan. `resources` counts the engine's operations, where it was asked."""

    store_id: str
    name: str
    owner: str
    cell: str
    action: Action
    changes: tuple[PropertyChange, ...] = ()
    reason: str | None = None
    denial: str | None = None
    resources: Mapping[str, int] = field(default_factory=dict)

    @property
    def dangers(self) -> tuple[PropertyChange, ...]:
        """Return the changes that put data at risk."""
        return tuple(change for change in self.changes if change.danger)


@dataclass(frozen=True)
class LimitUse:
    """How much of one limit is used, before and after the run."""

    name: str
    before: int
    after: int
    limit: int


@dataclass(frozen=True)
class Plan:
    """A whole plan, in manifest order; stores that leave come last."""

    environment: str
    cluster: str
    stores: tuple[StorePlan, ...]
    limits: tuple[LimitUse, ...]
    refused: tuple[Problem, ...] = ()
    """What no run does, whatever is confirmed; a run of this manifest ends with it before it changes anything."""

    @property
    def changing(self) -> tuple[StorePlan, ...]:
        """Return the stores that a run would touch."""
        still = (Action.UNTOUCHED, Action.HELD, Action.LEAVING)
        return tuple(store for store in self.stores if store.action not in still and store.denial is None)

    @property
    def held(self) -> tuple[StorePlan, ...]:
        """Return the stores that a run leaves alone because their release is not as the platform left it."""
        return tuple(store for store in self.stores if store.action is Action.HELD)

    @property
    def denied(self) -> tuple[StorePlan, ...]:
        """Return the stores that a limit stands in the way of."""
        return tuple(store for store in self.stores if store.denial is not None)

    @property
    def empty(self) -> bool:
        """Whether a run would find nothing at all to do."""
        return not self.changing and not self.denied and not self.refused

    def as_json(self) -> dict[str, Any]:
        """Return plain data for `--json`."""
        return {
            "environment": self.environment,
            "cluster": self.cluster,
            "empty": self.empty,
            "untouched": sum(store.action not in CHANGING for store in self.stores),
            "stores": [asdict(store) for store in self.stores],
            "limits": [asdict(use) for use in self.limits],
            "refused": [str(problem) for problem in self.refused],
        }


def changes(before: Mapping[str, Any], after: DesiredStore) -> tuple[PropertyChange, ...]:
    """Return every leaf that differs, sorted by path; the chart's digest reads as `chart`."""
    old, new = dict(flatten(before)), dict(flatten(after.to_dict()))
    found = []
    for path in sorted(old.keys() | new.keys()):
        was, becomes = old.get(path), new.get(path)
        if was == becomes:
            continue
        if path == _PLATFORM:
            found.append(PropertyChange("chart", _short_digest(was), _short_digest(becomes)))
        else:
            found.append(PropertyChange(_readable(path), was, becomes, danger=_endangers(path, was, becomes)))
    return tuple(found)


def value_changes(before: Mapping[str, Any], live: Mapping[str, Any]) -> tuple[PropertyChange, ...]:
    """Return every leaf in which a release's live values differ from those that the platform gave it."""
    old, new = dict(flatten(before)), dict(flatten(live))
    return tuple(
        PropertyChange(path, old.get(path), new.get(path))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    )


def count_operations(operations: Iterable[str]) -> dict[str, int]:
    """Return how often each of the engine's operations occurs; what stays the same is not counted."""
    counts: dict[str, int] = {}
    for operation in operations:
        if operation != "same":
            counts[operation] = counts.get(operation, 0) + 1
    return counts


def limit_use(allowed: Iterable[Claim], usage: Usage) -> tuple[LimitUse, ...]:
    """Return how much of each limit is used now, and after all that may go has been done.

    `allowed`: what the limits have let go, the same claims that they judged.
    """
    slots, born = Counter[str](), Counter[str]()
    total = usage.total_used
    for claim in allowed:
        if claim.new:
            total += 1
            born[claim.owner] += 1
        if claim.new or claim.moved_from is not None:
            slots[claim.owner] += 1
        if claim.moved_from is not None:
            slots[claim.moved_from] -= 1
        if claim.gives_back is not None:
            total -= 1
            slots[claim.gives_back] -= 1
    uses = [LimitUse("stores in all", usage.total_used, total, usage.total_limit)]
    minutes = usage.window_s // 60
    for owner in sorted(usage.owners, key=lambda owner: owner.owner):
        name, started = owner.owner, owner.starts + born[owner.owner]
        uses.append(LimitUse(f"stores of {name}", owner.used, owner.used + slots[name], owner.limit))
        uses.append(LimitUse(f"creations of {name} in {minutes} min", owner.starts, started, owner.starts_limit))
    return tuple(uses)


def _readable(path: str) -> str:
    for prefix, short in _SHORT:
        if path.startswith(prefix):
            return short + path.removeprefix(prefix)
    return path


def _endangers(path: str, was: Any, becomes: Any) -> bool:
    if path in _DANGEROUS or path.endswith(_DANGEROUS_ENDINGS):
        return True
    if path == _DATABASE:
        return bool(was) != bool(becomes)
    if path in _SIZES:
        return becomes is None or (was is not None and parse_bytes(str(becomes)) < parse_bytes(str(was)))
    return False


def _short_digest(value: Any) -> str | None:
    return None if value is None else str(value)[:12]
