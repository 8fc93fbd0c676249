"""A shop's data set back to the backup of an earlier version, between the intent of a rollback and the engine's work.

Old code must never run on a database that newer code has updated, nor newer code on the one that is put back. So there
is no web pod from before the first change until the engine starts those of the old image. What is there is backed up
when nobody can buy any more, so that the way back has everything. Until the data is whole the shop is closed, and every
run leaves it so; from then on the manifest names the old image, and every run goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from audit import backups
from audit import schema as schemas
from audit.backups import Snapshot, Tell
from audit.closed import Closed
from audit.records import Actor, Lease, Settled, StoreOutcome
from audit.replacement import Replacement, touches
from audit.results import ProgressEvent, Report
from audit.run import Run
from audit.upgrade_plan import Step, UpgradePlan
from stacks.errors import RefusedError, StoresError, UsageError

if TYPE_CHECKING:
    from audit.gate import Gate

BEFORE_UPGRADE: Final = "pre-upgrade"


def with_data(gate: Gate, plan: UpgradePlan, tell: Tell) -> UpgradePlan:
    """Return the rollback with the backup that it puts back: the newest that an upgrade took from that image.

    Raises UsageError where the database is as the image needs it, so that nothing has to be lost, and RefusedError
    where there is no such backup.
    """
    (step,) = plan.steps
    where = f"store '{step.store_id}'"
    if schemas.crossing(schemas.ask(gate.cluster, step.store_id), step.after) is None:
        raise UsageError(
            where,
            f"its database is as image {step.after} needs it, so no backup has to be put back",
            "leave --restore-backup out; then nothing is lost",
        )
    server = backups.server_of(gate)
    server.ensure(backups.known_ids(gate))
    return replace(plan, restore=chosen(backups.listed(server, step.store_id, tell=tell), step))


def chosen(snapshots: list[Snapshot], step: Step) -> Snapshot:
    """Return the newest snapshot that was taken before an upgrade from the image that is gone back to."""
    made_with = f"wordpress:{step.after}"
    for snapshot in sorted(snapshots, key=lambda one: one.taken_at, reverse=True):
        if snapshot.reason == BEFORE_UPGRADE and made_with in snapshot.versions:
            return snapshot
    raise RefusedError(
        f"store '{step.store_id}'",
        f"there is no backup that was taken before an upgrade from image {step.after}",
        f"see `stores backups {step.store_id}` for what there is, or upgrade to a newer image that corrects the fault",
    )


@dataclass
class Rewind:
    """One store's data, set back in one run. Not to be used twice."""

    gate: Gate
    actor: Actor
    report: Report
    run: Run
    leases: Sequence[Lease]
    step: Step
    snapshot: Snapshot
    write: Callable[[], None]
    """Writes the old image into the manifest."""
    keep_undo: bool = True
    """Whether what is there is backed up first."""
    undo: str | None = None
    """The snapshot of what was there before."""
    is_back: bool = False
    """Whether the data is the snapshot's."""
    _replicas: int = 1
    _images: Mapping[str, str] = field(default_factory=dict)
    """Those of a restore before the engine's work, by container."""
    _replacement: Replacement = field(init=False)

    def __post_init__(self) -> None:
        """Work for the run: stop where it is stopped."""
        self._replacement = Replacement(self.gate.cluster, self.report, self.run.cancelled)

    @property
    def told(self) -> dict[str, object]:
        """Return what the audit log keeps of it with the outcome."""
        known: dict[str, object] = {"snapshot": self.snapshot.id}
        return known if self.undo is None else {**known, "undo": self.undo}

    def before_engine(self) -> StoreOutcome | None:
        """Set the data back; return None where the engine is to go on, else what became of the store."""
        store_id, broken_off = self.step.store_id, None
        try:
            broken_off = Closed.of(self._replacement.web(store_id))
            # Asked before anything is touched: the chart may be one that makes no backups.
            job = backups.job_of(self.gate.cluster, store_id, "restore", {})
            pod = job["spec"]["template"]["spec"]
            self._images = {one["name"]: one["image"] for one in [*pod["initContainers"], *pod["containers"]]}
        except StoresError as error:
            return self._failed(str(error), touched=broken_off is not None)
        if broken_off is None:
            why = self._closed()
        else:
            self._tell("an earlier try broke off; what is there now is not kept")
            why, self.undo = None, broken_off.undo
            self._replicas = broken_off.replicas
        if why is not None:
            return self._failed(why, touched=False)
        return self._set_back(broken_off)

    def started(self) -> None:
        """Let there be as many web pods as there should be, if the engine has not seen to it, and backups again."""
        now = int(self._replacement.web(self.step.store_id)["spec"].get("replicas", 1))
        self._replacement.open(self.step.store_id, now or self._replicas)

    def taken_back(self) -> str | None:
        """Make the data again what it was before; return why that cannot be, or None where it is so."""
        store_id, undo = self.step.store_id, self.undo
        if not self.is_back:
            return None
        if undo is None:
            return f"no backup was taken of what was there before, so its data stays that of {self._named}"
        self._tell(f"putting back what was there before (snapshot {undo[:8]})")
        try:
            self._replacement.close(store_id, self.run.run_id, undo)
            before = replace(self.snapshot, id=undo, reason="pre-restore")
            # The release names the image that did not come up, and perhaps cannot even be pulled.
            result = self._replacement.load(store_id, store_id, before, backups.server_of(self.gate), self._images)
            if result.succeeded:
                self.is_back = False
                self._replacement.open(store_id, 0)
                return None
            why = result.reason or "it failed"
        except StoresError as error:
            why = str(error)
        return f"what was there before could not be put back: {why}; {self._way_back(undo)}"

    def _closed(self) -> str | None:
        """Leave no web pod, and a backup of what there is; return why that cannot be."""
        store_id = self.step.store_id
        try:
            # Without the mark yet: nothing is touched, so a run that finds it so may open it again.
            self._replicas = self._replacement.close(store_id, self.run.run_id, None, marked=False)
            if self.keep_undo:
                note = f"before {self.run.run_id} sets its data back"
                self.undo = backups.taken(self.run, self.leases, store_id, "pre-restore", note=note)
        except StoresError as error:
            return str(error)
        return None

    def _set_back(self, broken_off: Closed | None) -> StoreOutcome | None:
        store_id, touched = self.step.store_id, broken_off is not None
        try:
            if broken_off is None:
                self._replacement.scale(store_id, 0, Closed(self.run.run_id, self.undo, self._replicas).mark)
            else:
                self._replacement.close(store_id, self.run.run_id, self.undo)
            # From here on whatever is not known may have been touched.
            touched = True
            result = self._replacement.load(store_id, store_id, self.snapshot, backups.server_of(self.gate))
            touched = broken_off is not None or touches(result)
            if not result.succeeded:
                return self._failed(result.reason or "the restore failed", touched=touched)
            self.is_back = True
            self.write()
            # The mark goes last: a run that finds no mark finds data and manifest that fit each other.
            self._replacement.open(store_id, 0)
        except StoresError as error:
            return self._failed(str(error), touched=touched)
        self._tell(f"its data is that of {self._named}")
        return None

    def _failed(self, why: str, *, touched: bool) -> StoreOutcome:
        """Return that it did not work. Where nothing was touched the shop is open again; else it stays closed."""
        store_id = self.step.store_id
        kind: Settled = "cancelled" if self.run.cancelled.is_set() else "failure"
        if touched:
            told = f"{why}; {self._way_back(self.undo)}"
            self._tell(told)
            return StoreOutcome(store_id, kind, "Failed", reason=told)
        told = f"nothing was changed: {why}"
        try:
            self.started()
            outcome = self.run.until_sells(store_id)
        except StoresError as error:
            return StoreOutcome(store_id, kind, "Failed", reason=f"{told}; opening it: {error}")
        return replace(outcome, outcome=kind, reason=f"{told}; {outcome.reason}" if outcome.reason else told)

    def _way_back(self, undo: str | None) -> str:
        store_id, revision = self.step.store_id, self.step.revision
        before = f", or `stores restore {store_id} --at {undo[:8]}` for what was there before" if undo else ""
        again = f"stores rollback {store_id} {revision} --restore-backup"
        return f"it stays closed until its data is whole: `{again}` again{before}"

    @property
    def _named(self) -> str:
        return f"snapshot {self.snapshot.short_id} of {self.snapshot.taken_at:%Y-%m-%dT%H:%M:%SZ}"

    def _tell(self, text: str) -> None:
        self.report(ProgressEvent(self.step.store_id, text))


def facts(snapshot: Snapshot) -> Mapping[str, object]:
    """Return what the audit log keeps of it with the intent."""
    return {"snapshot": snapshot.id, "taken_at": snapshot.taken_at.isoformat()}
