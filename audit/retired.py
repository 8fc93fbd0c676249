"""Repositories of deleted stores: which there still are, until when they are kept, and how they go.

Fail closed: one goes only when the ledger says that its store is deleted and since when, the manifest does not want it,
and its namespace is gone. No option shortens the time that the environment's settings promise.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from audit import backups
from audit.backup_server import BackupServer
from audit.records import STORE_BACKUPS_PRUNE, Actor, NewEntry, StoreRow
from components import naming
from stacks.errors import Problem, RefusedError, StoreFailedError, StoresError

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

Tell = Callable[[str, str], None]


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
                    f"they are kept until {each.expires_at:%Y-%m-%d %H:%M} UTC, {days} days after the deletion",
                    "name an earlier moment, or lower deletedBackupsDays in the environment's settings",
                )
                for each in early
            ]
        )
    return chosen


def prune(
    gate: Gate, chosen: Sequence[Retired], *, actor: Actor, note: str | None = None, tell: Tell = lambda _s, _t: None
) -> list[Pruned]:
    """Remove these repositories, one after the other; each with intent and outcome on record.

    One that cannot be removed does not stop the others. Raises where nothing can be said of any of them.
    """
    server = backups.server_of(gate)
    server.ensure(backups.known_ids(gate))
    run_id = f"prune-{secrets.token_hex(8)}"
    return [_pruned(gate, server, each, NewEntry(
        actor=actor,
        action=STORE_BACKUPS_PRUNE,
        outcome="unknown",
        environment=gate.environment,
        store_id=each.store_id,
        owner=each.owner,
        run_id=run_id,
        reason=note,
        metadata={"deleted_at": each.deleted_at.isoformat()},
    ), tell) for each in chosen]  # fmt: skip


def _pruned(gate: Gate, server: BackupServer, retired: Retired, entry: NewEntry, tell: Tell) -> Pruned:
    store_id = retired.store_id
    try:
        _require_gone(gate, retired)
    except StoresError as error:
        return Pruned(store_id, None, str(error))
    gate.ledger.record(entry)
    try:
        snapshots = _remove(server, store_id, lambda text: tell(store_id, text))
    except StoresError as error:
        gate.ledger.record(replace(entry, outcome="failure", reason=str(error)))
        return Pruned(store_id, None, str(error))
    gate.ledger.record(replace(entry, outcome="success", metadata={**entry.metadata, "snapshots": snapshots}))
    return Pruned(store_id, snapshots)


def _require_gone(gate: Gate, retired: Retired) -> None:
    """Raise unless everything says, right now, that the store is gone, and its time is over."""
    store_id = retired.store_id
    where = f"backups of '{store_id}'"
    rows = gate.ledger.stores(gate.environment, include_deleted=True)
    row = next((row for row in rows if row.store_id == store_id), None)
    keep = timedelta(days=gate.settings.deleted_backups_days)
    if row is None or not _is_deleted(row) or not _retired(row, keep, gate.ledger.now()).expired:
        status = "nothing of it" if row is None else f"{row.status} since {row.since_at:%Y-%m-%d %H:%M} UTC"
        raise RefusedError(where, f"the ledger says: {status}", "only what a deleted store left behind may go")
    store = gate.manifest().store(store_id)
    if store is not None and not store.deleted:
        raise RefusedError(where, "the manifest wants the store", "run `stores up`, or take the block out")
    if gate.cluster.namespace(naming.namespace(store_id)) is not None:
        raise RefusedError(where, "the store's namespace is there", "see what is in it; `stores status` may help")


def _remove(server: BackupServer, store_id: str, tell: Callable[[str], None]) -> int:
    """Remove all that is in a store's repository; return how many snapshots that were."""
    tell("removing its backups")
    result = server.client(store_id, _REMOVE, timeout_s=_TIMEOUT_S, on_wait=tell)
    where = f"backups of '{store_id}'"
    if not result.succeeded:
        raise StoreFailedError(where, f"they cannot be removed: {result.reason}", "see docs/backup.md, and try again")
    try:
        return int(json.loads(result.output.strip().splitlines()[-1])["snapshots"])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise StoreFailedError(where, f"what was removed cannot be read: {error}", "run it again") from None
