"""The rules that say whether a store may come to be: pure functions over numbers and times.

Nothing here reads a clock, a database or a file, so every boundary can be tested to the microsecond. Who calls `judge`
must hold the lock under which the tally was read, or the answer is worth nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from stacks.manifest import Owner
from stacks.settings import Settings

LimitName = Literal["stores_per_owner", "stores_total", "creates_per_hour"]


@dataclass(frozen=True)
class OwnerLimits:
    """One owner's own limits. None: the environment's limit holds."""

    stores: int | None = None
    creates_per_hour: int | None = None


NO_OWN_LIMITS: Final = OwnerLimits()


def own_limits(owners: Iterable[Owner]) -> dict[str, OwnerLimits]:
    """Return the limits that owners.yaml gives to single owners, by their names."""
    return {
        owner.name: OwnerLimits(stores=owner.limits.stores, creates_per_hour=owner.limits.creates_per_hour)
        for owner in owners
    }


@dataclass(frozen=True)
class Limits:
    """The limits of one environment, over all its cells."""

    stores_per_owner: int = 10
    creates_per_hour: int = 5
    window_s: int = 3600
    stores_total: int = 100

    def __post_init__(self) -> None:
        if min(self.stores_per_owner, self.creates_per_hour, self.stores_total) < 0 or self.window_s <= 0:
            raise ValueError(f"limits must not be negative, and the window must be positive: {self}")

    def of(self, own: OwnerLimits) -> Limits:
        """Return the limits that hold for an owner with limits of its own."""
        return Limits(
            stores_per_owner=self.stores_per_owner if own.stores is None else own.stores,
            creates_per_hour=self.creates_per_hour if own.creates_per_hour is None else own.creates_per_hour,
            window_s=self.window_s,
            stores_total=self.stores_total,
        )

    @classmethod
    def of_environment(cls, settings: Settings) -> Limits:
        """Return the limits that an environment's settings name."""
        return cls(
            stores_per_owner=settings.stores_per_owner,
            creates_per_hour=settings.creates_per_hour,
            stores_total=settings.stores_total,
        )

    @property
    def window(self) -> timedelta:
        """Return the length of the window in which creations are counted."""
        return timedelta(seconds=self.window_s)


@dataclass(frozen=True)
class Claim:
    """What one change of a request would take.

    `new` takes a slot of the owner and of the environment, and counts as a creation. `moved_from` is the owner that a
    store leaves: it takes a slot of the new owner only. Neither (a retry, an update, a delete) takes nothing.
    `gives_back` is the owner whose slot is free once a delete is done; None where the store holds none.
    """

    owner: str
    new: bool = False
    moved_from: str | None = None
    gives_back: str | None = None


@dataclass(frozen=True)
class Tally:
    """What is in use at one moment. Owners that are missing use nothing."""

    total: int
    used: Mapping[str, int]
    starts: Mapping[str, Sequence[datetime]]
    """Per owner, when its creations began, in any order; those out of the window may be there."""


@dataclass(frozen=True)
class Verdict:
    """What the limits say to one claim. An allowed one has no `limit`."""

    limit: LimitName | None = None
    used: int = 0
    limit_value: int = 0
    retry_at: datetime | None = None
    """When the same claim can go, as far as the limits are concerned. None: time alone will not help."""
    waiting: int = 0
    """How many creations wait for their hour and take, before this one, what the limit still leaves."""

    @property
    def allowed(self) -> bool:
        """Return whether no limit stands in the way."""
        return self.limit is None


def within_window(starts: Sequence[datetime], window: timedelta, now: datetime) -> list[datetime]:
    """Return the starts that still count, oldest first.

    A start counts as long as less than `window` has passed: after exactly `window` it no longer does, so that
    `retry_at` is a moment at which the retry succeeds. One in the future (a clock was set back) counts.
    """
    return sorted(start for start in starts if now - start < window)


def retry_at(starts: Sequence[datetime], *, limit: int, window: timedelta, now: datetime) -> datetime | None:
    """Return the first moment from `now` on at which one more start is allowed; None if that moment never comes."""
    if limit <= 0:
        return None
    counted = within_window(starts, window, now)
    return now if len(counted) < limit else counted[len(counted) - limit] + window


def judge(
    claims: Sequence[Claim],
    tally: Tally,
    *,
    limits: Limits,
    owner_limits: Mapping[str, OwnerLimits],
    now: datetime,
) -> tuple[Verdict, ...]:
    """Return one verdict per claim, in the given order: the first that fit are allowed, the rest denied.

    A denied claim takes nothing, so a later one of another owner may be allowed. Where several limits stand in the
    way, the one that waiting does not lift is named. Denied creations of one owner queue behind each other: each is
    told the time at which it can go when those before it went at theirs; and where those before it take the last slot,
    it is told that limit and no time.
    """
    book = _Book(tally, limits, owner_limits, now)
    verdicts = [book.judge(claim) for claim in claims]
    # Only now it is known what all that may go at once has taken.
    return tuple(book.queued(claim, verdict) for claim, verdict in zip(claims, verdicts, strict=True))


class _Book:
    """The tally while one request is gone through."""

    def __init__(self, tally: Tally, limits: Limits, owner_limits: Mapping[str, OwnerLimits], now: datetime) -> None:
        self._total = tally.total
        self._used = Counter(tally.used)
        self._limits = limits
        self._owner_limits = owner_limits
        self._now = now
        self._starts = {o: within_window(starts, limits.window, now) for o, starts in tally.starts.items()}
        self._queues: dict[str, list[datetime]] = {}
        self._waiting: dict[str, int] = {}

    def judge(self, claim: Claim) -> Verdict:
        """Return the verdict on the claim; what it takes is counted if it is allowed."""
        limits = self._limits.of(self._owner_limits.get(claim.owner, NO_OWN_LIMITS))
        used = self._used[claim.owner]
        starts = self._starts.setdefault(claim.owner, [])
        takes_slot = claim.new or claim.moved_from is not None
        if takes_slot and used >= limits.stores_per_owner:
            return Verdict("stores_per_owner", used, limits.stores_per_owner)
        if claim.new and self._total >= limits.stores_total:
            return Verdict("stores_total", self._total, limits.stores_total)
        if claim.new and len(starts) >= limits.creates_per_hour:
            return Verdict("creates_per_hour", len(starts), limits.creates_per_hour)
        self._take(claim)
        return Verdict()

    def queued(self, claim: Claim, verdict: Verdict) -> Verdict:
        """Return the verdict; a creation that the hourly limit stops, with when it can go, if a slot is left then."""
        if verdict.limit != "creates_per_hour":
            return verdict
        limits = self._limits.of(self._owner_limits.get(claim.owner, NO_OWN_LIMITS))
        used, waiting, all_waiting = (
            self._used[claim.owner],
            self._waiting.get(claim.owner, 0),
            sum(self._waiting.values()),
        )
        if used + waiting >= limits.stores_per_owner:
            return Verdict("stores_per_owner", used, limits.stores_per_owner, waiting=waiting)
        if self._total + all_waiting >= limits.stores_total:
            return Verdict("stores_total", self._total, limits.stores_total, waiting=all_waiting)
        moment = self._queue(claim.owner, limits)
        if moment is not None:
            self._waiting[claim.owner] = waiting + 1
        return replace(verdict, retry_at=moment)

    def _take(self, claim: Claim) -> None:
        if claim.new:
            self._total += 1
            self._starts[claim.owner].append(self._now)
        if claim.moved_from is not None:
            self._used[claim.moved_from] -= 1
        if claim.new or claim.moved_from is not None:
            self._used[claim.owner] += 1

    def _queue(self, owner: str, limits: Limits) -> datetime | None:
        """Return when a denied creation can go, after those of the same owner that were denied before it."""
        queue = self._queues.setdefault(owner, list(self._starts[owner]))
        earliest = max([self._now, *queue[len(self._starts[owner]) :]])
        moment = retry_at(queue, limit=limits.creates_per_hour, window=limits.window, now=earliest)
        if moment is not None:
            queue.append(moment)
        return moment
