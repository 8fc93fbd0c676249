"""What a run tells: while it works, and at its end. Plain data for the command line, and how it follows from outcomes.

It decides nothing, and asks nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from audit.observation import Observation
from audit.plan import Action, StorePlan
from audit.records import Admission, Replay, Status, StoreOutcome
from stacks.errors import CancelledError, OverLimitError, Problem, StoreFailedError, StoresError


@dataclass(frozen=True)
class ProgressEvent:
    """Something to show: a store's new status, or what is being done to it. `store_id` None: the run as a whole."""

    store_id: str | None
    text: str
    status: Status | None = None


Report = Callable[[ProgressEvent], None]


@dataclass(frozen=True)
class StoreResult:
    """What became of one store in a run."""

    store_id: str
    action: Action
    status: str
    url: str | None
    reason: str | None
    elapsed_s: float
    content: str | None = None

    @classmethod
    def of(cls, outcome: StoreOutcome, action: Action, elapsed_s: float = 0.0) -> StoreResult:
        """Return an outcome as people see it."""
        return cls(outcome.store_id, action, outcome.status, outcome.url, outcome.reason, elapsed_s, outcome.content)

    @classmethod
    def as_before(cls, observation: Observation, store: StorePlan, reason: str | None) -> StoreResult:
        """Return what a store is that the run did not touch."""
        row = observation.rows.get(store.store_id)
        if row is None:
            return cls(store.store_id, store.action, "Pending", None, reason, 0.0)
        return cls(store.store_id, store.action, row.status, row.url, reason, 0.0, row.content)


@dataclass(frozen=True)
class RunResult:
    """What became of a run. `exit_error` carries the exit code when not everything was done."""

    run_id: str
    stores: tuple[StoreResult, ...]
    nothing_to_do: bool
    exit_error: StoresError | None = None
    replayed: bool = False


def of_replay(earlier: Replay) -> RunResult:
    """Return what became of an earlier run that has done what is asked for again."""
    results = tuple(StoreResult.of(outcome, Action.UNTOUCHED) for outcome in earlier.outcomes)
    return RunResult(earlier.run_id, results, nothing_to_do=False, replayed=True)


def of_work(
    run_id: str,
    observation: Observation,
    stores: tuple[StorePlan, ...],
    *,
    admission: Admission,
    outcomes: Mapping[str, StoreOutcome],
    elapsed_s: Mapping[str, float],
) -> RunResult:
    """Return what became of these stores in a run that asked for changes; `elapsed_s` by store, of those worked on."""
    denied = {denial.change.store_id: denial for denial in admission.denied}
    results: list[StoreResult] = []
    failed: list[Problem] = []
    cancelled = False
    for store in stores:
        outcome = outcomes.get(store.store_id)
        if outcome is not None:
            cancelled = cancelled or outcome.outcome == "cancelled"
            if outcome.outcome == "failure":
                failed.append(_problem(outcome))
            results.append(StoreResult.of(outcome, store.action, elapsed_s.get(store.store_id, 0.0)))
        elif store.store_id in denied:
            results.append(StoreResult.as_before(observation, store, str(denied[store.store_id].problem)))
        elif store.store_id in observation.desired:
            failed.extend(closure(observation, store))
            held = store.reason if store.action is Action.HELD else None
            results.append(StoreResult.as_before(observation, store, held))
    error: StoresError | None = None
    if cancelled:
        error = stopped(run_id)
    elif failed:
        error = StoreFailedError.of(failed)
    elif denied:
        error = OverLimitError.of([denial.problem for denial in denied.values()])
    return RunResult(run_id, tuple(results), nothing_to_do=False, exit_error=error)


def closure(observation: Observation, store: StorePlan) -> Iterator[Problem]:
    """Yield that a store is closed, and so does not sell, whatever the run has done to the others."""
    closed = observation.closed.get(store.store_id)
    if closed is not None:
        yield Problem(f"store '{store.store_id}'", closed.reason, closed.cure(store.store_id))


def stopped(run_id: str) -> CancelledError:
    """Return what a run ends with that was asked to stop."""
    return CancelledError(f"run {run_id}", "it was stopped", "run `stores up` again to go on")


def _problem(outcome: StoreOutcome) -> Problem:
    return Problem(
        f"store '{outcome.store_id}'",
        outcome.reason or f"it is {outcome.status}",
        "correct the cause and run `stores up` again; the other stores are not affected",
    )
