"""Repositories of deleted stores: which there still are, until when they are kept, and how they go.

Fail closed: one goes only when the ledger says that its store is deleted and since when, the manifest does not want it,
and its namespace is gone. No option shortens the time that the environment's settings promise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING, Final

from audit import backups, idempotency, replays
from audit.backup_server import BackupServer
from audit.records import STORE_BACKUPS_PRUNE, Actor, Change, Replay, Settled, StoreOutcome, StoreRow
from audit.results import Report
from audit.run import Run
from components import naming
from stacks.errors import (
    CancelledError,
    DatabaseUnreachableError,
    Problem,
    RefusedError,
    StoreFailedError,
    StoresError,
)

if TYPE_CHECKING:
    from audit.gate import Gate

_REMOVE: Final = """set -eu
. /etc/store/backup/repository.sh
if (open_repository fail) 2> /tmp/why; then :; else
  grep -q 'there is no repository of' /tmp/why || { cat /tmp/why >&2; exit 1; }
  echo '{"snapshots":0}'
  exit 0
fi
restic unlock > /dev/null
ids=$(restic list snapshots --no-lock)
[ -z "$ids" ] || restic forget --retry-lock 1m --quiet $ids
restic prune --retry-lock 1m --quiet
left=$(restic list packs --no-lock | wc -l)
[ "$left" -eq 0 ] || fail "$left files of data are left" 'run it again'
printf '{"snapshots":%s}\\n' "$(printf '%s\\n' "$ids" | grep -c . || true)"
"""
# Of a large repository in an object store each file is a request.
_TIMEOUT_S: Final = 3600


@dataclass(frozen=True)
class Retired:
    """The repository of a deleted store. From `expires_at` on it may go."""

    store_id: str
    name: str
    owner: str
    deleted_at: datetime
    expires_at: datetime
    expired: bool


@dataclass(frozen=True)
class Pruned:
    """What became of one repository: `snapshots` is how many went, None where it did not work."""

    store_id: str
    snapshots: int | None
    problem: str | None = None
    replayed: bool = False
    """Whether an earlier call under the same key did it."""


def of_all(gate: Gate) -> list[Retired]:
    """Return every deleted store whose repository was not removed yet, the longest deleted first."""
    entries = gate.ledger.entries(gate.environment, action=STORE_BACKUPS_PRUNE, outcome="success", limit=1_000_000)
    gone = {entry.store_id for entry in entries}
    rows = gate.ledger.stores(gate.environment, include_deleted=True)
    now = gate.ledger.now()
    keep = timedelta(days=gate.settings.deleted_backups_days)
    found = [_retired(row, keep, now) for row in rows if _is_deleted(row) and row.store_id not in gone]
    return sorted(found, key=lambda retired: (retired.deleted_at, retired.store_id))


def _is_deleted(row: StoreRow) -> bool:
    return row.status == "Deleted" and not row.holds_slot


def _retired(row: StoreRow, keep: timedelta, now: datetime) -> Retired:
    expires_at = row.since_at + keep
    return Retired(row.store_id, row.name, row.owner, row.since_at, expires_at, expires_at <= now)


def due(retired: Sequence[Retired], deleted_before: datetime | None, days: int) -> list[Retired]:
    """Return those that may go; with `deleted_before` only those of stores that were deleted before then.

    Raises RefusedError where that would take one whose time is not over.
    """
    if deleted_before is None:
        return [each for each in retired if each.expired]
    chosen = [each for each in retired if each.deleted_at < deleted_before]
    early = [each for each in chosen if not each.expired]
    if early:
        raise RefusedError.of(
            [
                Problem(
                    f"backups of '{each.store_id}'",
                    f"they are kept until {each.expires_at:%Y-%m-%dT%H:%M:%SZ}, {days} days after the deletion",
                    "name an earlier moment, or lower deletedBackupsDays in the environment's settings",
                )
                for each in early
            ]
        )
    return chosen


def prune(
    gate: Gate,
    chosen: Sequence[Retired],
    *,
    actor: Actor,
    note: str | None = None,
    idempotency_key: str | None = None,
    asked: str | None = None,
    report: Report = lambda _event: None,
) -> list[Pruned]:
    """Remove these repositories, one after the other; each is an intent and an outcome of the ledger's.

    One that cannot be removed does not stop the others. Raises where nothing can be said of any of them. `asked` tells
    the request from others under its key; where it has succeeded since that was asked, its result is returned.
    """
    if not chosen:
        return []
    run = gate.new_run(actor, report)
    request = gate.request_of(run.manifest, run.run_id, actor, note, idempotency_key, asked=asked)
    rows = {row.store_id: row for row in gate.ledger.stores(gate.environment, include_deleted=True)}
    cells = {rows[each.store_id].cell for each in chosen if each.store_id in rows}
    server = backups.server_of(gate)
    done: dict[str, Pruned] = {}
    with run.session(request, cells=cells or {naming.FIRST_CELL}) as leases:
        if (earlier := gate.ledger.replayed(request)) is not None:
            return _of_replay(earlier)
        stay = {each.store_id: why for each in chosen if (why := _why_it_stays(gate, each)) is not None}
        going = [each for each in chosen if each.store_id not in stay]
        before = gate.ledger.parts_done(request)
        request, part = idempotency.in_part(request, before, more=bool(stay))
        changes = tuple(_change(each, rows[each.store_id].cell, part) for each in going)
        if changes:
            server.ensure(backups.known_ids(gate))
            admission = gate.ledger.admit(replace(request, changes=changes, leases=tuple(leases)))
            if admission.replayed is not None:
                return _of_replay(admission.replayed)
        try:
            for each in going:
                done[each.store_id] = _pruned(gate, run, server, (each, note))
        except DatabaseUnreachableError:
            # Its own words are about one question only, and the intents that are left are closed by the next run.
            run.tell(None, f"{len(done)} of {len(going)} were gone through, which is on record")
            raise
    if run.cancelled.is_set():
        raise CancelledError(f"run {run.run_id}", "it was stopped", "run it again to go on")
    return [done.get(each.store_id) or Pruned(each.store_id, None, stay[each.store_id]) for each in chosen]


def pruned_before(
    gate: Gate, *, actor: Actor, idempotency_key: str | None, asked: str, report: Report
) -> list[Pruned] | None:
    """Return what the same request has come to under its key; None if it may be made. To be asked before any list."""
    run = gate.new_run(actor, report)
    request = gate.request_of(run.manifest, run.run_id, actor, None, idempotency_key, asked=asked)
    earlier = replays.earlier(gate, run, request)
    return None if earlier is None else _of_replay(earlier)


def _of_replay(earlier: Replay) -> list[Pruned]:
    return [
        Pruned(outcome.store_id, int(str(outcome.metadata["snapshots"])), replayed=True) for outcome in earlier.outcomes
    ]


def _change(retired: Retired, cell: str, part: Mapping[str, object]) -> Change:
    facts = {"deleted_at": retired.deleted_at.isoformat(), **part}
    return Change(retired.store_id, retired.name, retired.owner, cell, STORE_BACKUPS_PRUNE, facts)


def _pruned(gate: Gate, run: Run, server: BackupServer, asked: tuple[Retired, str | None]) -> Pruned:
    """Remove one repository, for that reason, and leave on record what came of it."""
    retired, note = asked
    store_id = retired.store_id
    facts: dict[str, object] = {"deleted_at": retired.deleted_at.isoformat()}
    outcome = StoreOutcome(store_id, "success", "Deleted", reason=note, metadata=facts)
    snapshots, problem = None, _why_it_stays(gate, retired)
    if run.cancelled.is_set():
        problem = "the run was stopped"
    begun = problem is None
    if begun:
        try:
            snapshots = _remove(server, store_id, lambda text: run.tell(store_id, text), cancelled=run.cancelled)
        except StoresError as error:
            problem = str(error)
    if problem is not None:
        ended: Settled = "cancelled" if run.cancelled.is_set() else "failure"
        outcome = replace(outcome, outcome=ended, reason=problem, reached_engine=begun)
        run.put_on_record(run.run_id, outcome, "its backups were being removed")
        return Pruned(store_id, None, problem)
    facts["snapshots"] = snapshots
    run.put_on_record(run.run_id, outcome, "its backups were removed")
    return Pruned(store_id, snapshots)


def _why_it_stays(gate: Gate, retired: Retired) -> str | None:
    """Return why a repository must not go, or None. Raises DatabaseUnreachableError, which is no reason of its own."""
    try:
        _require_gone(gate, retired)
    except DatabaseUnreachableError:
        raise
    except StoresError as error:
        return str(error)
    return None


def _require_gone(gate: Gate, retired: Retired) -> None:
    """Raise unless everything says, right now, that the store is gone, and its time is over."""
    store_id = retired.store_id
    where = f"backups of '{store_id}'"
    rows = gate.ledger.stores(gate.environment, include_deleted=True)
    row = next((row for row in rows if row.store_id == store_id), None)
    keep = timedelta(days=gate.settings.deleted_backups_days)
    if row is None or not _is_deleted(row) or not _retired(row, keep, gate.ledger.now()).expired:
        status = "nothing of it" if row is None else f"{row.status} since {row.since_at:%Y-%m-%dT%H:%M:%SZ}"
        raise RefusedError(where, f"the ledger says: {status}", "only what a deleted store left behind may go")
    store = gate.manifest().store(store_id)
    if store is not None and not store.deleted:
        raise RefusedError(where, "the manifest wants the store", "run `stores up`, or take the block out")
    if gate.cluster.namespace(naming.namespace(store_id)) is not None:
        raise RefusedError(where, "the store's namespace is there", "see what is in it; `stores status` may help")


def _remove(server: BackupServer, store_id: str, tell: Callable[[str], None], *, cancelled: Event | None = None) -> int:
    """Remove all that is in a store's repository; return how many snapshots that were."""
    tell("removing its backups")
    result = server.client(store_id, _REMOVE, timeout_s=_TIMEOUT_S, cancelled=cancelled, on_wait=tell)
    where = f"backups of '{store_id}'"
    if not result.succeeded:
        raise StoreFailedError(where, f"they cannot be removed: {result.reason}", "see docs/backup.md, and try again")
    try:
        return int(json.loads(result.output.strip().splitlines()[-1])["snapshots"])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise StoreFailedError(where, f"what was removed cannot be read: {error}", "run it again") from None
