"""The gate: the one way to change an environment. It asks the limits, writes the audit trail, then runs the engine.

Fail closed: an intent is committed before the engine starts, and without the ledger nothing starts at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Self, TypeVar

from audit import admins, backup_ages, backups, idempotency, probe, rewinds
from audit import closed as closing
from audit import held as holding
from audit import observation as observations
from audit import target as targets
from audit.backup_ages import BackupAge
from audit.check import Check
from audit.doctor import Patient, examine
from audit.engine.driver import Engine
from audit.entrance import AT_ONCE, Entrance
from audit.judgement import Judged
from audit.ledger import Ledger
from audit.limits import Limits, own_limits
from audit.observation import Observation
from audit.plan import CHANGING, Plan, StorePlan, count_operations, limit_use
from audit.reconcile import Reconciliation, take_over
from audit.records import (
    LIMIT_OVERRIDE,
    STORE_CREDENTIALS_READ,
    STORE_DELETE,
    Actor,
    Lease,
    NewEntry,
    RunRequest,
    StoreRow,
    Usage,
)
from audit.results import ProgressEvent, Report, RunResult, StoreResult
from audit.rewinds import Rewind
from audit.run import Run
from audit.target import Target
from audit.tickets import Issued, TicketRun, check_validity
from audit.upgrade_plan import PARALLEL, Kind, Step, UpgradePlan, plan_rollback, plan_upgrade
from audit.upgrades import StoreUpgrade, Upgrade, UpgradeResult, answered, refuse_crossing
from audit.waiting import Waiting
from components import naming
from components.desired import DesiredStore
from stacks import manifest as manifests
from stacks import platform_key
from stacks import settings as settings_module
from stacks.cluster import Cluster
from stacks.desired import Plans, caps
from stacks.errors import LockedError, StoresError, UsageError
from stacks.manifest import Manifest
from stacks.program import RunOptions
from stacks.settings import Settings
from stacks.ticket import Ticket

ADMIN_USER = "admin"
_OF_A_RUN = 10_000
"""More entries than one run can write."""

AnyRun = TypeVar("AnyRun", bound=Run)


@dataclass(frozen=True)
class StoreStatus:
    """One store as people see it. `checked_at` is when it was last asked; `content` says what answered."""

    store_id: str
    name: str
    owner: str
    cell: str
    status: str
    url: str | None
    content: str | None
    since_at: datetime | None
    checked_at: datetime | None
    reason: str | None
    held: str | None = None
    """What somebody has done to its release by plain Helm, of a store that is held."""
    checks: tuple[probe.Check, ...] = ()
    """What the store was asked just now; empty unless that was wanted."""
    backup: BackupAge | None = None
    """Its last good backup; None where the environment makes none, or there is no store yet."""


@dataclass(frozen=True)
class Credentials:
    """How to sign in to a store as its administrator."""

    store_id: str
    url: str
    user: str
    password: str


class Gate:
    """One environment, opened. Close it, or use it as a context manager: it owns the engine's folder."""

    def __init__(self, root: Path, settings: Settings, target: Target, ledger: Ledger) -> None:
        self.root = root
        self.settings = settings
        self.target = target
        self.ledger = ledger
        self.cluster = Cluster(kubeconfig=target.kubeconfig, context=settings.context)
        self.entrance = Entrance.of(root, settings, target)
        self.stdout_taken = False
        """Whether stdout is for one document alone, so that anchors that were meant for it go to stderr."""
        self._resources = ExitStack()
        self.engine = self._resources.enter_context(Engine(root, settings, target))

    @classmethod
    def open(cls, root: Path, environment: str, *, cluster: str | None = None) -> Gate:
        """Return the gate of an environment. The cluster is not asked yet."""
        settings = settings_module.load(root, environment)
        target = targets.resolve(root, settings, cluster)
        return cls(root, settings, target, Ledger.open(target.ledger_url))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the engine's temporary folder."""
        self._resources.close()

    @property
    def environment(self) -> str:
        """The environment's name."""
        return self.settings.environment

    def manifest(self) -> Manifest:
        """Return the environment's manifest; raises ManifestError with every problem in it."""
        return manifests.load(self.root, self.environment, caps(self.root, self.settings))

    def plan(self, *, ask_engine: bool = True, overwrite_drift: bool = False) -> Plan:
        """Return what `up` would do, or would refuse; changes nothing.

        With `ask_engine`, the engine counts its operations too.
        """
        observation = self._looked(overwrite_drift=overwrite_drift)
        observations.check_identity(observation)
        if ask_engine:
            observations.refuse_other_key(self.root, self.settings, observation)
        planned = observations.plan_stores(observation)
        judged = self._judged(observation, planned)
        stores = self._with_denials(planned, judged)
        if ask_engine:
            stores = self._with_operations(observation, stores)
        uses = limit_use((item.claim for item in judged if item.verdict.allowed), self._usage(observation.manifest))
        refused = observations.dangers(stores, observation.manifest)
        return Plan(self.environment, self.cluster.address, stores, uses, refused)

    def up(
        self,
        *,
        actor: Actor,
        reason: str | None = None,
        idempotency_key: str | None = None,
        overwrite_drift: bool = False,
        override_limits: bool = False,
        without_final_backup: Collection[str] = (),
        report: Report = lambda _event: None,
    ) -> RunResult:
        """Bring every store to what the manifest says, within the limits, and put it on record.

        Held stores are left alone, unless `overwrite_drift` brings them back too.
        `without_final_backup` names tombstoned stores that may go although they cannot be backed up; in a protected
        environment raises RefusedError unless the actor is an admin.
        `override_limits`: past the limits, for the given reason; raises RefusedError unless the actor is an admin.

        Raises before anything was changed; what went wrong with single stores is in the result.
        """
        if override_limits:
            asked = NewEntry(actor, LIMIT_OVERRIDE, "denied", environment=self.environment, reason=reason)
            admins.require(self.settings.admins, "pass a limit", asked, self.ledger)
        if without_final_backup and self.settings.protected:
            facts = {"without_final_backup": sorted(without_final_backup)}
            asked = NewEntry(actor, STORE_DELETE, "denied", environment=self.environment, reason=reason, metadata=facts)
            admins.require(self.settings.admins, "remove a store without its last backup", asked, self.ledger)
        run = self._run(actor, report, Run, overwrite_drift=overwrite_drift)
        run.without_final_backup = frozenset(without_final_backup)
        said = idempotency.asked(
            "up",
            manifest=run.manifest.digest,
            overwrite_drift=overwrite_drift,
            override_limits=override_limits,
            without_final_backup=sorted(without_final_backup),
        )
        request = self.request_of(run.manifest, run.run_id, actor, reason, idempotency_key, asked=said)
        return run.execute(replace(request, override_reason=reason or "") if override_limits else request)

    def admit(
        self,
        file: Path,
        *,
        actor: Actor,
        valid_s: int,
        reason: str | None = None,
        idempotency_key: str | None = None,
        report: Report = lambda _event: None,
    ) -> Issued:
        """Admit what the manifest asks for, for one plain `pulumi up`, and leave the ticket in a new file.

        The cells stay held until the ticket is closed or has ended.
        """
        check_validity(valid_s)
        run = self._run(actor, report, TicketRun)
        asked = idempotency.asked("admit", manifest=run.manifest.digest, valid_s=valid_s)
        request = self.request_of(run.manifest, run.run_id, actor, reason, idempotency_key, asked=asked)
        return run.issue(request, file, valid_s)

    def close_ticket(self, file: Path, *, actor: Actor, report: Report = lambda _event: None) -> RunResult:
        """Put on record what was done with a ticket, and give its cells back."""
        ticket = Ticket.read(file, platform_key.load(self.root, self.settings))
        return self._run(actor, report, TicketRun).close(ticket)

    def reconcile(self, *, actor: Actor, report: Report = lambda _event: None) -> RunResult:
        """Settle what runs left open, by looking, and the status of every store. Changes no object of a store."""
        return self._run(actor, report, Reconciliation).settle_all()

    def plan_upgrade(
        self,
        tag: str,
        store_ids: Sequence[str] | None,
        *,
        canary: str | None = None,
        parallel: int = PARALLEL,
        backup: bool = True,
        overwrite_drift: bool = False,
    ) -> UpgradePlan:
        """Return what bringing stores to an image's tag would do; `store_ids` None: every store. Changes nothing."""
        observation = self._checked(overwrite_drift=overwrite_drift)
        return plan_upgrade(observation, tag, store_ids, canary=canary, parallel=parallel, backup=backup)

    def plan_rollback(
        self,
        store_id: str,
        revision: int | None,
        *,
        backup: bool = True,
        restore_backup: bool = False,
        overwrite_drift: bool = False,
        tell: Callable[[str], None] = lambda _text: None,
    ) -> UpgradePlan:
        """Return what going back to the image of an earlier Helm revision would do. Changes nothing.

        Raises RefusedError where the database was updated since, unless `restore_backup`: then the backup that the
        upgrade took is put back with it, and RefusedError is raised where there is none.
        """
        observation = self._checked(overwrite_drift=overwrite_drift)
        plan = plan_rollback(observation, self.cluster, store_id, revision, backup=backup, replaces_data=restore_backup)
        if restore_backup:
            return rewinds.with_data(self, plan, tell)
        refuse_crossing(self.cluster, plan)
        return plan

    def upgrade(
        self,
        plan: UpgradePlan,
        *,
        actor: Actor,
        reason: str | None = None,
        idempotency_key: str | None = None,
        asked: Mapping[str, object] | None = None,
        overwrite_drift: bool = False,
        report: Report = lambda _event: None,
    ) -> UpgradeResult:
        """Carry out an upgrade or a rollback as planned; what went wrong with single stores is in the result.

        `asked` is what was asked for, before it was planned; it tells the request from others under its key.

        Raises UsageError before anything is changed where a backup is to be taken and the environment makes none.
        """
        if plan.backup and plan.steps:
            _require_backups(self, plan)

        def start() -> Run:
            return self._run(actor, report, Run, overwrite_drift=overwrite_drift)

        said = None if asked is None else idempotency.asked(plan.kind, **asked)

        def request(run: Run) -> RunRequest:
            return self.request_of(run.manifest, run.run_id, actor, reason, idempotency_key, asked=said)

        def prepare(step: Step) -> Mapping[str, object]:
            if not plan.backup or plan.restore is not None:
                return {}  # a rollback with its data takes one when nobody can buy any more

            def tell(text: str) -> None:
                report(ProgressEvent(step.store_id, text))

            note = reason or f"before the {plan.kind} to image {step.after}"
            tell("taking a backup")
            return {"backup": backups.take(self, step.store_id, "pre-upgrade", actor=actor, note=note, tell=tell)}

        def rewind(run: Run, leases: Sequence[Lease], step: Step, write: Callable[[], None]) -> Rewind:
            assert plan.restore is not None  # noqa: S101 - else it is not called
            return Rewind(self, actor, report, run, leases, step, plan.restore, write, keep_undo=plan.backup)

        before = self.ledger.parts_done(request(start()))
        upgrade = Upgrade(self.root, self.engine, self.cluster, plan, start, request, prepare, report, before)
        upgrade.rewind = None if plan.restore is None else rewind
        return upgrade.carry_out()

    def upgrade_done(
        self, kind: Kind, *, actor: Actor, idempotency_key: str, asked: Mapping[str, object], report: Report
    ) -> UpgradeResult | None:
        """Return the result of an upgrade or a rollback that has succeeded under its key; None if it may be made.

        To be asked before it is planned: what is there to do is another thing once it was done.
        Raises UsageError for a key that was used for another request, LockedError if the same one is in flight.
        """
        run = self._run(actor, report, Run)
        said = idempotency.asked(kind, **asked)
        request = self.request_of(run.manifest, run.run_id, actor, None, idempotency_key, asked=said)
        try:
            earlier = self.ledger.replayed(request)
        except LockedError:
            with run.session(request) as leases:
                run.observe(leases)  # nobody holds the cells, so it crashed; now it is closed
            earlier = self.ledger.replayed(request)
        if earlier is None:
            return None
        entries = [
            entry
            for run_id in earlier.run_ids
            for entry in self.ledger.entries(self.environment, run_id=run_id, limit=_OF_A_RUN, ascending=True)
        ]
        return answered(self.environment, kind, earlier, entries)

    def new_run(self, actor: Actor, report: Report) -> Run:
        """Return a run that has not begun, with the manifest as it is on disk."""
        return self._run(actor, report, Run)

    def _looked(self, *, overwrite_drift: bool) -> Observation:
        """Return what there is, in the right cluster, with which stores are held."""
        observation = self._observe(self.manifest())
        self.check_cluster(observation)
        return observations.with_held(observation, self.cluster, overwrite=overwrite_drift)

    def _checked(self, *, overwrite_drift: bool) -> Observation:
        """Return what there is; raises ManifestError or RefusedError for what no run would do."""
        observation = self._looked(overwrite_drift=overwrite_drift)
        observations.check(observation)
        return observation

    def take_over(self, *, actor: Actor, report: Report = lambda _event: None) -> RunResult:
        """Rebuild a lost state from the live objects of the manifest's stores; nothing in the cluster changes."""
        return take_over(self._run(actor, report, Run))

    def _run(self, actor: Actor, report: Report, kind: type[AnyRun], *, overwrite_drift: bool = False) -> AnyRun:
        return kind(
            root=self.root,
            settings=self.settings,
            manifest=self.manifest(),
            ledger=self.ledger,
            engine=self.engine,
            cluster=self.cluster,
            entrance=self.entrance,
            actor=actor,
            report=report,
            overwrite_drift=overwrite_drift,
            stdout_taken=self.stdout_taken,
        )

    def status(self, *, deep: bool = False, unsure: Callable[[str], None] = lambda _: None) -> list[StoreStatus]:
        """Return every store that the manifest or the ledger knows; `deep` asks each of them now.

        Which are held, and how old the last backups are, is asked now in any case. Where that cannot be asked, it is
        told by `unsure`, or by the age itself, and the rest is what the ledger knows.
        """
        manifest = self.manifest()
        rows = {row.store_id: row for row in self.ledger.stores(self.environment)}
        # Both ask the cluster; one that does not answer is waited for once.
        with ThreadPoolExecutor(max_workers=1) as beside:
            asked = beside.submit(backup_ages.of_all, self)
            held = self._held(manifest, rows, unsure)
            ages = {age.store_id: age for age in asked.result()}
        found = [
            replace(_status(store_id, rows.get(store_id), manifest), held=held.get(store_id), backup=ages.get(store_id))
            for store_id in _order(manifest, rows)
        ]
        if not deep:
            return found
        wanted = Plans(self.root, self.settings).of(manifest)
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            return list(pool.map(lambda status: self._asked(status, wanted.get(status.store_id)), found))

    def credentials(self, store_id: str, *, actor: Actor) -> Credentials:
        """Return how to sign in to a store. The reading is on record before the password is shown."""
        row = next((row for row in self.ledger.stores(self.environment) if row.store_id == store_id), None)
        if row is None:
            raise UsageError(f"store '{store_id}'", "there is no such store", "see `stores list` for the ids")
        secret = self.cluster.secret(naming.namespace(store_id), naming.credentials_secret(store_id))
        if secret is None or "wordpress-password" not in secret:
            raise UsageError(
                f"store '{store_id}'", f"it has no credentials yet (it is {row.status})", "run `stores up`"
            )
        self.ledger.record(
            NewEntry(
                actor=actor,
                action=STORE_CREDENTIALS_READ,
                outcome="success",
                environment=self.environment,
                store_id=store_id,
                owner=row.owner,
            )
        )
        url = row.url or ""
        return Credentials(store_id, f"{url}/wp-admin/", ADMIN_USER, secret["wordpress-password"])

    def doctor(self, *, deep: bool = False, report: Callable[[str], None] = lambda _text: None) -> list[Check]:
        """Return what is in use and what is wrong, with the cures; `deep` tries whether policies are enforced."""
        return examine(Patient(self.root, self.settings, self.target, self.cluster, deep, report))

    def usage(self) -> Usage:
        """Return how much of each limit is used."""
        return self._usage(self.manifest())

    def request_of(
        self,
        manifest: Manifest,
        run_id: str,
        actor: Actor,
        reason: str | None,
        idempotency_key: str | None,
        *,
        asked: str | None = None,
    ) -> RunRequest:
        """Return a run's request, without its changes. `asked` tells it from others under the same key."""
        return RunRequest(
            run_id=run_id,
            environment=self.environment,
            actor=actor,
            limits=Limits.of_environment(self.settings),
            owner_limits=own_limits(manifest.owners),
            changes=(),
            reason=reason,
            idempotency_key=idempotency_key,
            fingerprint=asked,
        )

    def check_cluster(self, observation: Observation) -> None:
        """Raise RefusedError when the live cluster is not the one that the state belongs to."""
        observations.refuse_other_cluster(self.settings, self.cluster, observation)

    def _observe(self, manifest: Manifest) -> Observation:
        return observations.observe(self.root, self.settings, manifest, self.engine, self.ledger)

    def _usage(self, manifest: Manifest) -> Usage:
        return self.ledger.usage(self.environment, Limits.of_environment(self.settings), own_limits(manifest.owners))

    def _judged(self, observation: Observation, stores: tuple[StorePlan, ...]) -> tuple[Judged, ...]:
        """Return what the limits would say to the plan if it ran now."""
        request = self.request_of(observation.manifest, "plan", Actor("plan", "service"), None, None)
        return self.ledger.foresee(replace(request, changes=observations.changes_of(observation, stores)))

    def _with_denials(self, stores: tuple[StorePlan, ...], judged: Sequence[Judged]) -> tuple[StorePlan, ...]:
        limits = Limits.of_environment(self.settings)
        texts = {item.change.store_id: str(item.denial(limits).problem) for item in judged if not item.verdict.allowed}
        return tuple(replace(store, denial=texts.get(store.store_id)) for store in stores)

    def _with_operations(self, observation: Observation, stores: tuple[StorePlan, ...]) -> tuple[StorePlan, ...]:
        ids = observation.store_ids
        # What is refused is left out, so that the engine can still count what the others need.
        admitted = frozenset(store.store_id for store in stores if store.denial is None and not store.dangers)
        withheld, frozen = observations.restrained(observation, stores, admitted)
        options = RunOptions(withheld=withheld, frozen=frozen, cluster_uid=self.cluster.uid)
        operations: dict[str, list[str]] = {}
        for cell in sorted({store.cell for store in stores if store.action in CHANGING}):
            if not observation.snapshots[cell].exists:
                continue  # a plan does not make a stack; everything in it would be created
            result = self.engine.preview(cell, options, ids)
            for step in result.steps:
                if step.store_id is not None:
                    operations.setdefault(step.store_id, []).append(step.op)
        return tuple(replace(store, resources=count_operations(operations.get(store.store_id, ()))) for store in stores)

    def _held(self, manifest: Manifest, rows: Mapping[str, StoreRow], unsure: Callable[[str], None]) -> dict[str, str]:
        """Return what is to be said of each held store, and of each that is closed."""
        if not any(row.holds_slot for row in rows.values()):
            return {}
        cells = {store.cell for store in manifest.stores} | {row.cell for row in rows.values()}
        try:
            snapshots = [self.engine.snapshot(cell) for cell in sorted(cells)]
            found = {store_id: held.reason for store_id, held in holding.find(self.cluster, snapshots, rows).items()}
            applied = {store_id for snapshot in snapshots for store_id in snapshot.applied}
            closed = closing.find(self.cluster, applied).items()
            return found | {store_id: f"{how.reason}; {how.cure(store_id)}" for store_id, how in closed}
        except StoresError as error:
            unsure(f"which stores are held is not known: {error}")
            return {}

    def _asked(self, status: StoreStatus, wanted: DesiredStore | None) -> StoreStatus:
        """Return the status as it is now: what the store answers, and where it does not, why."""
        if status.url is None or status.status not in ("Ready", "Failed", "Provisioning", "Deleting"):
            return status
        if wanted is None:
            return self._leaving(status)
        answer = self._waiting.ask(wanted)
        seen = replace(status, content=answer.content, checked_at=self.ledger.now(), checks=answer.checks)
        if not answer.ok:
            return replace(seen, status="Failed", reason=self._waiting.why_not(wanted, answer))
        full = self._waiting.full_volumes(status.store_id)
        return replace(seen, reason=str(full[0]) if full else status.reason)

    def _leaving(self, status: StoreStatus) -> StoreStatus:
        """Return the status of a store that is being removed, with what of it is still there."""
        left = self._waiting.what_is_left(status.store_id) if status.status == "Deleting" else None
        return replace(status, reason=left or status.reason)

    @property
    def _waiting(self) -> Waiting:
        return Waiting(self.cluster, self.entrance, threading.Event(), lambda _store, _text, _status: None)


def _require_backups(gate: Gate, plan: UpgradePlan) -> None:
    """Raise UsageError where an upgrade could take no backup."""
    try:
        backups.server_of(gate)
    except UsageError as error:
        problem = error.problems[0]
        raise UsageError(
            f"stores {plan.kind}",
            f"no backup can be taken before: {problem.where} {problem.what}",
            f"{problem.cure}; or pass --no-backup to go on without one",
        ) from None


def _order(manifest: Manifest, rows: dict[str, StoreRow]) -> list[str]:
    listed = [store.id for store in manifest.stores if not (store.deleted and store.id not in rows)]
    return listed + sorted(set(rows) - set(listed))


def _status(store_id: str, row: StoreRow | None, manifest: Manifest) -> StoreStatus:
    if row is None:
        store = next(store for store in manifest.stores if store.id == store_id)
        reason = "not applied yet; run `stores up`"
        return StoreStatus(store_id, store.name, store.owner, store.cell, "Pending", None, None, None, None, reason)
    return StoreStatus(
        store_id=store_id,
        name=row.name,
        owner=row.owner,
        cell=row.cell,
        status=row.status,
        url=row.url,
        content=row.content,
        since_at=row.since_at,
        checked_at=row.ready_at,
        reason=row.status_reason,
    )


__all__ = [
    "Credentials",
    "Gate",
    "ProgressEvent",
    "Report",
    "RunResult",
    "StoreResult",
    "StoreStatus",
    "StoreUpgrade",
    "UpgradePlan",
    "UpgradeResult",
]
