"""Upgrades and rollbacks carried out: a dump, the manifest, the engine, the answer; batch after batch.

The manifest is written before the engine starts, so that whoever runs `stores up` meanwhile or after a crash goes the
same way, and set right again after what really happened. A failure ends the whole: what has not begun stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from audit import schema as schemas
from audit.backups import Snapshot
from audit.engine.driver import Engine
from audit.records import PART, STORE_ROLLBACK, STORE_UPGRADE, Lease, RunRequest
from audit.results import ProgressEvent, Report, RunResult, StoreResult
from audit.rewinds import Rewind, facts
from audit.run import Run
from audit.scope import Scope
from audit.upgrade_plan import Step, UpgradePlan
from audit.upgrade_results import StoreUpgrade, UpgradeResult
from stacks.cluster import Cluster
from stacks.errors import LockedError, Problem, RefusedError, StoreFailedError, StoresError
from stacks.manifest_file import ManifestFile

ACTIONS: Final = {"upgrade": STORE_UPGRADE, "rollback": STORE_ROLLBACK}
_TRIES: Final = 5

Prepare = Callable[[Step], Mapping[str, object]]
"""Called with each step before its batch begins; returns what the audit log is to keep of it, such as a backup's id."""

MakeRewind = Callable[[Run, Sequence[Lease], Step, Callable[[], None]], Rewind]
"""Returns what sets a store's data back in a run; called with what writes the old image into the manifest."""


@dataclass
class Upgrade:
    """One upgrade or rollback. Not to be used twice."""

    root: Path
    engine: Engine
    cluster: Cluster
    plan: UpgradePlan
    start: Callable[[], Run]
    """Returns a run that has not begun, with the manifest as it is on disk."""
    request: Callable[[Run], RunRequest]
    """Returns a run's request without its changes; every batch's is a part of the same one."""
    prepare: Prepare
    report: Report
    before: tuple[str, ...] = ()
    """The runs that have done parts of the same request, under its idempotency key."""
    rewind: MakeRewind | None = None
    """Set where the plan puts a backup back."""
    _done: list[StoreUpgrade] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)

    def carry_out(self) -> UpgradeResult:
        """Do it batch after batch, until all is done or something fails.

        Raises what keeps a batch from beginning at all; what was done until then is in the ledger, and told.
        """
        batches = self.plan.batches
        for number, batch in enumerate(batches):
            waiting = tuple(step.store_id for later in batches[number + 1 :] for step in later)
            if len(batches) > 1:
                names = ", ".join(step.store_id for step in batch)
                self._tell(f"batch {number + 1} of {len(batches)}{' (the canary)' if number == 0 else ''}: {names}")
            try:
                result = self._batch(batch, more=bool(waiting or self.plan.left_out))
            except StoresError:
                if self._done:
                    self._tell(f"done so far: {', '.join(store.store_id for store in self._done)}")
                raise
            if result.exit_error is not None:
                return self._ended(result.exit_error, waiting)
        problems = self.plan.left_out
        return self._ended(StoreFailedError.of(problems) if problems else None, ())

    def _batch(self, batch: Sequence[Step], *, more: bool) -> RunResult:
        kept = {step.store_id: dict(self.prepare(step)) for step in batch}
        run = self.start()
        before: dict[str, str | None] = {}
        data = None
        if self.plan.restore is not None:
            run.replaces_data = frozenset(step.store_id for step in batch)
        with run.session(self.request(run)) as leases:
            if self.rewind is None:
                refuse_crossing(self.cluster, self.plan, batch)
            try:
                if self.rewind is None:
                    before.update(self._write(batch))
                    run.manifest = self.start().manifest
                else:
                    # The file says so once the data is that of the image: until then a run must not bring it about.
                    (step,) = batch
                    run.manifest = self.start().manifest.with_image_tag(step.store_id, step.after)
                    data = self.rewind(run, leases, step, lambda: before.update(self._write(batch)))
                request = replace(self.request(run), follows=self.before[-1] if self.before else None)
                part = {PART: {"before": list(self.before), "more": more}} if request.idempotency_key else {}
                of_each = {step.store_id: _metadata(step, kept, self.plan.restore) | part for step in batch}
                result = run.carry_out(request, leases, Scope(ACTIONS[self.plan.kind], of_each, data))
                self.before = (*self.before, result.run_id)
            finally:
                runs = self._set_right(batch, before, data)
        if data is not None and data.undo is not None:
            kept[batch[0].store_id]["backup"] = data.undo
        found = {store.store_id: store for store in result.stores}
        self._done.extend(
            _told(step, found.get(step.store_id), runs.get(step.store_id, step.before), result.run_id, kept)
            for step in batch
        )
        return result

    def _write(self, batch: Sequence[Step]) -> dict[str, str | None]:
        """Write the new image into the manifest; return what each block that was changed said before."""
        file = ManifestFile(self.root, self.plan.environment)
        before = {step.store_id: file.image_tag(step.store_id) for step in batch}
        changed = {step.store_id: file.set_image_tag(step.store_id, step.after) for step in batch}
        if file.save():
            self._tell(f"{file.document.where}: image.tag {batch[0].after} for {', '.join(before)}")
        return {store_id: tag for store_id, tag in before.items() if changed[store_id]}

    def _set_right(
        self, batch: Sequence[Step], before: Mapping[str, str | None], data: Rewind | None
    ) -> dict[str, str]:
        """Make the manifest say what the stores were brought to; return that, by store.

        Only what this upgrade has written is changed, and only where nobody has changed it again meanwhile. Where the
        data was set back, the manifest keeps the image of that data, though it may not run yet.
        """
        try:
            runs = self._applied(batch)
        except StoresError as error:
            self._note(f"the manifest names image {batch[0].after}; whether the stores run it is not known: {error}")
            return {}
        wrong = [step for step in batch if step.store_id in before and runs.get(step.store_id) != step.after]
        if wrong and data is not None and data.is_back:
            self._note(
                f"the manifest names image {batch[0].after}, of which its data is now: once the cause is corrected, "
                "`stores up` goes on"
            )
            return runs
        for _ in range(_TRIES if wrong else 0):
            file = ManifestFile(self.root, self.plan.environment)
            for step in wrong:
                if file.image_tag(step.store_id) == step.after:
                    file.set_image_tag(step.store_id, before[step.store_id])
            try:
                written = file.save()
            except LockedError:
                continue
            if written:
                self._tell(f"{file.document.where}: set back for {', '.join(step.store_id for step in wrong)}")
            return runs
        if wrong:
            self._note(f"the manifest still names image {batch[0].after} for stores that do not run it; set it back")
        return runs

    def _applied(self, batch: Sequence[Step]) -> dict[str, str]:
        found: dict[str, str] = {}
        for cell in sorted({step.cell for step in batch}):
            applied = self.engine.snapshot(cell).applied
            for step in batch:
                if step.cell == cell and step.store_id in applied:
                    found[step.store_id] = str(applied[step.store_id]["release"]["values"]["image"]["tag"])
        return found

    def _ended(self, error: StoresError | None, waiting: tuple[str, ...]) -> UpgradeResult:
        if error is not None and waiting:
            command = f"stores upgrade {' '.join(waiting)} --image-tag {self.plan.tag}"
            problems = (
                *error.problems,
                Problem(
                    f"{len(waiting)} stores",
                    "were not begun, because of that; they run what they ran before",
                    f"once the cause is corrected: {command}",
                ),
            )
            error = type(error).of(problems)
        return UpgradeResult(self.plan, tuple(self._done), waiting, tuple(self._notes), error)

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._tell(text)

    def _tell(self, text: str) -> None:
        self.report(ProgressEvent(None, text))


def refuse_crossing(cluster: Cluster, plan: UpgradePlan, steps: Sequence[Step] | None = None) -> None:
    """Raise RefusedError where old code would run on a database that was updated since, of these steps or of all.

    A rollback to an image of which nothing is known is refused too; an upgrade to one is what upgrades are.
    """
    for step in plan.steps if steps is None else steps:
        schema = schemas.ask(cluster, step.store_id)
        why = schemas.crossing(schema, step.after) if plan.kind == "rollback" else schemas.behind(schema, step.after)
        if why is not None:
            again = f"`stores rollback {step.store_id}{_revision(step)} --restore-backup`"
            raise RefusedError(
                f"store '{step.store_id}'",
                f"image {step.after} cannot be gone back to alone: {why}",
                f"{again} puts back the backup of before that upgrade with it, and loses what was sold since; or "
                "upgrade to a newer image that corrects the fault",
            )


def _revision(step: Step) -> str:
    return "" if step.revision is None else f" {step.revision}"


def _metadata(step: Step, kept: Mapping[str, Mapping[str, object]], restore: Snapshot | None) -> dict[str, object]:
    found: dict[str, object] = {"image": {"from": step.before, "to": step.after}, **kept[step.store_id]}
    if step.revision is not None:
        found["revision"] = step.revision
    return found if restore is None else {**found, **facts(restore)}


def _told(
    step: Step,
    result: StoreResult | None,
    runs: str,
    run_id: str,
    kept: Mapping[str, Mapping[str, object]],
) -> StoreUpgrade:
    backup = kept[step.store_id].get("backup")
    return StoreUpgrade(
        store_id=step.store_id,
        before=step.before,
        wanted=step.after,
        runs=runs,
        status="Pending" if result is None else result.status,
        reason=None if result is None else result.reason,
        url=None if result is None else result.url,
        content=None if result is None else result.content,
        elapsed_s=0.0 if result is None else result.elapsed_s,
        run_id=run_id,
        backup=None if backup is None else str(backup),
    )
