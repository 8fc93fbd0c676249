"""The admitted changes, carried out: cell by cell the engine, then the wait until each store sells or is gone.

One store's failure does not stop the others, and every change has its outcome on record, whatever happens.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from audit import bookkeeping
from audit.context import RunContext
from audit.engine.events import EngineResult
from audit.entrance import AT_ONCE
from audit.observation import Observation
from audit.phases import database_servers, images, last_backups, passes, pending_releases, repair, unnoted
from audit.phases.health import Health
from audit.phases.takeback import Work, take_back
from audit.plan import StorePlan
from audit.records import STORE_DELETE, Change, Lease, Status, StoreOutcome
from audit.scope import Data
from audit.waiting import stopped
from stacks.errors import StoresError
from stacks.program import RunOptions


@dataclass(frozen=True)
class Execution:
    """The work on one plan, under leases that are held. Not to be used twice."""

    context: RunContext
    observation: Observation
    stores: tuple[StorePlan, ...]
    health: Health
    leases: Sequence[Lease]
    _began: dict[str, float] = field(default_factory=dict)

    def carry_out(self, admitted: tuple[Change, ...]) -> dict[str, StoreOutcome]:
        """Run the engine over every cell with admitted changes, wait for its stores; return an outcome for each.

        The intents are committed, so each has its outcome on record, whichever of our errors is raised. A defect leaves
        them open, as a kill does: the next run settles them by looking.
        """
        outcomes: dict[str, StoreOutcome] = {}
        try:
            outcomes |= last_backups.take(self.context, admitted, self.leases) | images.behind(
                self.context, self.observation, admitted
            )
            outcomes |= database_servers.before_another(self.context, self.observation, admitted, self.leases, outcomes)
            outcomes |= self._data_first(admitted)
            going = tuple(change for change in admitted if change.store_id not in outcomes)
            options = passes.options_of(self.context, self.observation, self.stores, going)
            for cell in sorted({change.cell for change in going}):
                mine = {change.store_id: change for change in going if change.cell == cell}
                for store_id, change in mine.items():
                    self._began.setdefault(store_id, time.monotonic())
                    self._tell_begun(change, "Deleting" if change.action == STORE_DELETE else "Provisioning")
                outcomes |= self._in_cell(cell, options, mine)
        except StoresError as error:
            rest = {change.store_id: self._not_done(change.store_id, error) for change in admitted}
            done = self._with_data({**rest, **outcomes})
            bookkeeping.settle(self.context, self.observation, done, after=error)
            raise
        return self._with_data(outcomes)

    def elapsed_s(self) -> dict[str, float]:
        """Return how long ago the work on each store began."""
        return {store_id: time.monotonic() - began for store_id, began in self._began.items()}

    @property
    def _data(self) -> Data | None:
        """What is done to the data of the run's one store, if it is about that."""
        return None if self.context.scope is None else self.context.scope.data

    def _data_first(self, admitted: tuple[Change, ...]) -> dict[str, StoreOutcome]:
        """Do what comes before the engine's work; return the outcomes of stores that it must not go on with."""
        data = self._data
        outcomes: dict[str, StoreOutcome] = {}
        for change in admitted if data is not None else ():
            self._began[change.store_id] = time.monotonic()
            # Whatever comes now, the store is not as it was before.
            self.context.touched.add(change.store_id)
            self._tell_begun(change, "Provisioning")
            outcome = data.before_engine() if data is not None else None
            if outcome is not None:
                outcomes[change.store_id] = outcome
        return outcomes

    def _with_data(self, outcomes: dict[str, StoreOutcome]) -> dict[str, StoreOutcome]:
        """Return the outcomes with what was done to the data."""
        if self._data is None:
            return outcomes
        told = self._data.told
        return {
            store_id: replace(outcome, metadata={**outcome.metadata, **told}) for store_id, outcome in outcomes.items()
        }

    def _tell_begun(self, change: Change, status: Status) -> None:
        self.context.tell(change.store_id, change.action.removeprefix("store.").replace("_", " "), status)

    def _in_cell(self, cell: str, options: RunOptions, mine: Mapping[str, Change]) -> dict[str, StoreOutcome]:
        context, observation = self.context, self.observation
        if context.cancelled.is_set():
            return {store_id: stopped(store_id, reached_engine=False) for store_id in mine}
        leaving = passes.leaving_in(mine.values())
        staying = [store_id for store_id in mine if store_id not in leaving]
        pending_releases.settle(context, observation, staying)
        options = replace(options, taken_over=unnoted.parts(context, observation, cell, staying))
        broken = [store_id for store_id, change in mine.items() if self.health.is_broken(observation, change)]
        if broken:
            again = self._ready_for_repair(cell, broken)
            options = replace(options, marked={**dict.fromkeys(again, f"{context.run_id} repairs"), **options.marked})
        result = passes.Passes(context, observation, cell, mine).over(options)
        if result.cancelled:
            # A step that was under way ends as a failure of the engine's, but it did not fail: it was stopped.
            return {
                store_id: stopped(
                    store_id,
                    result.failures.get(store_id),
                    deleting=store_id in leaving,
                    reached_engine=result.began or store_id in context.touched,
                )
                for store_id in mine
            }
        for store_id in broken:
            # What the engine has put back, a pod that failed before it takes up at its next try only.
            repair.restart_stuck(context.cluster, store_id, context.tell)
        outcomes = self._outcomes(mine, result)
        if context.cancelled.is_set():
            return outcomes
        work = Work(observation, cell, options, mine, outcomes, result.failures)
        return outcomes | take_back(context, work)

    def _ready_for_repair(self, cell: str, store_ids: Sequence[str]) -> frozenset[str]:
        """Prepare the engine for stores that do not work; return those whose release has to be made again."""
        context = self.context
        lacking = repair.read_live(context.engine, context.cluster, cell, store_ids, context.tell)
        for store_id in store_ids:
            repair.restart_stuck(context.cluster, store_id, context.tell)
        return lacking

    def _outcomes(self, mine: Mapping[str, Change], result: EngineResult) -> dict[str, StoreOutcome]:
        """Return what became of each store that the engine is done with."""
        waiting = [change for change in mine.values() if change.store_id not in result.failures]
        found = [
            self._failed(mine[store_id], reason, result.given_up.get(store_id))
            for store_id, reason in result.failures.items()
            if store_id in mine
        ]
        if self._data is not None and waiting:
            self._data.started()
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            found.extend(pool.map(self._awaited, waiting))
        scope = self.context.scope
        return {outcome.store_id: outcome if scope is None else scope.named(outcome) for outcome in found}

    def _awaited(self, change: Change) -> StoreOutcome:
        waiting, settings = self.context.waiting, self.context.settings
        if change.action == STORE_DELETE:
            return waiting.until_gone(change.store_id, settings.deletion_timeout_seconds)
        outcome = waiting.until_sells(self.observation.desired[change.store_id], settings.ready_timeout_seconds)
        if outcome.outcome == "success" and images.is_changed(change):
            return waiting.until_database_fits(outcome)
        return outcome

    def _failed(self, change: Change, reason: str, known: str | None) -> StoreOutcome:
        """Return the outcome of a store that the engine could not bring up or remove, with the cluster's reasons.

        `known`: why it was given up, where it was.
        """
        if change.action == STORE_DELETE:
            left = self.context.waiting.what_is_left(change.store_id)
            return StoreOutcome(change.store_id, "failure", "Deleting", reason=left or reason)
        store = self.observation.desired[change.store_id]
        told = known or self.context.waiting.why_failed(store.store_id, store.host, reason)
        self.context.tell(store.store_id, told, "Failed")
        return StoreOutcome(store.store_id, "failure", "Failed", reason=told, url=store.url)

    def _not_done(self, store_id: str, error: StoresError) -> StoreOutcome:
        """Return the outcome of a change when the engine failed as a whole; an untouched store is as before."""
        row = self.observation.rows.get(store_id)
        touched = store_id in self.context.touched
        status: Status = "Failed" if touched or row is None else row.status
        return StoreOutcome(
            store_id,
            "failure",
            status,
            reason=str(error),
            url=None if row is None else row.url,
            reached_engine=touched,
        )
