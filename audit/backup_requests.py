"""Backups of several stores, asked for at once: one after the other, each a run of its own and a part of one request.

One store's failure does not stop the others. Under an idempotency key what was backed up is not backed up again: the
rest is, until all of it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from audit import backups, idempotency, replays
from audit.records import STORE_BACKUP, Actor, Replay, RunRequest
from audit.results import Report
from audit.run import Run
from stacks.errors import Problem, StoreFailedError, StoresError

if TYPE_CHECKING:
    from audit.gate import Gate


@dataclass(frozen=True)
class BackedUp:
    """What became of one store's backup: the id of its snapshot, or None and why there is none."""

    store_id: str
    snapshot: str | None
    problem: str | None = None
    replayed: bool = False
    """Whether it was made by an earlier call under the same key."""


@dataclass(frozen=True)
class BackupResult:
    """What became of the whole, in the order that was asked for."""

    stores: tuple[BackedUp, ...]
    exit_error: StoresError | None = None


def back_up(
    gate: Gate,
    store_ids: Sequence[str] | None,
    *,
    actor: Actor,
    note: str | None = None,
    idempotency_key: str | None = None,
    report: Report = lambda _event: None,
) -> BackupResult:
    """Back up these stores, or with None every one that is Ready; return what became of each.

    Raises what keeps a backup from beginning, such as a store that does not exist; what was made until then is on
    record.
    """
    run = gate.new_run(actor, report)
    asked = idempotency.asked("backup", stores=None if store_ids is None else sorted(set(store_ids)))
    request = gate.request_of(run.manifest, run.run_id, actor, note, idempotency_key, asked=asked)
    earlier = replays.earlier(gate, run, request)
    if earlier is not None:
        return _of_replay(earlier)
    before = gate.ledger.parts_done(request)
    done = _done(gate, before)
    if store_ids is None:
        ready = [row.store_id for row in gate.ledger.stores(gate.environment) if row.status == "Ready"]
        store_ids = [*done, *(store_id for store_id in ready if store_id not in done)]
    return _one_by_one(lambda: gate.new_run(actor, report), gate, (request, before, done), store_ids)


def _of_replay(earlier: Replay) -> BackupResult:
    return BackupResult(
        tuple(
            BackedUp(outcome.store_id, str(outcome.metadata["snapshot"]), replayed=True) for outcome in earlier.outcomes
        )
    )


def _one_by_one(
    new_run: Callable[[], Run],
    gate: Gate,
    asked: tuple[RunRequest, tuple[str, ...], dict[str, str]],
    store_ids: Sequence[str],
) -> BackupResult:
    request, before, done = asked
    found: list[BackedUp] = []
    problems: list[Problem] = []
    chosen = list(dict.fromkeys(store_ids))
    left = [store_id for store_id in chosen if store_id not in done]
    for store_id in chosen:
        if store_id in done:
            found.append(BackedUp(store_id, done[store_id], replayed=True))
            continue
        row = backups.row_of(gate.ledger, gate.environment, store_id)
        server = backups.server_of(gate)
        more = bool(problems) or store_id != left[-1]
        one, part = idempotency.in_part(replace(request, run_id=backups.new_run_id()), before, more=more)
        run = new_run()
        try:
            with run.session(one, cells={row.cell}) as leases:
                snapshot = backups.taken(
                    run,
                    leases,
                    store_id,
                    "manual",
                    note=request.reason,
                    server=(server, backups.known_ids(gate)),
                    request=one,
                    part=part,
                )
        except backups.AlreadyDoneError as done_meanwhile:
            return _of_replay(done_meanwhile.replay)
        except StoreFailedError as error:
            problems.extend(error.problems)
            found.append(BackedUp(store_id, None, str(error)))
        else:
            found.append(BackedUp(store_id, snapshot))
        before = (*before, one.run_id)
    return BackupResult(tuple(found), StoreFailedError.of(problems) if problems else None)


def _done(gate: Gate, run_ids: Sequence[str]) -> dict[str, str]:
    """Return the snapshots, by store, that these runs have made."""
    found: dict[str, str] = {}
    for run_id in run_ids:
        for entry in gate.ledger.entries(gate.environment, run_id=run_id, action=STORE_BACKUP, outcome="success"):
            found[str(entry.store_id)] = str(entry.metadata["snapshot"])
    return found
