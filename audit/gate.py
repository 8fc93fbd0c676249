"""The gate: the one way to change an environment. It asks the limits, writes the audit trail, then runs the engine.

Fail closed: an intent is committed before the engine starts, and without the ledger nothing starts at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeVar

from audit import admins, backup_ages, credentials, forecast, idempotency, rewinds, unprotection
from audit import observation as observations
from audit import status as statuses
from audit import target as targets
from audit.check import Check
from audit.credentials import Credentials
from audit.doctor import Patient, examine
from audit.engine.driver import Engine
from audit.entrance import Entrance
from audit.ledger import Ledger
from audit.limits import Limits, own_limits
from audit.observation import Observation
from audit.plan import Plan, limit_use
from audit.reconcile import Reconciliation, take_over
from audit.records import ENVIRONMENT_UNPROTECT, LIMIT_OVERRIDE, STORE_DELETE, Actor, NewEntry, RunRequest, Usage
from audit.results import Report, RunResult
from audit.run import Run
from audit.status import Inquiry, StoreStatus
from audit.target import Target
from audit.tickets import Issued, TicketRun, check_validity
from audit.upgrade_orders import UpgradeOrder
from audit.upgrade_plan import PARALLEL, Kind, UpgradePlan, plan_rollback, plan_upgrade
from audit.upgrade_results import UpgradeResult
from audit.upgrades import refuse_crossing
from stacks import manifest as manifests
from stacks import platform_key
from stacks import settings as settings_module
from stacks.cluster import Cluster
from stacks.desired import Plans, caps
from stacks.manifest import Manifest
from stacks.settings import Settings
from stacks.ticket import Ticket

AnyRun = TypeVar("AnyRun", bound=Run)


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
        request = self.request_of(observation.manifest, "plan", Actor("plan", "service"), None, None)
        judged = forecast.judged(self.ledger, request, observation, planned)
        stores = forecast.with_denials(planned, judged, request.limits)
        if ask_engine:
            stores = forecast.with_operations(self.engine, self.cluster, observation, stores)
        uses = limit_use((item.claim for item in judged if item.verdict.allowed), self._usage(observation.manifest))
        refused = (*unprotection.problems(observation), *observations.dangers(stores, observation.manifest))
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
        unprotect: bool = False,
        report: Report = lambda _event: None,
    ) -> RunResult:
        """Bring every store to what the manifest says, within the limits, and put it on record.

        Held stores are left alone, unless `overwrite_drift` brings them back too.
        `without_final_backup` names tombstoned stores that may go although they cannot be backed up; in a protected
        environment raises RefusedError unless the actor is an admin.
        `unprotect`: although the environment was protected and its settings say no more that it is, for the given
        reason; raises RefusedError unless the actor is an admin.
        `override_limits`: past the limits, for the given reason; raises RefusedError unless the actor is an admin.

        Raises before anything was changed; what went wrong with single stores is in the result.
        """
        if override_limits:
            asked = NewEntry(actor, LIMIT_OVERRIDE, "denied", environment=self.environment, reason=reason)
            admins.require(self.settings.admins, "pass a limit", asked, self.ledger)
        if unprotect:
            asked = NewEntry(actor, ENVIRONMENT_UNPROTECT, "denied", environment=self.environment, reason=reason)
            admins.require(self.settings.admins, "take the protection of an environment away", asked, self.ledger)
        if without_final_backup and self.settings.protected:
            facts = {"without_final_backup": sorted(without_final_backup)}
            asked = NewEntry(actor, STORE_DELETE, "denied", environment=self.environment, reason=reason, metadata=facts)
            admins.require(self.settings.admins, "remove a store without its last backup", asked, self.ledger)
        run = self._run(actor, report, Run, overwrite_drift=overwrite_drift)
        run.without_final_backup = frozenset(without_final_backup)
        run.unprotect = (reason or "") if unprotect else None
        said = idempotency.asked(
            "up",
            manifest=run.manifest.digest,
            overwrite_drift=overwrite_drift,
            override_limits=override_limits,
            without_final_backup=sorted(without_final_backup),
            unprotect=unprotect,
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

    def close_ticket(
        self,
        file: Path,
        *,
        actor: Actor,
        idempotency_key: str | None = None,
        report: Report = lambda _event: None,
    ) -> RunResult:
        """Put on record what was done with a ticket, and give its cells back."""
        ticket = Ticket.read(file, platform_key.load(self.root, self.settings))
        run = self._run(actor, report, TicketRun)
        asked = idempotency.asked("reconcile", ticket=ticket.run_id)
        return run.close(ticket, self.request_of(run.manifest, run.run_id, actor, None, idempotency_key, asked=asked))

    def reconcile(
        self, *, actor: Actor, idempotency_key: str | None = None, report: Report = lambda _event: None
    ) -> RunResult:
        """Settle what runs left open, by looking, and the status of every store. Changes no object of a store."""
        run = self._run(actor, report, Reconciliation)
        asked = idempotency.asked("reconcile")
        return run.settle_all(self.request_of(run.manifest, run.run_id, actor, None, idempotency_key, asked=asked))

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
        order = UpgradeOrder(self, plan.kind, actor, report, idempotency_key, asked, reason, overwrite_drift)
        return order.carry_out(plan)

    def upgrade_done(
        self, kind: Kind, *, actor: Actor, idempotency_key: str, asked: Mapping[str, object], report: Report
    ) -> UpgradeResult | None:
        """Return the result of an upgrade or a rollback that has succeeded under its key; None if it may be made.

        To be asked before it is planned: what is there to do is another thing once it was done.
        Raises UsageError for a key that was used for another request, LockedError if the same one is in flight.
        """
        return UpgradeOrder(self, kind, actor, report, idempotency_key, asked).done()

    def new_run(self, actor: Actor, report: Report, *, overwrite_drift: bool = False) -> Run:
        """Return a run that has not begun, with the manifest as it is on disk."""
        return self._run(actor, report, Run, overwrite_drift=overwrite_drift)

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

    def take_over(
        self, *, actor: Actor, idempotency_key: str | None = None, report: Report = lambda _event: None
    ) -> RunResult:
        """Rebuild a lost state from the live objects of the manifest's stores; nothing in the cluster changes."""
        run = self._run(actor, report, Run)
        asked = idempotency.asked("reconcile", import_state=True, manifest=run.manifest.digest)
        return take_over(run, self.request_of(run.manifest, run.run_id, actor, None, idempotency_key, asked=asked))

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
            held = statuses.held_stores(self.engine, self.cluster, manifest, rows, unsure)
            ages = {age.store_id: age for age in asked.result()}
        found = statuses.known(manifest, rows, held, ages)
        if not deep:
            return found
        return Inquiry(self.cluster, self.entrance, self.ledger).of(found, Plans(self.root, self.settings).of(manifest))

    def credentials(self, store_id: str, *, actor: Actor) -> Credentials:
        """Return how to sign in to a store. The reading is on record before the password is shown."""
        return credentials.read(self.environment, store_id, ledger=self.ledger, cluster=self.cluster, actor=actor)

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
