"""One run of the gate: leases, intents, the engine, the wait until stores answer, and the outcomes.

The order is the promise: nothing reaches the engine before its intent is committed, and no store is called Ready
before it answered.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

from audit import anchors, backups, database_image, failures, live, orphans, pending_releases, provenance, repair, spool
from audit import observation as observations
from audit import schema as schemas
from audit.anchors import Keeper
from audit.backup_server import BackupServer
from audit.broken_locks import Locks
from audit.engine.driver import Engine
from audit.engine.events import EngineResult, Step
from audit.entrance import Entrance
from audit.lease_keeper import LeaseKeeper
from audit.ledger import Ledger
from audit.lookout import Lookout
from audit.losses import losses
from audit.observation import Observation
from audit.plan import Action, StorePlan
from audit.probe import Answer
from audit.records import (
    STORE_DELETE,
    Actor,
    Admission,
    Change,
    Holder,
    Lease,
    Replay,
    RunRequest,
    Status,
    StoreOutcome,
    StoreRecord,
)
from audit.takeback import Work, take_back
from audit.waiting import Waiting, stopped
from components import desired, naming
from stacks import platform_key
from stacks.cluster import Cluster
from stacks.desired import Plans, environment_values
from stacks.errors import (
    AuditIncompleteError,
    CancelledError,
    DatabaseUnreachableError,
    LockedError,
    OverLimitError,
    Problem,
    RefusedError,
    StoreFailedError,
    StoresError,
)
from stacks.manifest import Manifest
from stacks.program import RunOptions
from stacks.settings import Settings

LEASE_S: Final = 60
PROBES: Final = 16
PATIENCE_S: Final = 5.0
"""How long a store that nothing is to be done to may take to answer before the run takes it up."""
_FINE: Final = Answer(ok=True, detail="")
_TOLD: Final = frozenset({desired.NAMESPACE, desired.CREDENTIALS, desired.RELEASE})


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


@dataclass(frozen=True)
class RunResult:
    """What became of a run. `exit_error` carries the exit code when not everything was done."""

    run_id: str
    stores: tuple[StoreResult, ...]
    nothing_to_do: bool
    exit_error: StoresError | None = None
    replayed: bool = False


class Data(Protocol):
    """What is done to a store's data beside the engine's work on it; see `audit.rewinds`."""

    @property
    def told(self) -> Mapping[str, object]:
        """What the audit log keeps of it with the outcome."""

    def before_engine(self) -> StoreOutcome | None:
        """Do it; return None where the engine is to go on, else what became of the store."""

    def started(self) -> None:
        """The engine has done its work."""

    def taken_back(self) -> str | None:
        """Undo it, since the engine could not do its work; return why that cannot be, or None where it is so."""


@dataclass(frozen=True)
class Scope:
    """What a run is about that is about some stores only: what it does to them, by their ids.

    All other stores are registered as they were applied, and the engine is told to work on none of them.
    `data`: what is done to the one store's data first.
    """

    action: str
    metadata: Mapping[str, Mapping[str, object]]
    data: Data | None = None

    def failed(self, store_id: str) -> str:
        """Return what a failure of the store is a failure of, in words."""
        image = self.metadata[store_id].get("image")
        to = f" to image {image['to']}" if isinstance(image, Mapping) else ""
        return f"{self.action.removeprefix('store.')}{to} failed"

    def narrowed(self, changes: Sequence[Change]) -> tuple[Change, ...]:
        """Return the changes of the scope's stores, named after what the run does."""
        return tuple(
            replace(change, action=self.action, metadata={**change.metadata, **self.metadata[change.store_id]})
            for change in changes
            if change.store_id in self.metadata
        )


@dataclass
class Run:
    """One run. Not to be used twice."""

    root: Path
    settings: Settings
    manifest: Manifest
    ledger: Ledger
    engine: Engine
    cluster: Cluster
    entrance: Entrance
    actor: Actor
    report: Report
    overwrite_drift: bool = False
    without_final_backup: frozenset[str] = frozenset()
    """Stores that may be removed although they cannot be backed up."""
    replaces_data: frozenset[str] = frozenset()
    """Stores whose data this run replaces: they may be closed, from an earlier try."""
    stdout_taken: bool = False
    """Whether anchors that were meant for stdout go to stderr; see `Gate`."""
    run_id: str = field(default_factory=lambda: f"run-{secrets.token_hex(8)}")
    _began: dict[str, float] = field(default_factory=dict)
    _touched: set[str] = field(default_factory=set)
    scope: Scope | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _answers: dict[str, Answer] = field(default_factory=dict)
    leases: tuple[Lease, ...] = ()
    """The cells that the run holds, or held last. What it writes is refused once one was taken over."""

    def execute(self, request: RunRequest) -> RunResult:
        """Do it all. `request` comes without its changes."""
        with self.session(request) as leases:
            return self.carry_out(request, leases)

    def carry_out(self, request: RunRequest, leases: Sequence[Lease], scope: Scope | None = None) -> RunResult:
        """Do it all, or what of it is in the scope, under leases that are held until this returns."""
        self.scope = scope
        observation = self.observe(leases)
        # Before the plan: what has become due since is no part of what was asked for under the key.
        if (earlier := self.ledger.replayed(request)) is not None:
            return self._replay(earlier)
        stores = observations.plan_stores(observation)
        if scope is None:
            stores = self._with_broken(observation, stores)
        wanted, shown = self._with_skipped_backups(observations.changes_of(observation, stores)), stores
        if scope is None:
            self._schedule(observation, stores)
        else:
            wanted = scope.narrowed(wanted)
            shown = tuple(store for store in stores if store.store_id in scope.metadata)
        self._prepare_backups(observation)
        if not wanted:
            return self._nothing_to_do(observation, shown)
        admission = self.ledger.admit(replace(request, changes=wanted, leases=tuple(leases)))
        if admission.replayed is not None:
            return self._replay(admission.replayed)
        for denial in admission.denied:
            exists = denial.change.store_id in observation.rows
            self.tell(denial.change.store_id, str(denial.problem), None if exists else "Pending")
        outcomes = self._apply(observation, stores, admission, leases)
        if outcomes:
            self._settle(outcomes, observation)
        return self._result(observation, shown, admission, outcomes)

    def observe(self, leases: Sequence[Lease]) -> Observation:
        """Return what there is, after the checks that come before any change."""
        self.tell(None, "reading the manifest, the state and the ledger")
        observation = observations.observe(self.root, self.settings, self.manifest, self.engine, self.ledger)
        observations.refuse_other_cluster(self.settings, self.cluster, observation)
        observations.refuse_other_key(self.root, self.settings, observation)
        # Before the manifest is judged: what it may not drop is what exists, and not what a killed run only began.
        observation = orphans.settle(self, observation, leases)
        observation = observations.with_held(observation, self.cluster, overwrite=self.overwrite_drift)
        closed = {store_id: how for store_id, how in observation.closed.items() if store_id not in self.replaces_data}
        observation = replace(observation, closed=closed)
        observations.check(observation)
        ours = provenance.here(self.root)
        for cell in observation.snapshots:
            provenance.refuse_older(
                self.root, self.settings.environment, ours, self.ledger.cell_record(self.settings.environment, cell)
            )
        if observation.unrecorded():
            self._adopt(observation)
            observation = observations.with_rows(observation, self.ledger)
        return observation

    def _prepare_backups(self, observation: Observation) -> None:
        """Make the place of the backups ready for every store, before there is one that wants to be backed up."""
        values = environment_values(self.root, self.settings.environment)
        if not values["backup"]["enabled"]:
            return
        key = platform_key.load(self.root, self.settings)
        rows = self.ledger.stores(self.settings.environment, include_deleted=True)
        server = BackupServer(self.root, self.settings, self.cluster, key, values)
        if server.ensure({*observation.store_ids, *(row.store_id for row in rows)}):
            self.tell(None, "the place of the backups is ready for every store")

    def _adopt(self, observation: Observation) -> None:
        """Put on record what a plain `pulumi up` has made: it exists, so it counts."""
        records = []
        for store in observation.unrecorded():
            applied = observation.applied(store.id)
            url, answer = None, Answer(ok=False, detail="")
            if applied is not None:
                url, values = str(applied["url"]), applied["release"]["values"]
                sells, locale = desired.sells(values), desired.locale(values)
                answer = self.entrance.ask(store.id, url, sells=sells, locale=locale)
            status: Status = "Ready" if answer.ok else "Provisioning"
            records.append(
                StoreRecord(store.id, store.name, store.owner, store.cell, status, url, content=answer.content)
            )
            self.tell(store.id, "found in the engine's state; recorded", status)
        self.ledger.adopt(self.settings.environment, records, self.actor, leases=self.leases)

    def _schedule(self, observation: Observation, stores: tuple[StorePlan, ...]) -> None:
        """Let the grace of newly tombstoned stores begin: it counts from when their status became Deleting."""
        for store in stores:
            row = observation.rows.get(store.store_id)
            if store.action is Action.SCHEDULED and row is not None and row.status != "Deleting":
                self.ledger.mark(
                    self.settings.environment,
                    store.store_id,
                    "Deleting",
                    store.reason,
                    run_id=self.run_id,
                    actor=self.actor,
                    leases=self.leases,
                )
                self.tell(store.store_id, store.reason or "", "Deleting")

    def _apply(
        self,
        observation: Observation,
        stores: tuple[StorePlan, ...],
        admission: Admission,
        leases: Sequence[Lease],
    ) -> dict[str, StoreOutcome]:
        """Run the engine over every cell with admitted changes, then wait for its stores.

        The intents are committed, so each has its outcome on record, whatever is raised.
        """
        outcomes: dict[str, StoreOutcome] = {}
        try:
            outcomes |= self._final_backups(admission, leases) | self._behind(observation, admission)
            outcomes |= self._before_another_server(observation, admission, leases, outcomes)
            outcomes |= self._data_first(admission)
            going = tuple(change for change in admission.admitted if change.store_id not in outcomes)
            options = self._options(observation, stores, replace(admission, admitted=going))
            for cell in sorted({change.cell for change in going}):
                mine = {change.store_id: change for change in going if change.cell == cell}
                for store_id, change in mine.items():
                    self._began.setdefault(store_id, time.monotonic())
                    status: Status = "Deleting" if change.action == "store.delete" else "Provisioning"
                    self.tell(store_id, change.action.removeprefix("store.").replace("_", " "), status)
                outcomes |= self._apply_cell(observation, cell, options, mine)
        except StoresError as error:
            ids = [change.store_id for change in admission.admitted]
            rest = {store_id: self._not_done(observation, store_id, error) for store_id in ids}
            self._settle(self._with_data({**rest, **outcomes}), observation, after=error)
            raise
        return self._with_data(outcomes)

    def _behind(self, observation: Observation, admission: Admission) -> dict[str, StoreOutcome]:
        """Return the outcomes of stores whose blocks name an image that is older than their database: they stay.

        Where that is not known the block is followed. Upgrades and rollbacks have asked before they wrote the block.
        """
        outcomes: dict[str, StoreOutcome] = {}
        for change in admission.admitted if self.scope is None else ():
            store_id = change.store_id
            wanted = observation.desired.get(store_id)
            if wanted is None or not _changes_image(change) or observation.applied(store_id) is None:
                continue
            tag = str(wanted.release.values["image"]["tag"])
            why = schemas.behind(schemas.ask(self.cluster, store_id), tag)
            if why is not None:
                back = f"`stores rollback {store_id} --restore-backup` goes back with the data of that time"
                told = f"it stays as it was: image {tag} cannot be gone back to alone: {why}; {back}"
                self.tell(store_id, told, "Failed")
                outcomes[store_id] = StoreOutcome(store_id, "failure", "Failed", reason=told, url=wanted.url)
        return outcomes

    def _before_another_server(
        self, observation: Observation, admission: Admission, leases: Sequence[Lease], outcomes: Collection[str]
    ) -> dict[str, StoreOutcome]:
        """Back up every store whose database gets another image; return the outcomes of those that must stay.

        These are the ones whose backup fails, and those whose data the wanted server cannot read.
        """
        values = environment_values(self.root, self.settings.environment)
        stay: dict[str, StoreOutcome] = {}
        for change in admission.admitted if self.scope is None else ():
            store_id = change.store_id
            wanted = observation.desired.get(store_id)
            if wanted is None or store_id in outcomes or observation.cell_of(store_id) is None:
                continue
            applied = observation.applied(store_id)
            images = database_image.change(applied, wanted)
            if applied is not None and images is None:
                continue
            why = database_image.too_old(self.cluster, store_id, wanted)
            if why is None and images is not None and values["backup"]["enabled"]:
                why = self._backup_before(store_id, images, leases)
            if self._cancelled.is_set():
                stay[store_id] = stopped(store_id, reached_engine=False)
            elif why is not None:
                told = f"it stays as it was: {why}"
                self.tell(store_id, told, "Failed")
                stay[store_id] = StoreOutcome(store_id, "failure", "Failed", reason=told, url=wanted.url)
        return stay

    def _backup_before(self, store_id: str, images: tuple[str, str], leases: Sequence[Lease]) -> str | None:
        """Return why the backup before a change of the database's image failed, or None."""
        if not database_image.serves(self.cluster, store_id):
            self.tell(store_id, "its database does not run, so it cannot be backed up; its volume stays as it is")
            return None
        before, after = images
        try:
            backups.taken(self, leases, store_id, "pre-upgrade", note=f"before MariaDB {before} becomes {after}")
        except AuditIncompleteError:
            raise
        except StoresError as error:
            return f"the backup before MariaDB {before} becomes {after} failed: {error}"
        return None

    def _data_first(self, admission: Admission) -> dict[str, StoreOutcome]:
        """Do what comes before the engine's work; return the outcomes of stores that it must not go on with."""
        data = None if self.scope is None else self.scope.data
        outcomes: dict[str, StoreOutcome] = {}
        for change in admission.admitted if data is not None else ():
            self._began[change.store_id] = time.monotonic()
            # Whatever comes now, the store is not as it was before.
            self._touched.add(change.store_id)
            self.tell(change.store_id, change.action.removeprefix("store.").replace("_", " "), "Provisioning")
            outcome = data.before_engine() if data is not None else None
            if outcome is not None:
                outcomes[change.store_id] = outcome
        return outcomes

    def _with_data(self, outcomes: dict[str, StoreOutcome]) -> dict[str, StoreOutcome]:
        """Return the outcomes with what was done to the data."""
        data = None if self.scope is None else self.scope.data
        if data is None:
            return outcomes
        return {
            store_id: replace(outcome, metadata={**outcome.metadata, **data.told})
            for store_id, outcome in outcomes.items()
        }

    def _final_backups(self, admission: Admission, leases: Sequence[Lease]) -> dict[str, StoreOutcome]:
        """Back up every store that is about to be removed; return the outcomes of those that must stay.

        What it is by the ledger says nothing of its data: a store that has a volume is backed up, or it stays.
        """
        values = environment_values(self.root, self.settings.environment)
        if not (values["backup"]["enabled"] and self.settings.final_backups):
            return {}
        failed: dict[str, StoreOutcome] = {}
        for change in admission.admitted:
            if change.action != "store.delete":
                continue
            if not live.claims(self.cluster, naming.namespace(change.store_id)):
                self.tell(change.store_id, "it has no volume, so there is nothing to back up")
            elif change.store_id in self.without_final_backup:
                self.tell(change.store_id, "removed without a last backup, as was asked")
            elif (reason := self._final_backup(change, leases)) is not None:
                cure = f"correct the cause, or run `stores up --without-final-backup {change.store_id}`"
                told = f"it stays, because its last backup failed: {reason}; {cure}"
                self.tell(change.store_id, told, "Deleting")
                failed[change.store_id] = StoreOutcome(change.store_id, "failure", "Deleting", reason=told)
        return failed

    def _with_skipped_backups(self, wanted: tuple[Change, ...]) -> tuple[Change, ...]:
        """Return the changes; those that remove a store without its last backup, as was asked, say so in the log."""
        return tuple(
            replace(change, metadata={**change.metadata, "final_backup": "skipped"})
            if change.action == STORE_DELETE and change.store_id in self.without_final_backup
            else change
            for change in wanted
        )

    def _final_backup(self, change: Change, leases: Sequence[Lease]) -> str | None:
        """Return why a store's last backup failed, or None; it is on record either way."""
        try:
            backups.taken(self, leases, change.store_id, "final", note=f"before {self.run_id} removes it")
        except AuditIncompleteError:
            raise
        except StoresError as error:
            return str(error)
        return None

    def _apply_cell(
        self, observation: Observation, cell: str, options: RunOptions, mine: Mapping[str, Change]
    ) -> dict[str, StoreOutcome]:
        if self._cancelled.is_set():
            return {store_id: stopped(store_id, reached_engine=False) for store_id in mine}
        leaving = frozenset(store_id for store_id, change in mine.items() if change.action == "store.delete")
        pending_releases.settle(self, observation, [store_id for store_id in mine if store_id not in leaving])
        broken = [store_id for store_id, change in mine.items() if self._is_broken(observation, change)]
        if broken:
            again = self._repair(cell, broken)
            options = replace(options, marked={**dict.fromkeys(again, f"{self.run_id} repairs"), **options.marked})
        result = self._run_engine(observation, cell, options, mine)
        if result.cancelled:
            # A step that was under way ends as a failure of the engine's, but it did not fail: it was stopped.
            return {
                store_id: stopped(
                    store_id,
                    result.failures.get(store_id),
                    deleting=store_id in leaving,
                    reached_engine=result.began or store_id in self._touched,
                )
                for store_id in mine
            }
        for store_id in broken:
            # What the engine has put back, a pod that failed before it takes up at its next try only.
            repair.restart_stuck(self.cluster, store_id, self.tell)
        waiting = [change for change in mine.values() if change.store_id not in result.failures]
        outcomes = {
            store_id: self._failed(observation, mine[store_id], reason, result.given_up.get(store_id))
            for store_id, reason in result.failures.items()
            if store_id in mine
        }
        if self.scope is not None and self.scope.data is not None and waiting:
            self.scope.data.started()
        with ThreadPoolExecutor(max_workers=PROBES) as pool:
            for outcome in pool.map(lambda change: self._await(observation, change), waiting):
                outcomes[outcome.store_id] = outcome
        if self.scope is not None:
            named = self.scope.failed
            outcomes = {
                store_id: replace(outcome, reason=f"{named(store_id)}: {outcome.reason}")
                if outcome.outcome == "failure"
                else outcome
                for store_id, outcome in outcomes.items()
            }
        if self._cancelled.is_set():
            return outcomes
        work = Work(observation, cell, options, mine, outcomes, result.failures)
        return outcomes | take_back(self, work)

    def _not_done(self, observation: Observation, store_id: str, error: StoresError) -> StoreOutcome:
        """Return the outcome of a change when the engine failed as a whole; an untouched store is as before."""
        row = observation.rows.get(store_id)
        touched = store_id in self._touched
        status: Status = "Failed" if touched or row is None else row.status
        return StoreOutcome(
            store_id,
            "failure",
            status,
            reason=str(error),
            url=None if row is None else row.url,
            reached_engine=touched,
        )

    def _run_engine(
        self, observation: Observation, cell: str, options: RunOptions, mine: Mapping[str, Change]
    ) -> EngineResult:
        if options.released:
            # The engine deletes nothing that its state calls protected: first the protection goes, then the store.
            first = self._previewed_up(observation, cell, replace(options, removed=frozenset()), mine)
            if first.failures or first.cancelled:
                return first
        targets: list[str] = []
        if self.scope is not None:
            held = observation.snapshots[cell].urns
            targets = [urn for store_id in self.scope.metadata for urn in held.get(store_id, ())]
        if options.marked:
            # The engine compares what the program says, and of held stores the program says nothing new. The mark is
            # taken away again at once, so that a plain `pulumi up` finds nothing to do.
            first = self._previewed_up(observation, cell, options, mine, targets)
            if first.failures or first.cancelled:
                return first
            options = replace(options, marked={})
        return self._previewed_up(observation, cell, options, mine, targets)

    def _previewed_up(
        self,
        observation: Observation,
        cell: str,
        options: RunOptions,
        mine: Mapping[str, Change],
        targets: Sequence[str] = (),
    ) -> EngineResult:
        """Run the engine, unless its own preview would end what nobody asked to remove."""
        if observation.snapshots[cell].known:
            leaving = frozenset(store_id for store_id, change in mine.items() if change.action == "store.delete")
            preview = self.engine.preview(cell, options, observation.store_ids, targets=targets)
            if self._cancelled.is_set():
                return EngineResult((), {}, cancelled=True, began=False)
            if problems := losses(preview.steps, leaving):
                raise RefusedError.of(problems)
        with Lookout(self.engine, self.cluster, mine, self.tell) as lookout:
            on_step = lookout.beside(self.on_step)
            return lookout.judged(self.engine.up(cell, options, observation.store_ids, on_step, targets=targets))

    def _options(self, observation: Observation, stores: tuple[StorePlan, ...], admission: Admission) -> RunOptions:
        admitted = frozenset(change.store_id for change in admission.admitted)
        leaving: frozenset[str] = frozenset()
        if self.settings.protected:
            leaving = frozenset(change.store_id for change in admission.admitted if change.action == "store.delete")
        withheld, frozen = observations.restrained(observation, stores, admitted)
        return RunOptions(
            withheld=withheld,
            frozen=frozen,
            released=leaving,
            removed=leaving,
            marked={
                store_id: f"{self.run_id} overwrites revision {held.live.number}"
                for store_id, held in observation.held.items()
                if store_id in admitted
            },
            cluster_uid=self.cluster.uid,
        )

    def _with_broken(self, observation: Observation, stores: tuple[StorePlan, ...]) -> tuple[StorePlan, ...]:
        """Return the plan in which a store that is as its block says, and does not sell, is taken up too."""
        active = [
            store for store in stores if store.action is Action.UNTOUCHED and store.store_id in observation.desired
        ]
        wanted = [observation.desired[store.store_id] for store in active]
        with ThreadPoolExecutor(max_workers=PROBES) as pool:
            answers = list(pool.map(lambda store: self.waiting.poll(store, PATIENCE_S), wanted))
        self._answers = {
            store.store_id: answer for store, answer in zip(active, answers, strict=True) if answer is not None
        }
        broken = {store_id: answer.detail for store_id, answer in self._answers.items() if not answer.ok}
        for store_id, detail in broken.items():
            self.tell(store_id, f"it does not sell: {detail}")
        return tuple(
            replace(store, action=Action.RETRY, reason=f"it does not sell: {broken[store.store_id]}")
            if store.store_id in broken and store.action is Action.UNTOUCHED
            else store
            for store in stores
        )

    def _is_broken(self, observation: Observation, change: Change) -> bool:
        """Return whether a store that exists in part or whole did not work before this run."""
        row = observation.rows.get(change.store_id)
        working = row is not None and row.status == "Ready" and self._answers.get(change.store_id, _FINE).ok
        return change.action != "store.delete" and observation.cell_of(change.store_id) is not None and not working

    def _repair(self, cell: str, store_ids: Sequence[str]) -> frozenset[str]:
        """Prepare the engine for stores that do not work; return those whose release has to be made again."""
        lacking = repair.read_live(self.engine, self.cluster, cell, store_ids, self.tell)
        for store_id in store_ids:
            repair.restart_stuck(self.cluster, store_id, self.tell)
        return lacking

    @property
    def cancelled(self) -> threading.Event:
        """Set once the run was asked to stop."""
        return self._cancelled

    def until_sells(self, store_id: str) -> StoreOutcome:
        """Return Ready once a store of the manifest sells, or Failed with why it does not."""
        store = self.manifest.store(store_id)
        assert store is not None  # noqa: S101 - its caller has found it there
        wanted = Plans(self.root, self.settings).desired(store)
        return self.waiting.until_sells(wanted, self.settings.ready_timeout_seconds)

    @property
    def waiting(self) -> Waiting:
        """How this run waits for stores."""
        return Waiting(self.cluster, self.entrance, self._cancelled, self.tell)

    def _await(self, observation: Observation, change: Change) -> StoreOutcome:
        if change.action == "store.delete":
            return self.waiting.until_gone(change.store_id, self.settings.deletion_timeout_seconds)
        wanted = observation.desired[change.store_id]
        outcome = self.waiting.until_sells(wanted, self.settings.ready_timeout_seconds)
        if outcome.outcome == "success" and _changes_image(change):
            return self.waiting.until_database_fits(outcome)
        return outcome

    def _failed(self, observation: Observation, change: Change, reason: str, known: str | None) -> StoreOutcome:
        """Return the outcome of a store that the engine could not bring up or remove, with the cluster's reasons.

        `known`: why it was given up, where it was.
        """
        if change.action == "store.delete":
            left = self.waiting.what_is_left(change.store_id)
            return StoreOutcome(change.store_id, "failure", "Deleting", reason=left or reason)
        store = observation.desired[change.store_id]
        told = known or self.waiting.why_failed(store.store_id, store.host, reason)
        self.tell(store.store_id, told, "Failed")
        return StoreOutcome(store.store_id, "failure", "Failed", reason=told, url=store.url)

    def _nothing_to_do(self, observation: Observation, stores: tuple[StorePlan, ...]) -> RunResult:
        """Return the stores that are left alone, as they have just answered. Only a held one can be broken here."""
        results: list[StoreResult] = []
        problems: list[Problem] = []
        for store in stores:
            if store.store_id not in observation.desired:
                continue
            answer, wanted = self._answers.get(store.store_id), observation.desired[store.store_id]
            problems.extend(_closed(observation, store))
            if answer is None:
                stopped_early = "the run was stopped" if self._cancelled.is_set() else None
                told = store.reason if store.action is Action.HELD else stopped_early
                results.append(_as_before(observation, store, told))
                continue
            detail = None if answer.ok else self.waiting.why_not(wanted, answer)
            status: Status = "Ready" if answer.ok else "Failed"
            self.ledger.mark(
                self.settings.environment,
                store.store_id,
                status,
                detail,
                run_id=self.run_id,
                url=wanted.url,
                content=answer.content,
                leases=self.leases,
            )
            if detail is not None:
                cure = "it is held: correct it by Helm, or run `stores up --overwrite-drift`"
                problems.append(Problem(f"store '{store.store_id}'", detail, cure))
            told = detail or (store.reason if store.action is Action.HELD else None)
            results.append(StoreResult(store.store_id, store.action, status, wanted.url, told, 0.0, answer.content))
        error: StoresError | None = StoreFailedError.of(problems) if problems else None
        if self._cancelled.is_set():
            error = CancelledError(f"run {self.run_id}", "it was stopped", "run `stores up` again to go on")
        return RunResult(self.run_id, tuple(results), nothing_to_do=True, exit_error=error)

    def _settle(
        self, outcomes: Mapping[str, StoreOutcome], observation: Observation, after: StoresError | None = None
    ) -> None:
        """Put the outcomes on record, and what each cell was brought to. `after`: what the work has ended with.

        Where the database is gone they are kept on disk. Raises AuditIncompleteError then, or, where the engine had
        not begun, DatabaseUnreachableError. Who has just waited for the database in vain does not wait once more.
        """
        with self.kept_if_lost(self.run_id, list(outcomes.values()), "the stores were changed"):
            if isinstance(after, DatabaseUnreachableError) and self.ledger.hung is not None:
                raise after
            self.ledger.settle(self.run_id, list(outcomes.values()))
            self._record_cells(observation, outcomes)

    def put_on_record(self, run_id: str, outcome: StoreOutcome, done: str) -> None:
        """Put the outcome of one store on record; `done` says what was done to it, whatever the database says."""
        with self.kept_if_lost(run_id, [outcome], done):
            self.ledger.settle(run_id, [outcome])

    @contextmanager
    def kept_if_lost(self, run_id: str, outcomes: Sequence[StoreOutcome], done: str) -> Iterator[None]:
        """Keep outcomes on this machine where they cannot be written; raises AuditIncompleteError then."""
        try:
            yield
        except DatabaseUnreachableError as error:
            kept = spool.keep(self._spool, run_id, self.settings.environment, self.actor, outcomes)
            cure = f"bring the database back, then run `stores up` on this machine: it first settles from {kept}"
            cause = _without_claim(error.problems[0].what)
            if not any(outcome.reached_engine for outcome in outcomes):
                names = ", ".join(outcome.store_id for outcome in outcomes)
                raise DatabaseUnreachableError(
                    f"run {run_id}",
                    f"no store was changed, but intents and slots of {names} are recorded, and that nothing came of "
                    f"them could not be written: {cause}",
                    cure,
                ) from error
            told = ", ".join(f"{outcome.store_id} {outcome.status}" for outcome in outcomes)
            raise AuditIncompleteError(
                f"run {run_id}", f"{done} ({told}), but that could not be written: {cause}", cure
            ) from error

    def _record_cells(self, observation: Observation, outcomes: Mapping[str, StoreOutcome]) -> None:
        ours = provenance.here(self.root)
        touched = {store.cell for store in self.manifest.stores if store.id in outcomes}
        for cell in sorted(touched & set(observation.snapshots)):
            self.ledger.record_cell(
                self.settings.environment,
                cell,
                manifest_digest=self.manifest.digest,
                commit=ours.commit,
                program_version=ours.program_version,
                cluster_uid=self.cluster.uid,
                run_id=self.run_id,
                held=self.leases,
            )

    def _result(
        self,
        observation: Observation,
        stores: tuple[StorePlan, ...],
        admission: Admission,
        outcomes: Mapping[str, StoreOutcome],
    ) -> RunResult:
        denied = {denial.change.store_id: denial for denial in admission.denied}
        results, failed, cancelled = [], [], False
        for store in stores:
            outcome = outcomes.get(store.store_id)
            if outcome is not None:
                cancelled = cancelled or outcome.outcome == "cancelled"
                if outcome.outcome == "failure":
                    failed.append(_problem(outcome))
                results.append(self._store_result(store, outcome))
            elif store.store_id in denied:
                results.append(_as_before(observation, store, str(denied[store.store_id].problem)))
            elif store.store_id in observation.desired:
                failed.extend(_closed(observation, store))
                held = store.reason if store.action is Action.HELD else None
                results.append(_as_before(observation, store, held))
        error: StoresError | None = None
        if cancelled:
            error = CancelledError(f"run {self.run_id}", "it was stopped", "run `stores up` again to go on")
        elif failed:
            error = StoreFailedError.of(failed)
        elif denied:
            error = OverLimitError.of([denial.problem for denial in denied.values()])
        return RunResult(self.run_id, tuple(results), nothing_to_do=False, exit_error=error)

    def _store_result(self, store: StorePlan, outcome: StoreOutcome) -> StoreResult:
        elapsed_s = time.monotonic() - self._began.get(store.store_id, time.monotonic())
        return StoreResult(
            store.store_id,
            store.action,
            outcome.status,
            outcome.url,
            outcome.reason,
            elapsed_s,
            outcome.content,
        )

    def _replay(self, earlier: Replay) -> RunResult:
        results = tuple(
            StoreResult(outcome.store_id, Action.UNTOUCHED, outcome.status, outcome.url, outcome.reason, 0.0)
            for outcome in earlier.outcomes
        )
        return RunResult(earlier.run_id, results, nothing_to_do=False, replayed=True)

    def on_step(self, step: Step, phase: str) -> None:
        """Show a step of the engine."""
        if step.store_id is None or step.op in ("same", "read") or step.part is None:
            return
        self._touched.add(step.store_id)
        # A store has 15 resources: told are those that take time or that people know, and every failure.
        if phase == "failed" or (phase == "started" and step.part in _TOLD):
            self.tell(step.store_id, f"{step.op} {step.part}" + (" failed" if phase == "failed" else ""))

    def tell(self, store_id: str | None, text: str, status: Status | None = None) -> None:
        """Show what is being done."""
        self.report(ProgressEvent(store_id, text, status))

    @contextmanager
    def session(
        self, request: RunRequest | None = None, *, cells: Collection[str] | None = None
    ) -> Iterator[list[Lease]]:
        """Hold these cells, or every cell of the environment, and stop in order when a signal says so.

        What an earlier run could not write is on record before anything else is done, and the log's end is kept
        elsewhere before and after. With a request, who finds a cell held is told first what its key says.
        """
        keeper = self._anchors()
        with self._leases(request, cells) as leases, self._signals(), self._on_record(keeper, leases):
            yield leases

    @contextmanager
    def _on_record(self, keeper: Keeper, leases: Sequence[Lease]) -> Iterator[None]:
        """Settle what an earlier run could not write, before; keep the log's end, after."""
        self.engine.on_lock = Locks(self, leases, LEASE_S).may_break
        for spooled in spool.settle(self._spool, self.ledger, self.actor, leases):
            self.tell(None, f"settled run {spooled.run_id} from {spooled.file}")
        try:
            yield
        finally:
            self._anchor(keeper)

    @property
    def _spool(self) -> Path:
        return spool.folder_of(self.root, self.settings.environment, self.ledger.identity)

    def _anchors(self) -> Keeper:
        """Return who keeps the log's anchors. Raises AuditIncompleteError if the log is not what it was."""
        chain_id, chosen = self.ledger.anchor().chain_id, os.environ.get(anchors.VARIABLE)
        keeper = Keeper.of(self.root, self.settings.environment, chain_id, chosen, stdout_taken=self.stdout_taken)
        keeper.check(self.ledger)
        return keeper

    def _anchor(self, keeper: Keeper) -> None:
        try:
            if self.ledger.hung is not None:
                raise self.ledger.hung
            keeper.keep(self.ledger)
        except (StoresError, OSError) as error:
            # The next run compares again; what the run did matters more than this.
            self.tell(None, f"the log's end could not be kept in {keeper.file}: {error}")

    @contextmanager
    def _leases(self, request: RunRequest | None, cells: Collection[str] | None) -> Iterator[list[Lease]]:
        """Hold the cells, renewed until the end; who cannot renew stops the engine."""
        held = self._acquired(self.run_id, LEASE_S, request, cells)
        keeper = LeaseKeeper(held, self.ledger.renew_leases, self._cancel, lambda text: self.tell(None, text))
        try:
            with keeper:
                yield held
        finally:
            self._give_back(held)

    def _acquired(
        self, run_id: str, ttl_s: int, request: RunRequest | None = None, cells: Collection[str] | None = None
    ) -> list[Lease]:
        """Return the leases of these cells, or of every cell of the environment; of all or of none."""
        holder = Holder(actor=self.actor, host=socket.gethostname(), pid=os.getpid(), run_id=run_id)
        environment = self.settings.environment
        if cells is None:
            cells = {store.cell for store in self.manifest.stores} | {naming.FIRST_CELL}
        held: list[Lease] = []
        try:
            held.extend(self.ledger.acquire_lease(environment, cell, holder, ttl_s) for cell in sorted(cells))
        except LockedError:
            self._give_back(held)
            if request is not None:
                self.ledger.replayed(request)  # it may be this very request that holds the cell
            raise
        except BaseException:
            self._give_back(held)
            raise
        self.leases = tuple(held)
        return held

    def _give_back(self, held: Sequence[Lease]) -> None:
        if not held:
            return
        try:
            # Who has just waited for the database in vain does not wait once more.
            if self.ledger.hung is not None:
                raise self.ledger.hung
            self.ledger.release_leases(held)
        except StoresError as error:
            # They end by themselves; what the run did matters more than this.
            self.tell(None, f"the leases could not be given back, they end within {held[0].ttl_s} s: {error}")

    def _cancel(self) -> None:
        self._cancelled.set()
        self.engine.interrupt()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn SIGINT and SIGTERM into an orderly stop; the outcomes are still written."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(_number: int, _frame: FrameType | None) -> None:
            self._cancel()
            # Not from here: the signal may have come in the middle of a write to the same stream.
            text = "stopping: the engine finishes what it is in the middle of"
            threading.Thread(target=self.tell, args=(None, text)).start()

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _without_claim(what: str) -> str:
    """Return what the database said, without what that means for the one call that failed."""
    return what.replace(f" ({failures.NOTHING_CHANGED})", "").replace(f" ({failures.NOT_KNOWN})", "")


def _as_before(observation: Observation, store: StorePlan, reason: str | None) -> StoreResult:
    """Return what a store is that the run did not touch."""
    row = observation.rows.get(store.store_id)
    if row is None:
        return StoreResult(store.store_id, store.action, "Pending", None, reason, 0.0)
    return StoreResult(store.store_id, store.action, row.status, row.url, reason, 0.0, row.content)


def _closed(observation: Observation, store: StorePlan) -> Iterator[Problem]:
    """Yield that a store is closed, and so does not sell, whatever the run has done to the others."""
    closed = observation.closed.get(store.store_id)
    if closed is not None:
        yield Problem(f"store '{store.store_id}'", closed.reason, closed.cure(store.store_id))


def _changes_image(change: Change) -> bool:
    """Return whether the store's code changes, and with it perhaps what its database must be."""
    paths = change.metadata.get("changes")
    return "image" in change.metadata or (isinstance(paths, list) and any(str(p).startswith("image.") for p in paths))


def _problem(outcome: StoreOutcome) -> Problem:
    return Problem(
        f"store '{outcome.store_id}'",
        outcome.reason or f"it is {outcome.status}",
        "correct the cause and run `stores up` again; the other stores are not affected",
    )
