"""What goes into the ledger and what comes out of it, as plain frozen data.

Every `*_at` is an aware time in UTC. Nothing here knows a database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from audit.limits import LimitName, Limits, OwnerLimits
from stacks.errors import Problem

ActorKind = Literal["user", "ci", "service", "shop"]
"""`shop`: somebody in a shop, who is nobody of the platform's whatever the name; see `audit.events.shop_user`."""
Outcome = Literal["unknown", "success", "failure", "cancelled", "denied"]
Settled = Literal["success", "failure", "cancelled"]
Status = Literal["Pending", "Provisioning", "Ready", "Failed", "Deleting", "Deleted"]
# A run of ours that ended in the middle leaves a store so.
BROKE_OFF: Final[frozenset[Status]] = frozenset({"Failed", "Provisioning"})

# An update, retry, delete ... of a store that the ledger has never given a slot is recorded as what it is: a creation.
STORE_CREATE: Final = "store.create"
STORE_RETRY: Final = "store.retry"
STORE_UPDATE: Final = "store.update"
STORE_OWNER_CHANGE: Final = "store.owner_change"
STORE_OWNER_LEFT: Final = "store.owner_left"
STORE_DELETE: Final = "store.delete"
STORE_UPGRADE: Final = "store.upgrade"
STORE_ROLLBACK: Final = "store.rollback"
STORE_BACKUP: Final = "store.backup"
STORE_RESTORE: Final = "store.restore"
STATE_IMPORT: Final = "state.import"
STORE_ADOPT: Final = "store.adopt"
STORE_STATUS: Final = "store.status"
LIMIT_OVERRIDE: Final = "limit.override"
ENVIRONMENT_UNPROTECT: Final = "environment.unprotect"
SLOTS_REPAIR: Final = "slots.repair"
LEASE_TAKEOVER: Final = "lease.takeover"
LEASE_ACQUIRE: Final = "lease.acquire"
ENGINE_UNLOCK: Final = "engine.unlock"
STORE_CREDENTIALS_READ: Final = "store.credentials.read"
STORE_BACKUPS_PRUNE: Final = "store.backups.prune"
PRODUCT_CREATED: Final = "product.created"
PRODUCT_UPDATED: Final = "product.updated"
PRODUCT_TRASHED: Final = "product.trashed"
PRODUCT_RESTORED: Final = "product.restored"
PRODUCT_DELETED: Final = "product.deleted"
SESSION_SIGN_IN: Final = "session.sign_in"
SESSION_SIGN_OUT: Final = "session.sign_out"
AUDIT_ARCHIVE: Final = "audit.archive"
AUDIT_SPOOL: Final = "audit.spool"
RUN_RECONCILE: Final = "run.reconcile"
TICKET_CLOSE: Final = "ticket.close"
LEDGER_MIGRATE: Final = "ledger.migrate"
LEDGER_RESTORE: Final = "ledger.restore"

IDEMPOTENCY_KEPT: Final = timedelta(days=7)
PART: Final = "part"
"""In the metadata of a request's part: which runs did the parts `before` it, and whether there is `more` to do."""

LEAVES_AS_IT_IS: Final = frozenset({STORE_BACKUP, STORE_BACKUPS_PRUNE})
"""Actions that are asked, allowed and settled as any other, and change nothing of the store: its status stays."""

COMMANDS: Final = frozenset({AUDIT_ARCHIVE, RUN_RECONCILE, TICKET_CLOSE})
"""Actions about no single store. Of such a run one entry is the result, and what its idempotency key stands for."""

Metadata = Mapping[str, object]


@dataclass(frozen=True)
class Actor:
    """Who did it. `source_ip` is None where there is none (a command line), never invented."""

    name: str
    kind: ActorKind
    source_ip: str | None = None


@dataclass(frozen=True)
class Change:
    """One thing that a run is about to do to one store."""

    store_id: str
    name: str
    owner: str
    cell: str
    action: str
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True)
class Holder:
    """Who asks for a lease. A run asks for each cell once, so its id and the cell name the request."""

    actor: Actor
    host: str
    pid: int
    run_id: str


@dataclass(frozen=True)
class PastLease:
    """A lease that is over: who held the cell, from when until when at the latest, and for how long at once."""

    host: str
    run_id: str
    acquired_at: datetime
    ended_at: datetime
    ttl_s: int


@dataclass(frozen=True)
class Lease:
    """The right to change one cell until `expires_at`.

    `fencing` grows with every acquisition of the cell: what was done under a smaller number is refused. `before`: who
    held the cell last, where that is known.
    """

    environment: str
    cell: str
    fencing: int
    holder: Holder
    acquired_at: datetime
    expires_at: datetime
    ttl_s: int
    before: PastLease | None = field(default=None, compare=False)


@dataclass(frozen=True)
class RunRequest:
    """One run's wish, judged as a whole. `changes` are in the manifest's order, at most one per store.

    `fingerprint` says what was asked, for the comparison of requests under one idempotency key. Where it is None,
    environment and changes are compared; but those differ once a part has been done, so a request that may be resumed
    needs one of its own (say, the manifest's digest and the command).

    `leases`: the cells that the run holds. With them, the run is refused if one was lost, and its outcomes too.
    `follows`: the run that did the part of the same request before this one, of a request that takes several.
    """

    run_id: str
    environment: str
    actor: Actor
    limits: Limits
    owner_limits: Mapping[str, OwnerLimits]
    changes: Sequence[Change]
    reason: str | None = None
    idempotency_key: str | None = None
    override_reason: str | None = None
    fingerprint: str | None = None
    leases: Sequence[Lease] = ()
    follows: str | None = None


@dataclass(frozen=True)
class Denial:
    """One change that a limit stopped, with the numbers at that moment."""

    change: Change
    limit: LimitName
    used: int
    limit_value: int
    retry_at: datetime | None
    window_s: int
    waiting: int = 0
    """How many creations that wait for their hour come before it and take what is left."""

    @property
    def problem(self) -> Problem:
        """Return the denial as it is told to people."""
        where, owner = f"store '{self.change.store_id}'", self.change.owner
        before = f", and {self.waiting} before this one wait for their hour" if self.waiting else ""
        if self.limit == "stores_per_owner":
            what = f"owner '{owner}' has {self.used} of {self.limit_value} stores{before}"
            return Problem(where, what, f"delete a store of '{owner}', or raise its limit in owners.yaml")
        if self.limit == "stores_total":
            what = f"the environment has {self.used} of {self.limit_value} stores{before}"
            return Problem(where, what, "delete a store, or raise the environment's limit")
        window = f"{self.window_s // 60} minutes" if self.window_s % 60 == 0 else f"{self.window_s} s"
        what = f"owner '{owner}' has begun {self.used} of {self.limit_value} creations within {window}"
        if self.retry_at is None:
            return Problem(where, what, f"raise the limit of '{owner}' in owners.yaml")
        return Problem(where, what, f"run again after {_ceil_to_second(self.retry_at):%Y-%m-%dT%H:%M:%SZ}")

    def __str__(self) -> str:
        return str(self.problem)


@dataclass(frozen=True)
class StoreOutcome:
    """What became of one admitted change.

    `reached_engine` False: the engine never began with this store. If it was a creation, the store is Pending again,
    whatever `status` says, and its slot and its place in the hour are given back.
    """

    store_id: str
    outcome: Settled
    status: Status
    reason: str | None = None
    url: str | None = None
    metadata: Metadata = field(default_factory=dict)
    reached_engine: bool = True
    content: str | None = None
    """What answered, of a store that is Ready."""


@dataclass(frozen=True)
class Replay:
    """The result of the earlier run that an idempotency key stands for.

    Of a request in parts, `run_id` is the last part's, `run_ids` are all of them in order, and `outcomes` are each
    store's last.
    """

    run_id: str
    outcomes: tuple[StoreOutcome, ...]
    finished_at: datetime
    run_ids: tuple[str, ...] = ()
    metadata: Metadata = field(default_factory=dict)
    """What the log keeps of a command that is about no single store."""


@dataclass(frozen=True)
class Admission:
    """What of a request may go, in the request's order.

    `admitted` holds the changes as recorded: the ledger knows better than its caller whether something is a creation
    or a retry. With `replayed`, nothing was admitted because the same request has succeeded before.
    """

    admitted: tuple[Change, ...]
    denied: tuple[Denial, ...]
    replayed: Replay | None = None


@dataclass(frozen=True)
class StoreRecord:
    """A store that was found in the engine's state."""

    store_id: str
    name: str
    owner: str
    cell: str
    status: Status = "Provisioning"
    url: str | None = None
    content: str | None = None


@dataclass(frozen=True)
class StoreRow:
    """What the ledger knows of one store.

    `since_at`: since when the status holds. `ready_at`: when it last answered. `pending_until`: when a store that the
    hourly limit holds back can go. `holds_slot`: whether it counts against the limits.
    `content`: what answered, of a store that is Ready.
    """

    environment: str
    store_id: str
    name: str
    owner: str
    cell: str
    status: Status
    status_reason: str | None
    since_at: datetime
    ready_at: datetime | None
    pending_until: datetime | None
    holds_slot: bool
    url: str | None
    content: str | None
    run_id: str | None
    created_at: datetime


@dataclass(frozen=True)
class OwnerUsage:
    """What one owner uses, and of how much. `retry_at`: the first moment at which one more creation may begin."""

    owner: str
    used: int
    limit: int
    starts: int
    starts_limit: int
    retry_at: datetime | None


@dataclass(frozen=True)
class Usage:
    """What an environment uses at `at`, owners in alphabetical order."""

    environment: str
    owners: tuple[OwnerUsage, ...]
    total_used: int
    total_limit: int
    window_s: int
    at: datetime


@dataclass(frozen=True)
class NewEntry:
    """One thing to write into the audit log outside of a run's changes. `occurred_at` None: now."""

    actor: Actor
    action: str
    outcome: Outcome
    environment: str | None = None
    store_id: str | None = None
    owner: str | None = None
    run_id: str | None = None
    reason: str | None = None
    metadata: Metadata = field(default_factory=dict)
    occurred_at: datetime | None = None


@dataclass(frozen=True)
class Entry:
    """One row of the audit log. `metadata` is as stored: canonical JSON is `audit.chain.to_json` of it."""

    seq: int
    entry_id: str
    run_id: str | None
    actor: str
    actor_kind: ActorKind
    source_ip: str | None
    occurred_at: datetime
    recorded_at: datetime
    environment: str | None
    store_id: str | None
    owner: str | None
    action: str
    outcome: Outcome
    reason: str | None
    metadata: Metadata
    prev_hash: str
    hash: str


@dataclass(frozen=True)
class OpenRun:
    """A run with intents that have no outcome: it is still working, or it crashed."""

    run_id: str
    environment: str
    actor: Actor
    admitted_at: datetime
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class CellRecord:
    """What was last applied to a cell, and by what."""

    environment: str
    cell: str
    manifest_digest: str
    commit: str | None
    program_version: str
    cluster_uid: str | None
    applied_at: datetime
    run_id: str | None


def holds_slot(status: Status, *, held_before: bool) -> bool:
    """Return whether a store counts against the limits: from its admission until its namespace is really gone.

    A store that is being deleted counts if it did before; one that was only ever denied has nothing to give back.
    """
    if status in ("Pending", "Deleted"):
        return False
    return held_before if status == "Deleting" else True


def _ceil_to_second(moment: datetime) -> datetime:
    """Return the first full second at or after `moment`: a time told without fraction must not be too early."""
    return moment if moment.microsecond == 0 else moment.replace(microsecond=0) + timedelta(seconds=1)
