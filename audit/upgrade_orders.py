"""An upgrade or a rollback as somebody asked for it: by whom, under which key, and what it takes from the gate.

`audit.upgrade_plan` says what is to be done, `audit.upgrades` does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from audit import backups, idempotency, replays
from audit.records import Actor, Lease, RunRequest
from audit.results import ProgressEvent, Report
from audit.rewinds import Rewind
from audit.run import Run
from audit.upgrade_plan import Kind, Step, UpgradePlan
from audit.upgrade_results import UpgradeResult, answered
from audit.upgrades import Upgrade
from stacks.errors import UsageError

if TYPE_CHECKING:
    from audit.gate import Gate

_OF_A_RUN: Final = 10_000
"""More entries than one run can write."""


@dataclass(frozen=True)
class UpgradeOrder:
    """One request. `asked` is what was asked for before it was planned; by it, it is told from others under its key."""

    gate: Gate
    kind: Kind
    actor: Actor
    report: Report
    idempotency_key: str | None
    asked: Mapping[str, object] | None
    reason: str | None = None
    overwrite_drift: bool = False

    def carry_out(self, plan: UpgradePlan) -> UpgradeResult:
        """Carry it out as planned; what went wrong with single stores is in the result.

        Raises UsageError before anything is changed where a backup is to be taken and the environment makes none.
        """
        if plan.backup and plan.steps:
            self._require_backups()

        def prepare(step: Step) -> Mapping[str, object]:
            if not plan.backup or plan.restore is not None:
                return {}  # a rollback with its data takes one when nobody can buy any more
            return {"backup": self._backed_up(step)}

        def rewind(run: Run, leases: Sequence[Lease], step: Step, write: Callable[[], None]) -> Rewind:
            assert plan.restore is not None  # noqa: S101 - else it is not called
            return Rewind(
                self.gate, self.actor, self.report, run, leases, step, plan.restore, write, keep_undo=plan.backup
            )

        gate = self.gate
        before = gate.ledger.parts_done(self._request(self._start()))
        upgrade = Upgrade(
            gate.root, gate.engine, gate.cluster, plan, self._start, self._request, prepare, self.report, before
        )
        upgrade.rewind = None if plan.restore is None else rewind
        return upgrade.carry_out()

    def done(self) -> UpgradeResult | None:
        """Return the result where it has succeeded under its key; None if it may be made.

        To be asked before it is planned: what is there to do is another thing once it was done.
        Raises UsageError for a key that was used for another request, LockedError if the same one is in flight.
        """
        run, ledger = self._start(), self.gate.ledger
        earlier = replays.earlier(self.gate, run, self._request(run))
        if earlier is None:
            return None
        environment = self.gate.environment
        entries = [
            entry
            for run_id in earlier.run_ids
            for entry in ledger.entries(environment, run_id=run_id, limit=_OF_A_RUN, ascending=True)
        ]
        return answered(environment, self.kind, earlier, entries)

    def _start(self) -> Run:
        return self.gate.new_run(self.actor, self.report, overwrite_drift=self.overwrite_drift)

    def _request(self, run: Run) -> RunRequest:
        said = None if self.asked is None else idempotency.asked(self.kind, **self.asked)
        return self.gate.request_of(run.manifest, run.run_id, self.actor, self.reason, self.idempotency_key, asked=said)

    def _backed_up(self, step: Step) -> str:
        """Return the id of a new backup of a store."""

        def tell(text: str) -> None:
            self.report(ProgressEvent(step.store_id, text))

        note = self.reason or f"before the {self.kind} to image {step.after}"
        tell("taking a backup")
        return backups.take(self.gate, step.store_id, "pre-upgrade", actor=self.actor, note=note, tell=tell)

    def _require_backups(self) -> None:
        """Raise UsageError where no backup could be taken."""
        try:
            backups.server_of(self.gate)
        except UsageError as error:
            problem = error.problems[0]
            raise UsageError(
                f"stores {self.kind}",
                f"no backup can be taken before: {problem.where} {problem.what}",
                f"{problem.cure}; or pass --no-backup to go on without one",
            ) from None
