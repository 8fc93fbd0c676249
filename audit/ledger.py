"""The ledger: who asked for what, what was allowed, what became of it. The only way to its database.

Every call is one transaction, bounded in time, and fails closed: a DatabaseUnreachableError means that nothing was
changed, or says that it is not known. Safe to use from several threads.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from audit import (
    admission,
    cell_records,
    counters,
    idempotency,
    judgement,
    leases,
    migrations,
    reports,
    settlement,
    slots,
)
from audit.audit_log import AuditLog
from audit.database import TIMEOUT_VARIABLE, Database, Timeouts, chosen_timeouts
from audit.judgement import Judged
from audit.limits import Limits, OwnerLimits
from audit.records import (
    LEASE_ACQUIRE,
    Actor,
    Admission,
    CellRecord,
    Holder,
    Lease,
    NewEntry,
    OpenRun,
    Replay,
    RunRequest,
    Status,
    StoreOutcome,
    StoreRecord,
    StoreRow,
    Usage,
)
from audit.settlement import Seen
from stacks.errors import LockedError, StoresError


class Ledger(AuditLog):
    """One ledger. Make it with `open`, and close it."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._ready: set[str] = set()
        self._ready_lock = threading.Lock()

    @classmethod
    def open(cls, url: str, *, timeouts: Timeouts | None = None, now: Callable[[], datetime] | None = None) -> Ledger:
        """Return the ledger at `url`, with this program's schema.

        An SQLite ledger is made or migrated here; MariaDB's is never, its error names `stores db migrate`.
        `now` replaces the database's clock, for tests. Without `timeouts`, $STORES_LEDGER_TIMEOUT_SECONDS holds.
        """
        chosen = timeouts or chosen_timeouts(os.environ.get(TIMEOUT_VARIABLE))
        database = Database(url, timeouts=chosen, now=now)
        if database.is_sqlite:
            migrations.ensure(database)
        else:
            migrations.check(database)
        return cls(database)

    def describe(self) -> str:
        """Return which database this is, with its version and schema; no password."""
        return self._database.describe(migrations.REVISION)

    @property
    def identity(self) -> str:
        """A short name of which database this is, the same from every machine that names it alike; no password."""
        url = self._database.url.set(password=None)
        return hashlib.sha256(url.render_as_string().encode()).hexdigest()[:12]

    @property
    def hung(self) -> StoresError | None:
        """Why the database is taken for dead: a call waited for it in vain, and none has succeeded since; else None.

        For what may be left undone at the end of a run, which must not wait once more.
        """
        return self._database.hung

    def now(self) -> datetime:
        """Return the database's time, which is the one that all limits go by."""
        return self._database.read(self._time)

    def _time(self, connection: Connection) -> datetime:
        moment: datetime = connection.execute(select(self._database.clock)).scalar_one()
        return moment

    # --- runs

    def admit(self, request: RunRequest) -> Admission:
        """Return what of the request may go; it is committed: slots, hourly log, status, intent and denial entries.

        Raises LockedError if the same request is in flight or a lease was lost, UsageError for a key that was used for
        another request, ManifestError if a store changed its cell. Nothing was recorded then.
        """
        admission.check(request)
        self._ensure(request.environment)
        clock = self._database.clock

        def find(connection: Connection) -> Admission | None:
            return admission.find(connection, clock, request)

        # What can go nowhere is denied by a reader: on SQLite a writer keeps everybody out from its beginning.
        denied = (
            self._database.read(lambda c: admission.foresee(c, clock, request)) if self._database.is_sqlite else None
        )
        if denied is not None:
            return self._database.write(lambda c: admission.deny(c, clock, request, denied), find=find)
        return self._database.write(lambda connection: admission.decide(connection, clock, request), find=find)

    def replayed(self, request: RunRequest) -> Replay | None:
        """Return the result that the request's key stands for; None if it may be made. Nothing is recorded.

        Raises UsageError for a key that was used for another request, LockedError if the same one is in flight.
        """
        if request.idempotency_key is None:
            return None
        idempotency.check_key(request.idempotency_key)
        return self._database.read(lambda c: idempotency.replay(c, request, self._time(c)))

    def parts_done(self, request: RunRequest) -> tuple[str, ...]:
        """Return the runs that have done parts of the same request under its key, in order."""
        if request.idempotency_key is None:
            return ()
        return self._database.read(lambda c: idempotency.runs_of(c, request, self._time(c)))

    def claim(self, request: RunRequest) -> Replay | None:
        """Return what the request's key stands for; None once the key is left with this request, which may go on.

        For a command that is about no single store, under leases that keep everybody else from it: an earlier try that
        left no result is over. Raises UsageError for a key that was used for another request, LockedError if a lease
        was lost.
        """
        if request.idempotency_key is None:
            return None
        idempotency.check_key(request.idempotency_key)

        def claim(connection: Connection) -> Replay | None:
            now = self._time(connection)
            leases.check_held(connection, request.environment, request.leases, now)
            earlier = idempotency.replay(connection, request, now, alone=True)
            if earlier is None:
                idempotency.claim(connection, request, now)
            return earlier

        return self._database.write(claim)

    def foresee(self, request: RunRequest) -> tuple[Judged, ...]:
        """Return what each change would take and what the limits would say to it now. Nothing is recorded."""
        admission.check(request)
        clock = self._database.clock
        judged, _now = self._database.read(lambda connection: judgement.forecast(connection, clock, request))
        return tuple(judged)

    def settle(
        self,
        run_id: str,
        outcomes: Sequence[StoreOutcome],
        *,
        actor: Actor | None = None,
        leases: Sequence[Lease] = (),
    ) -> None:
        """Leave each outcome recorded once, with its status, and slots given back. Doing it again changes nothing.

        Who settles another's run says so with `actor`, and under which leases. Raises LockedError if the run's own
        lease was taken over, or another outcome has been recorded meanwhile.
        """
        clock = self._database.clock
        self._database.write(lambda c: settlement.settle(c, clock, run_id, outcomes, actor=actor, held=leases))

    def adopt(
        self, environment: str, stores: Sequence[StoreRecord], actor: Actor, *, leases: Sequence[Lease] = ()
    ) -> None:
        """Leave stores that exist, but were not known, counted and audited. Known ones stay as they are.

        Raises LockedError if one of the leases was taken over.
        """
        self._ensure(environment)
        clock = self._database.clock
        self._database.write(
            lambda connection: settlement.adopt(connection, clock, environment, stores, actor, held=leases)
        )

    def mark(
        self,
        environment: str,
        store_id: str,
        status: Status,
        reason: str | None,
        *,
        run_id: str | None = None,
        actor: Actor | None = None,
        url: str | None = None,
        content: str | None = None,
        leases: Sequence[Lease] = (),
    ) -> None:
        """Leave the store with the status that somebody has seen. `Deleted` gives its slot back.

        Raises LockedError if one of the leases was taken over: what was seen may be long past then.
        """
        self._ensure(environment)
        clock = self._database.clock
        self._database.write(
            lambda connection: settlement.mark(
                connection,
                clock,
                environment,
                store_id,
                seen=Seen(status, reason, url, run_id, content),
                actor=actor,
                held=leases,
            )
        )

    def repair_slots(
        self, environment: str, actor: Actor, run_id: str, *, leases: Sequence[Lease] = ()
    ) -> list[counters.Drift]:
        """Leave the counters as the stores say, and return what was wrong with them; that is on record.

        Raises LockedError if one of the leases was taken over.
        """
        self._ensure(environment)
        clock = self._database.clock
        return self._database.write(
            lambda connection: counters.repair(connection, clock, environment, actor, run_id, held=leases)
        )

    def open_runs(self, environment: str) -> list[OpenRun]:
        """Return the runs with changes that have no outcome: they work, or they crashed. Oldest first."""
        return self._database.read(lambda connection: settlement.open_runs(connection, environment))

    # --- what is known

    def stores(self, environment: str, *, include_deleted: bool = False) -> list[StoreRow]:
        """Return the stores by id."""
        return self._database.read(lambda c: reports.stores_of(c, environment, include_deleted=include_deleted))

    def usage(self, environment: str, limits: Limits, overrides: Mapping[str, OwnerLimits]) -> Usage:
        """Return what is in use of each limit, for every owner that uses something or has limits of its own."""
        clock = self._database.clock
        return self._database.read(lambda c: reports.usage(c, clock, environment, limits, overrides))

    def cell_record(self, environment: str, cell: str) -> CellRecord | None:
        """Return what was last applied to the cell."""
        return self._database.read(lambda connection: cell_records.find(connection, environment, cell))

    def record_cell(
        self,
        environment: str,
        cell: str,
        *,
        manifest_digest: str,
        commit: str | None,
        program_version: str,
        cluster_uid: str | None,
        applied_at: datetime | None = None,
        run_id: str | None = None,
        held: Sequence[Lease] = (),
    ) -> None:
        """Leave on record what was applied to the cell. `applied_at` None: now, by the database's clock.

        Raises LockedError if one of the leases was taken over.
        """
        values: dict[str, Any] = {
            "manifest_digest": manifest_digest,
            "commit_id": commit,
            "program_version": program_version,
            "cluster_uid": cluster_uid,
            "run_id": run_id,
            "applied_at": self._database.clock if applied_at is None else applied_at,
        }

        self._database.write(lambda connection: cell_records.put(connection, environment, cell, values, held=held))

    # --- leases

    def acquire_lease(self, environment: str, cell: str, holder: Holder, ttl_s: int) -> Lease:
        """Return the right to change the cell.

        Raises LockedError, which names who has it and since when; that it was refused is on record then.
        """
        clock = self._database.clock
        try:
            return self._database.write(
                lambda c: leases.acquire(c, clock, environment, cell, holder=holder, ttl_s=ttl_s)
            )
        except LockedError as error:
            self._refused(error, holder.actor, environment, holder.run_id, {"cell": cell})
            raise

    def renew_leases(self, held: Sequence[Lease]) -> list[Lease]:
        """Return the leases with a new end, in one transaction. Raises LockedError if one was lost."""
        clock = self._database.clock
        return self._database.write(lambda connection: leases.renew_all(connection, clock, held))

    def release_leases(self, held: Sequence[Lease]) -> None:
        """Leave the cells free, in one transaction. Leases that were lost are left alone."""
        clock = self._database.clock
        self._database.write(lambda connection: leases.release_all(connection, clock, held))

    def _refused(
        self, error: LockedError, actor: Actor, environment: str, run_id: str, metadata: Mapping[str, object]
    ) -> None:
        """Put on record that somebody was told to wait: of two who want the same, the log names both."""
        self.record(
            NewEntry(
                actor,
                LEASE_ACQUIRE,
                "denied",
                environment=environment,
                run_id=run_id,
                reason=str(error),
                metadata=metadata,
            )
        )

    def _ensure(self, environment: str) -> None:
        with self._ready_lock:
            if environment not in self._ready:
                slots.ensure(self._database, environment)
                self._ready.add(environment)
