"""Runs that are killed: real processes over a real ledger, with a folder in the engine's and the cluster's place."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

from audit import aftermath
from audit.ledger import Ledger
from audit.limits import Limits
from audit.probe import Answer
from audit.records import Actor, Change, Holder, Lease, RunRequest, Status, StoreOutcome

ENVIRONMENT = "prod"
IDS = tuple(f"store-{number}" for number in range(6))
POINTS = (
    "lease held",
    "intent committed",
    "engine began",
    "engine in the middle",
    "engine done",
    "outcome committed",
)
LIMITS = Limits(stores_per_owner=1000, creates_per_hour=100_000, stores_total=1000)


@dataclass(frozen=True)
class Wanted:
    """A store as the manifest wants it."""

    url: str
    sells: bool = False
    locale: str = "en_US"

    def to_dict(self) -> dict[str, str]:
        return {"url": self.url}


@dataclass(frozen=True)
class World:
    """What exists: a file per store in the engine's state, and one per namespace in the cluster.

    It stands in the place of the observation, the cluster and the entrance: what is asked of them here is little.
    """

    folder: Path

    @property
    def desired(self) -> dict[str, Wanted]:
        return {store_id: Wanted(f"http://{store_id}") for store_id in IDS}

    def applied(self, store_id: str) -> dict[str, str] | None:
        return {"url": f"http://{store_id}"} if self._state(store_id).exists() else None

    def cell_of(self, store_id: str) -> str | None:
        return "01" if self._state(store_id).exists() else None

    def namespace(self, name: str) -> str | None:
        return name if self._namespace(name.removeprefix("store-")).exists() else None

    def ask(self, store_id: str, _url: str, *, sells: bool, locale: str) -> Answer:
        assert locale == self.desired[store_id].locale
        return Answer(ok=self._namespace(store_id).exists() and not sells, detail="no answer")

    def existing(self) -> set[str]:
        return {i for i in IDS if self._namespace(i).exists() or self._state(i).exists()}

    def make(self, store_id: str, reached: Callable[[str], None]) -> None:
        reached("engine began")
        self._state(store_id).touch()
        reached("engine in the middle")
        self._namespace(store_id).touch()

    def remove(self, store_id: str, reached: Callable[[str], None]) -> None:
        reached("engine began")
        self._namespace(store_id).unlink(missing_ok=True)
        reached("engine in the middle")
        self._state(store_id).unlink(missing_ok=True)

    def _state(self, store_id: str) -> Path:
        return self.folder / f"{store_id}.state"

    def _namespace(self, store_id: str) -> Path:
        return self.folder / f"{store_id}.namespace"


def clock(round_number: int) -> Callable[[], datetime]:
    """Return a clock that is an hour on per round: the leases of the round before have run out."""
    return lambda: datetime.now(UTC) + timedelta(hours=round_number)


def work(url: str, folder: str, round_number: int, point: str | None) -> None:
    """Change stores, one run after the other; kill this process at `point` of the first, or go on until killed."""

    def reached(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    world, choice = World(Path(folder)), random.Random(round_number)
    with Ledger.open(url, now=clock(round_number)) as ledger:
        for number in range(1_000_000):
            _run(ledger, world, reached, f"run-{round_number}-{number}", choice)


def _run(ledger: Ledger, world: World, reached: Callable[[str], None], run_id: str, choice: random.Random) -> None:
    actor = Actor("worker", "ci")
    lease = ledger.acquire_lease(ENVIRONMENT, "01", Holder(actor, "host", os.getpid(), run_id), 60)
    reached("lease held")
    changes = [_wish(world, store_id, choice) for store_id in choice.sample(IDS, 2)]
    request = RunRequest(run_id, ENVIRONMENT, actor, LIMITS, {}, changes, leases=(lease,))
    admitted = ledger.admit(request).admitted
    reached("intent committed")
    outcomes = []
    for change in admitted:
        status: Status = "Ready"
        if change.action == "store.delete":
            world.remove(change.store_id, reached)
            status = "Deleted"
        else:
            world.make(change.store_id, reached)
        outcomes.append(StoreOutcome(change.store_id, "success", status))
    reached("engine done")
    ledger.settle(run_id, outcomes)
    reached("outcome committed")
    ledger.release_leases([lease])


def _wish(world: World, store_id: str, choice: random.Random) -> Change:
    action = choice.choice(["store.update", "store.delete"]) if store_id in world.existing() else "store.create"
    return Change(store_id, store_id, "alice", "01", action)


def started(url: str, folder: Path, round_number: int, point: str | None = None) -> BaseProcess:
    """Return a running worker."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["audit.ledger"])
    process = context.Process(target=work, args=(url, str(folder), round_number, point))
    process.start()
    return process


def recover(ledger: Ledger, world: World, run_id: str) -> int:
    """Take the cell over, settle what is open by looking, and return how many runs were closed."""
    actor = Actor("reaper", "service")
    lease: Lease = ledger.acquire_lease(ENVIRONMENT, "01", Holder(actor, "host", os.getpid(), run_id), 60)
    closed = ledger.open_runs(ENVIRONMENT)
    for run in closed:
        outcomes = aftermath.outcomes(run, world, world, world)  # type: ignore[arg-type]
        ledger.settle(run.run_id, outcomes, actor=actor, leases=[lease])
    ledger.release_leases([lease])
    return len(closed)
