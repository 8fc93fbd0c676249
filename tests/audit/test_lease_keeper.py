"""A run renews its leases or stops its engine in time: asked once, and a second time before the leases' end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from audit.phases.lease_keeper import (
    END_AFTER_LOSS_S,
    END_BEFORE_S,
    RENEW_EVERY_S,
    STOP_BEFORE_S,
    TRY_AGAIN_S,
    LeaseKeeper,
)
from audit.records import Lease
from stacks.errors import DatabaseUnreachableError, LockedError
from tests.audit.ledger_samples import holder

AT = datetime(2026, 3, 1, tzinfo=UTC)
TTL_S = 60


def lease(cell: str) -> Lease:
    return Lease("prod", cell, 1, holder("run-1"), AT, AT, TTL_S)


@dataclass
class Scene:
    """A keeper whose clock stands still until a test moves it."""

    moment: float = 1000.0
    failure: BaseException | None = None
    stops: int = 0
    renewed: int = 0
    told: list[str] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    def keeper(self) -> LeaseKeeper:
        return LeaseKeeper([lease("01"), lease("02")], self.renew, self.stop, self.told.append, lambda: self.moment)

    def renew(self, held: list[Lease]) -> list[Lease]:
        self.meanwhile()
        if self.failure is not None:
            raise self.failure
        self.renewed += 1
        return held

    def stop(self) -> None:
        self.stops += 1


GONE = DatabaseUnreachableError("ledger", "is gone", "bring it back")


def test_as_long_as_it_renews_nothing_is_stopped() -> None:
    scene = Scene()
    keeper = scene.keeper()
    for _ in range(10):
        scene.moment += RENEW_EVERY_S
        assert keeper.try_renewal() == RENEW_EVERY_S
        assert keeper.look() == TTL_S - STOP_BEFORE_S
    assert (scene.stops, scene.renewed, scene.told) == (0, 10, [])


@pytest.mark.parametrize("failure", [GONE, RuntimeError("a defect of ours")])
def test_whatever_keeps_it_from_renewing_the_engine_is_stopped_twice_before_the_end(failure: Exception) -> None:
    scene = Scene(failure=failure)
    keeper = scene.keeper()
    began = scene.moment
    seen = {}
    for passed in range(TTL_S):
        scene.moment = began + passed
        assert keeper.try_renewal() == TRY_AGAIN_S
        keeper.look()
        seen.setdefault(scene.stops, passed)
    assert seen == {0: 0, 1: TTL_S - STOP_BEFORE_S, 2: TTL_S - END_BEFORE_S}
    assert "could not be renewed, it ends in 60 s" in scene.told[0]


@pytest.mark.parametrize("failure", [GONE, LockedError("cell", "was taken over", "stop")])
def test_where_nobody_can_be_told_the_engine_is_stopped_all_the_same(failure: Exception) -> None:
    def fail(_text: str) -> None:
        raise OSError("No space left on device")

    scene = Scene(failure=failure)
    keeper = LeaseKeeper([lease("01")], scene.renew, scene.stop, fail, lambda: scene.moment)
    keeper.try_renewal()
    scene.moment += TTL_S
    keeper.look()
    assert scene.stops == 2


def test_a_database_that_comes_back_in_time_costs_nothing() -> None:
    scene = Scene(failure=GONE)
    keeper = scene.keeper()
    scene.moment += TTL_S - STOP_BEFORE_S - 1
    keeper.try_renewal()
    keeper.look()
    scene.failure = None
    keeper.try_renewal()
    scene.moment += TTL_S - STOP_BEFORE_S - 1
    keeper.look()
    assert scene.stops == 0


def test_a_lease_that_somebody_else_has_stops_it_at_once_and_again_soon() -> None:
    scene = Scene(failure=LockedError("cell", "was taken over", "stop"))
    keeper = scene.keeper()
    keeper.try_renewal()
    assert keeper.look() == END_AFTER_LOSS_S
    assert scene.stops == 1
    scene.moment += END_AFTER_LOSS_S
    keeper.look()
    keeper.look()
    assert scene.stops == 2
    assert [text for text in scene.told if text.startswith("the lease is lost, stopping the engine")]


def test_a_renewal_counts_from_before_the_call() -> None:
    scene = Scene()
    keeper = scene.keeper()

    def slowly() -> None:
        scene.moment += 20

    scene.meanwhile = slowly
    keeper.try_renewal()
    assert keeper.look() == TTL_S - STOP_BEFORE_S - 20


def test_a_renewal_that_hangs_keeps_neither_the_watch_nor_the_end_of_the_run_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("audit.phases.lease_keeper.RENEW_EVERY_S", 0.001)
    hangs, stopped, never = threading.Event(), threading.Event(), threading.Event()

    def hang(held: list[Lease]) -> list[Lease]:
        hangs.set()
        never.wait()
        return held

    scene = Scene()
    keeper = LeaseKeeper([lease("01")], hang, stopped.set, scene.told.append, lambda: scene.moment)
    with keeper:
        assert hangs.wait(30)
        scene.moment += TTL_S
        keeper._changed.set()
        assert stopped.wait(30)
    never.set()


def test_after_the_run_nothing_is_stopped_and_nothing_told() -> None:
    scene = Scene(failure=LockedError("cell", "its lease was given back", "stop"))
    keeper = scene.keeper()
    with keeper:
        pass
    keeper.try_renewal()
    scene.moment += TTL_S
    keeper.look()
    assert (scene.stops, scene.told) == (0, [])
