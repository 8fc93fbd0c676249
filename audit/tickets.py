"""Changes that a plain `pulumi up` makes with the gate's leave: admitted here, made elsewhere, settled here again.

The run of a ticket holds its cells' leases until it is closed or the ticket ends, so nobody changes them meanwhile.
What was done is found by looking, as of any run that ended without saying so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from audit import aftermath, bookkeeping, replays
from audit import observation as observations
from audit.observation import Observation
from audit.phases import tenure
from audit.plan import Action, StorePlan
from audit.records import TICKET_CLOSE, Admission, Lease, RunRequest, StoreOutcome
from audit.results import RunResult, StoreResult
from audit.run import Run
from stacks import platform_key
from stacks.errors import OverLimitError, Problem, RefusedError, StoreFailedError, StoresError
from stacks.ticket import Ticket

LONGEST_S = 4 * 3600


@dataclass(frozen=True)
class Issued:
    """What came of asking for a ticket.

    `ticket` None: there was nothing to admit, or the same request has had its ticket, which was closed.
    """

    ticket: Ticket | None
    admission: Admission
    error: StoresError | None = None


class TicketRun(Run):
    """The run of one ticket."""

    def issue(self, request: RunRequest, file: Path, valid_s: int) -> Issued:
        """Admit what the manifest asks for, and leave a ticket for it in `file`. The cells stay held for `valid_s`.

        A removal is never admitted: only the gate takes the protection from a store. Raises before anything is
        changed, as `execute` does.
        """
        keeper = bookkeeping.open_log(self)
        leases = tenure.acquired(self, self.run_id, valid_s, request)
        issued = Issued(None, Admission((), ()))
        try:
            with bookkeeping.on_record(self, keeper, leases):
                issued = self._issued(request, file, leases)
            return issued
        finally:
            if issued.ticket is None:
                tenure.give_back(self, leases)

    def _issued(self, request: RunRequest, file: Path, leases: list[Lease]) -> Issued:
        observation = self.observe(leases)
        if (earlier := self.ledger.replayed(request)) is not None:
            return Issued(None, Admission((), (), earlier))
        stores = observations.plan_stores(observation)
        going = [store for store in stores if store.action is not Action.DELETE]
        changes = observations.changes_of(observation, going)
        if not changes:
            return Issued(None, Admission((), ()))
        admission = self.ledger.admit(replace(request, changes=changes, leases=tuple(leases)))
        refusal = OverLimitError.of([denial.problem for denial in admission.denied]) if admission.denied else None
        if not admission.admitted:  # denied, or answered for its key
            return Issued(None, admission, refusal)
        ticket = self._ticket(observation, stores, admission, leases)
        try:
            ticket.write(file, platform_key.load(self.root, self.settings))
        except BaseException:
            self._give_up(observation, admission, leases)
            raise
        return Issued(ticket, admission, refusal)

    def close(self, ticket: Ticket, request: RunRequest) -> RunResult:
        """Put on record what was done with a ticket, and give its cells back. Closing it again changes nothing."""
        leases = tenure.acquired(self, ticket.run_id, tenure.LEASE_S, request)
        try:
            if (earlier := replays.claimed(self, request)) is not None:
                return earlier
            observation = observations.observe(self.root, self.settings, self.manifest, self.engine, self.ledger)
            observations.refuse_other_cluster(self.settings, self.cluster, observation)
            settled: list[StoreOutcome] = []
            for run in self.ledger.open_runs(self.settings.environment):
                if run.run_id == ticket.run_id:
                    settled = aftermath.outcomes(run, observation, self.cluster, self.entrance)
                    self.ledger.settle(run.run_id, settled, leases=leases)
                    done = {outcome.store_id: outcome for outcome in settled if outcome.outcome == "success"}
                    bookkeeping.record_cells(self, observation, done)
            return replays.keep(self, request, TICKET_CLOSE, _result(ticket.run_id, observation, settled))
        finally:
            tenure.give_back(self, leases)

    def _ticket(
        self, observation: Observation, stores: tuple[StorePlan, ...], admission: Admission, leases: list[Lease]
    ) -> Ticket:
        admitted = frozenset(change.store_id for change in admission.admitted)
        withheld, frozen = observations.restrained(observation, stores, admitted)
        return Ticket(
            environment=self.settings.environment,
            run_id=self.run_id,
            manifest_digest=self.manifest.digest,
            cluster_uid=self.cluster.uid,
            cells=tuple(sorted({change.cell for change in admission.admitted})),
            withheld=tuple(sorted(withheld)),
            frozen=frozen,
            # A little less than the leases, so that no engine begins at their very end.
            expires_at=min(lease.expires_at for lease in leases) - timedelta(seconds=5),
        )

    def _give_up(self, observation: Observation, admission: Admission, leases: list[Lease]) -> None:
        """Record that nothing came of what was admitted; each store is what it was."""
        outcomes = []
        for change in admission.admitted:
            row = observation.rows.get(change.store_id)
            status = "Failed" if row is None else row.status
            reason = "its ticket could not be written"
            outcomes.append(StoreOutcome(change.store_id, "cancelled", status, reason=reason, reached_engine=False))
        self.ledger.settle(self.run_id, outcomes, leases=leases)


def check_validity(valid_s: int) -> None:
    """Raise RefusedError for a ticket that would hold its cells for too long."""
    if not 0 < valid_s <= LONGEST_S:
        limit = f"{LONGEST_S // 60} minutes"
        raise RefusedError("--valid", f"{valid_s // 60} minutes is not between 1 and {limit}", "take less")


def _result(run_id: str, observation: Observation, settled: list[StoreOutcome]) -> RunResult:
    results = []
    for outcome in settled:
        applied = observation.applied(outcome.store_id)
        action = Action.UPDATE if applied is not None else Action.CREATE
        results.append(
            StoreResult(outcome.store_id, action, outcome.status, outcome.url, outcome.reason, 0.0, outcome.content)
        )
    problems = [
        Problem(f"store '{outcome.store_id}'", outcome.reason or outcome.status, "run `stores up`")
        for outcome in settled
        if outcome.outcome != "success"
    ]
    error = StoreFailedError.of(problems) if problems else None
    return RunResult(run_id, tuple(results), nothing_to_do=not settled, exit_error=error)
