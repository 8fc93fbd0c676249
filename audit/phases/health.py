"""How the stores are that nothing is to be done to: asked before the run changes anything.

The plan compares data, so a store whose block is unchanged is left alone by it even where it does not sell. Here such
a store is taken up too; and where nothing at all is to be done, this is what a run has to tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

from audit import results
from audit.context import RunContext
from audit.entrance import AT_ONCE
from audit.observation import Observation
from audit.plan import Action, StorePlan
from audit.probe import Answer
from audit.records import STORE_DELETE, Change, Status
from audit.results import RunResult, StoreResult
from components.desired import DesiredStore
from stacks.errors import Problem, StoreFailedError, StoresError

PATIENCE_S: Final = 5.0
"""How long a store that nothing is to be done to may take to answer before the run takes it up."""


@dataclass(frozen=True)
class Health:
    """What stores have just answered, by id; those that nobody asked are not in it."""

    answers: Mapping[str, Answer] = field(default_factory=dict)

    def take_up(self, stores: tuple[StorePlan, ...]) -> tuple[StorePlan, ...]:
        """Return the plan in which a store that is as its block says, and does not sell, is taken up too."""
        return tuple(
            replace(store, action=Action.RETRY, reason=f"it does not sell: {self.answers[store.store_id].detail}")
            if store.action is Action.UNTOUCHED and not self.sells(store.store_id)
            else store
            for store in stores
        )

    def sells(self, store_id: str) -> bool:
        """Return whether nothing speaks against it: the store answered well, or was not asked."""
        return store_id not in self.answers or self.answers[store_id].ok

    def is_broken(self, observation: Observation, change: Change) -> bool:
        """Return whether a store that exists in part or whole did not work before this run."""
        row = observation.rows.get(change.store_id)
        working = row is not None and row.status == "Ready" and self.sells(change.store_id)
        return change.action != STORE_DELETE and observation.cell_of(change.store_id) is not None and not working


def ask(context: RunContext, observation: Observation, stores: tuple[StorePlan, ...]) -> Health:
    """Return what the stores that are as their blocks say answer; what does not sell is told."""
    left_alone = [
        observation.desired[store.store_id]
        for store in stores
        if store.action is Action.UNTOUCHED and store.store_id in observation.desired
    ]
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        found = list(pool.map(lambda store: context.waiting.poll(store, PATIENCE_S), left_alone))
    answers = {store.store_id: answer for store, answer in zip(left_alone, found, strict=True) if answer is not None}
    for store_id, answer in answers.items():
        if not answer.ok:
            context.tell(store_id, f"it does not sell: {answer.detail}")
    return Health(answers)


def nothing_to_do(
    context: RunContext, observation: Observation, stores: tuple[StorePlan, ...], health: Health
) -> RunResult:
    """Return the stores that are left alone, as they have just answered. Only a held one can be broken here."""
    found: list[StoreResult] = []
    problems: list[Problem] = []
    for store in stores:
        wanted, answer = observation.desired.get(store.store_id), health.answers.get(store.store_id)
        if wanted is None:
            continue
        problems.extend(results.closure(observation, store))
        if answer is None:
            stopped_early = "the run was stopped" if context.cancelled.is_set() else None
            told = store.reason if store.action is Action.HELD else stopped_early
            found.append(StoreResult.as_before(observation, store, told))
            continue
        detail = None if answer.ok else context.waiting.why_not(wanted, answer)
        found.append(_left_alone(context, store, wanted, answer, detail))
        if detail is not None:
            cure = "it is held: correct it by Helm, or run `stores up --overwrite-drift`"
            problems.append(Problem(f"store '{store.store_id}'", detail, cure))
    error: StoresError | None = StoreFailedError.of(problems) if problems else None
    if context.cancelled.is_set():
        error = results.stopped(context.run_id)
    return RunResult(context.run_id, tuple(found), nothing_to_do=True, exit_error=error)


def _left_alone(
    context: RunContext, store: StorePlan, wanted: DesiredStore, answer: Answer, detail: str | None
) -> StoreResult:
    """Return what a store is by its answer, and leave that on record; `detail`: why it does not sell."""
    status: Status = "Ready" if detail is None else "Failed"
    context.ledger.mark(
        context.environment,
        store.store_id,
        status,
        detail,
        run_id=context.run_id,
        url=wanted.url,
        content=answer.content,
        leases=context.leases,
    )
    told = detail or (store.reason if store.action is Action.HELD else None)
    return StoreResult(store.store_id, store.action, status, wanted.url, told, 0.0, answer.content)
