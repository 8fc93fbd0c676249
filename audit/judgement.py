"""What a request would take, by what the ledger knows, and what the limits say to it. It reads, and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    Integer,
    Select,
    String,
    bindparam,
    case,
    literal_column,
    null,
    select,
    type_coerce,
    union_all,
)

from audit import entries, slots
from audit.database import Clock, beginning
from audit.limits import Claim, LimitName, Limits, Tally, Verdict, judge
from audit.records import (
    LEAVES_AS_IT_IS,
    STORE_CREATE,
    STORE_DELETE,
    STORE_RETRY,
    Change,
    Denial,
    RunRequest,
)
from audit.tables import ALL_OWNERS, EPOCH, HEAD_ID, MICROSECOND, Moment, audit_head, intents, stores
from audit.tables import slots as slots_table
from stacks.errors import ManifestError


@dataclass(frozen=True)
class Known:
    """What the ledger knows of one store."""

    store_id: str
    owner: str
    cell: str
    status: str
    holds_slot: int


@dataclass(frozen=True)
class Judged:
    """One change with what the ledger knows of its store and what the limits say."""

    change: Change
    row: Known | None
    claim: Claim
    verdict: Verdict

    @property
    def is_creation(self) -> bool:
        """Return whether the change takes a slot and counts for the hour."""
        return self.claim.new

    def denial(self, limits: Limits) -> Denial:
        """Return the limit that stands in the way; only of a change that is not allowed."""
        verdict = self.verdict
        return Denial(
            self.change,
            cast("LimitName", verdict.limit),
            verdict.used,
            verdict.limit_value,
            verdict.retry_at,
            limits.window_s,
            verdict.waiting,
        )


@dataclass(frozen=True)
class Facts:
    """What the ledger knows that a request depends on."""

    now: datetime
    total: int
    """The slots of the environment in use."""
    used: Mapping[str, int]
    """The slots of the owners that were asked for; one that never had any is missing."""
    stores: Mapping[str, Known]
    starts: Mapping[str, Sequence[datetime]]
    head: entries.Head | None
    """The end of the log, if nobody else can change any of this until the transaction ends."""


_STARTS: Final[Select[Any]] = select(intents.c.owner, intents.c.admitted_at).where(
    intents.c.environment == bindparam("environment"),
    intents.c.creation == 1,
    intents.c.admitted_at > bindparam("since", type_=Moment),
)


def owners(request: RunRequest) -> set[str]:
    """Return the owners that the request names."""
    return {change.owner for change in request.changes}


def forecast(connection: Connection, clock: Clock, request: RunRequest) -> tuple[list[Judged], datetime]:
    """Return each change with what would be said to it now, without a lock, and the time of that."""
    facts = look(connection, clock, request)
    return judge_request(request, facts), facts.now


def look(
    connection: Connection, clock: Clock, request: RunRequest, *, held: bool = False, below: int | None = None
) -> Facts:
    """Return what the request depends on, in one answer.

    `held`: it is locked first, and nobody else changes it until the transaction ends; with `below`, only if fewer
    slots than that are in use. Raises InternalError if the environment has nothing to lock.
    """
    if held:
        slots.hold(connection, request.environment, below=below)
    named, changes = sorted(owners(request)), request.changes
    values: dict[str, object] = {
        "environment": request.environment,
        "all_owners": ALL_OWNERS,
        "window_us": request.limits.window // MICROSECOND,
        **{f"owner_{number}": owner for number, owner in enumerate(named)},
        **{f"store_{number}": change.store_id for number, change in enumerate(changes)},
    }
    one_lock = connection.dialect.name == "sqlite"
    known: dict[str, Known] = {}
    used: dict[str, int] = {}
    begun: dict[str, list[datetime]] = {}
    now, head = EPOCH, None
    for kind, store_id, owner, cell, status, number, at in connection.execute(
        _facts(clock, len(named), len(changes), one_lock=one_lock), values
    ):
        if kind == _NOW:
            now = at
            head = entries.Head(number, status, at) if held and number is not None else None
        elif kind == _COUNTER:
            used[owner] = number
        elif kind == _STORE:
            known[store_id] = Known(store_id, owner, cell, status, number)
        else:
            begun.setdefault(owner, []).append(at)
    total = used.pop(ALL_OWNERS, None)
    if total is None and held:
        raise slots.missing(request.environment)
    return Facts(now, total or 0, used, known, begun, head)


def judge_request(request: RunRequest, facts: Facts) -> list[Judged]:
    """Return each change with its verdict. It holds as long as nobody else changes what is counted."""
    rows = facts.stores
    claims = [_claim(change, rows.get(change.store_id)) for change in request.changes]
    tally = Tally(facts.total, facts.used, facts.starts)
    verdicts = judge(claims, tally, limits=request.limits, owner_limits=request.owner_limits, now=facts.now)
    return [
        Judged(_as_it_is(change, claim), rows.get(change.store_id), claim, verdict)
        for change, claim, verdict in zip(request.changes, claims, verdicts, strict=True)
    ]


def starts(connection: Connection, environment: str, limits: Limits, now: datetime) -> dict[str, list[datetime]]:
    """Return when the creations of each owner of the environment began that still count."""
    found: dict[str, list[datetime]] = {}
    for row in connection.execute(_STARTS, {"environment": environment, "since": now - limits.window}):
        found.setdefault(row.owner, []).append(row.admitted_at)
    return found


_NOW, _COUNTER, _STORE, _START = range(4)


# Each statement is a way to the server and back, and most of an admission's time is spent on those ways, with others
# waiting for the lock. So there is one question.
# One per size of a request: a list of values that grows with them would be written anew for each request.
@lru_cache(maxsize=64)
def _facts(clock: Clock, owners: int, changes: int, *, one_lock: bool) -> CompoundSelect[Any]:
    here = bindparam("environment", type_=String)
    named = [bindparam(f"owner_{number}", type_=String) for number in range(owners)]
    wanted = [bindparam(f"store_{number}", type_=String) for number in range(changes)]
    # A start that counts began after the clock's time less the window, so after any earlier moment less the window.
    since = beginning(clock) - bindparam("window_us", type_=BigInteger)
    # No number: it is not held.
    seq = audit_head.c.seq if one_lock else case((slots.HELD, audit_head.c.seq), else_=null())
    counters, known, begun = slots_table.c, stores.c, intents.c
    return union_all(
        _row(_NOW, status=audit_head.c.hash, number=seq, at=clock).where(audit_head.c.id == HEAD_ID),
        _row(_COUNTER, owner=counters.owner, number=counters.used).where(
            counters.environment == here, counters.owner.in_([bindparam("all_owners", type_=String), *named])
        ),
        _row(
            _STORE,
            store_id=known.store_id,
            owner=known.owner,
            cell=known.cell,
            status=known.status,
            number=known.holds_slot,
        ).where(known.environment == here, known.store_id.in_(wanted)),
        _row(_START, owner=begun.owner, at=begun.admitted_at).where(
            begun.environment == here,
            begun.owner.in_(named),
            begun.creation == literal_column("1"),
            begun.admitted_at > since,
        ),
    )


_COLUMNS: Final = {
    "store_id": String,
    "owner": String,
    "cell": String,
    "status": String,
    "number": BigInteger,
    "at": Moment,
}


def _row(kind: int, **columns: ColumnElement[Any]) -> Select[Any]:
    shown = [columns.get(name, type_coerce(null(), kind_of)) for name, kind_of in _COLUMNS.items()]
    return select(literal_column(str(kind), Integer), *shown)


def _claim(change: Change, row: Known | None) -> Claim:
    """Return what the change takes, by what the ledger knows and not by what its caller calls it."""
    if row is not None and row.cell != change.cell:
        raise ManifestError(
            f"store '{change.store_id}'",
            f"its cell was {row.cell} and is now {change.cell}, but a store never changes its cell",
            f'write back cell: "{row.cell}"',
        )
    if change.action in LEAVES_AS_IT_IS:
        return Claim(change.owner)
    if change.action == STORE_DELETE:
        return Claim(change.owner, gives_back=row.owner if row is not None and row.holds_slot else None)
    if row is None or not row.holds_slot:
        return Claim(change.owner, new=True)
    return Claim(change.owner, moved_from=row.owner if row.owner != change.owner else None)


def _as_it_is(change: Change, claim: Claim) -> Change:
    if claim.new:
        return replace(change, action=STORE_CREATE)
    if not claim.new and change.action == STORE_CREATE:
        return replace(change, action=STORE_RETRY)
    return change
