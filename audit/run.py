"""One run of the gate, as a story: hold the cells, take stock, admit, carry out, settle, tell.

The order is the promise: nothing reaches the engine before its intent is committed, and no store is called Ready
before it answered. Each phase is a module of `audit.phases`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from audit import bookkeeping, results
from audit import observation as observations
from audit.context import RunContext
from audit.observation import Observation
from audit.phases import health, last_backups, stocktaking, tenure
from audit.phases.execution import Execution
from audit.phases.health import Health
from audit.records import Admission, Lease, RunRequest, StoreOutcome
from audit.results import RunResult
from audit.scope import Scope
from stacks.desired import Plans


@dataclass
class Run(RunContext):
    """One run. Not to be used twice."""

    def execute(self, request: RunRequest) -> RunResult:
        """Do it all. `request` comes without its changes."""
        with self.session(request) as leases:
            return self.carry_out(request, leases)

    @contextmanager
    def session(
        self, request: RunRequest | None = None, *, cells: Collection[str] | None = None
    ) -> Iterator[list[Lease]]:
        """Hold these cells, or every cell of the environment, and stop in order when a signal says so.

        What an earlier run could not write is on record before anything else is done, and the log's end is kept
        elsewhere before and after. With a request, who finds a cell held is told first what its key says.
        """
        keeper = bookkeeping.open_log(self)
        with tenure.held(self, request, cells) as leases, bookkeeping.on_record(self, keeper, leases):
            yield leases

    def carry_out(self, request: RunRequest, leases: Sequence[Lease], scope: Scope | None = None) -> RunResult:
        """Do it all, or what of it is in the scope, under leases that are held until this returns."""
        self.scope = scope
        observation = self.observe(leases)
        # Before the plan: what has become due since is no part of what was asked for under the key.
        if (earlier := self.ledger.replayed(request)) is not None:
            return results.of_replay(earlier)
        stores = observations.plan_stores(observation)
        answers = Health()
        if scope is None:
            answers = health.ask(self, observation, stores)
            stores = answers.take_up(stores)
        wanted, shown = last_backups.with_skipped(self, observations.changes_of(observation, stores)), stores
        if scope is None:
            stocktaking.begin_grace(self, observation, stores)
        else:
            wanted, shown = scope.narrowed(wanted), scope.within(stores)
        last_backups.prepare(self, observation)
        if not wanted:
            return health.nothing_to_do(self, observation, shown, answers)
        admission = self.ledger.admit(replace(request, changes=wanted, leases=tuple(leases)))
        if admission.replayed is not None:
            return results.of_replay(admission.replayed)
        self._tell_denied(observation, admission)
        work = Execution(self, observation, stores, answers, leases)
        outcomes = work.carry_out(admission.admitted)
        if outcomes:
            bookkeeping.settle(self, observation, outcomes)
        return results.of_work(
            self.run_id,
            observation,
            shown,
            admission=admission,
            outcomes=outcomes,
            elapsed_s=work.elapsed_s(),
        )

    def observe(self, leases: Sequence[Lease]) -> Observation:
        """Return what there is, after the checks that come before any change."""
        return stocktaking.take(self, leases)

    def put_on_record(self, run_id: str, outcome: StoreOutcome, done: str) -> None:
        """Put the outcome of one store on record; `done` says what was done to it, whatever the database says."""
        bookkeeping.put_on_record(self, run_id, outcome, done)

    def until_sells(self, store_id: str) -> StoreOutcome:
        """Return Ready once a store of the manifest sells, or Failed with why it does not."""
        store = self.manifest.store(store_id)
        assert store is not None  # noqa: S101 - its caller has found it there
        wanted = Plans(self.root, self.settings).desired(store)
        return self.waiting.until_sells(wanted, self.settings.ready_timeout_seconds)

    def _tell_denied(self, observation: Observation, admission: Admission) -> None:
        for denial in admission.denied:
            store_id = denial.change.store_id
            self.tell(store_id, str(denial.problem), None if store_id in observation.rows else "Pending")
