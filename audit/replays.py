"""What an idempotency key stands for, asked before a command plans or asks anything; and results as the log keeps them.

A run that crashed under the key is closed first: it is in flight for nobody but the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from audit.plan import Action
from audit.records import NewEntry, Replay, RunRequest
from audit.results import RunResult, StoreResult
from audit.run import Run
from stacks.errors import LockedError

if TYPE_CHECKING:
    from audit.gate import Gate


def earlier(gate: Gate, run: Run, request: RunRequest) -> Replay | None:
    """Return what has come of the same request under its key; None if it may be made, or has no key.

    Raises UsageError for a key that was used for another request, LockedError if the same one is in flight.
    """
    try:
        return gate.ledger.replayed(request)
    except LockedError:
        with run.session(request) as leases:
            run.observe(leases)  # nobody holds the cells, so it crashed; now it is closed
    return gate.ledger.replayed(request)


def claimed(run: Run, request: RunRequest) -> RunResult | None:
    """Return the result that the key of a command about no single store stands for; None once it is this one's.

    To be asked under leases that keep everybody else from the same.
    """
    found = run.ledger.claim(replace(request, leases=run.leases))
    if found is None:
        return None
    said = cast("Mapping[str, Any]", found.metadata)
    rows = {row.store_id: row for row in run.ledger.stores(request.environment, include_deleted=True)}
    results = tuple(
        StoreResult(store_id, Action.UNTOUCHED, status, rows[store_id].url if store_id in rows else None, None, 0.0)
        for store_id, status in said["stores"].items()
    )
    return RunResult(found.run_id, results, nothing_to_do=bool(said["nothing_to_do"]), replayed=True)


def keep(run: Run, request: RunRequest, action: str, result: RunResult) -> RunResult:
    """Leave the result of a command about no single store on record, where it has a key; return it."""
    if request.idempotency_key is None:
        return result
    said = {
        "nothing_to_do": result.nothing_to_do,
        "stores": {store.store_id: store.status for store in result.stores},
    }
    error = result.exit_error
    run.ledger.record(
        NewEntry(
            run.actor,
            action,
            "success" if error is None else "failure",
            environment=request.environment,
            run_id=request.run_id,
            reason=request.reason if error is None else str(error),
            metadata=said,
        )
    )
    return result
