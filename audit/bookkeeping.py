"""What must not be lost of a run: its outcomes, what each cell was brought to, and the end of the log.

Outcomes go into the ledger, or onto this machine's disk until the ledger is back. The log's end is kept elsewhere, so
that a log that was cut is noticed by the next run.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from audit import anchors, failures, provenance, spool
from audit.anchors import Keeper
from audit.context import RunContext
from audit.observation import Observation
from audit.records import Lease, StoreOutcome
from stacks.errors import AuditIncompleteError, DatabaseUnreachableError, StoresError


def open_log(context: RunContext) -> Keeper:
    """Return who keeps the log's anchors. Raises AuditIncompleteError if the log is not what it was."""
    chain_id, chosen = context.ledger.anchor().chain_id, os.environ.get(anchors.VARIABLE)
    keeper = Keeper.of(context.root, context.environment, chain_id, chosen, stdout_taken=context.stdout_taken)
    keeper.check(context.ledger)
    return keeper


@contextmanager
def on_record(context: RunContext, keeper: Keeper, leases: Sequence[Lease]) -> Iterator[None]:
    """Settle what an earlier run could not write, before; keep the log's end, after."""
    for spooled in spool.settle(spool_of(context), context.ledger, context.actor, leases):
        context.tell(None, f"settled run {spooled.run_id} from {spooled.file}")
    try:
        yield
    finally:
        _keep_end(context, keeper)


def settle(
    context: RunContext,
    observation: Observation,
    outcomes: Mapping[str, StoreOutcome],
    after: StoresError | None = None,
) -> None:
    """Put the outcomes on record, and what each cell was brought to. `after`: what the work has ended with.

    Where the database is gone they are kept on disk. Raises AuditIncompleteError then, or, where the engine had not
    begun, DatabaseUnreachableError. Who has just waited for the database in vain does not wait once more.
    """
    with _kept_if_lost(context, context.run_id, list(outcomes.values()), "the stores were changed"):
        if isinstance(after, DatabaseUnreachableError) and context.ledger.hung is not None:
            raise after
        context.ledger.settle(context.run_id, list(outcomes.values()))
        record_cells(context, observation, outcomes)


def put_on_record(context: RunContext, run_id: str, outcome: StoreOutcome, done: str) -> None:
    """Put the outcome of one store on record; `done` says what was done to it, whatever the database says."""
    with _kept_if_lost(context, run_id, [outcome], done):
        context.ledger.settle(run_id, [outcome])


def record_cells(context: RunContext, observation: Observation, store_ids: Collection[str]) -> None:
    """Put on record from what the cells of these stores were last changed."""
    ours = provenance.here(context.root)
    touched = {store.cell for store in context.manifest.stores if store.id in store_ids}
    for cell in sorted(touched & set(observation.snapshots)):
        context.ledger.record_cell(
            context.environment,
            cell,
            manifest_digest=context.manifest.digest,
            commit=ours.commit,
            program_version=ours.program_version,
            cluster_uid=context.cluster.uid,
            run_id=context.run_id,
            held=context.leases,
        )


def spool_of(context: RunContext) -> Path:
    """Return where the outcomes lie that this ledger could not take."""
    return spool.folder_of(context.root, context.environment, context.ledger.identity)


@contextmanager
def _kept_if_lost(context: RunContext, run_id: str, outcomes: Sequence[StoreOutcome], done: str) -> Iterator[None]:
    """Keep outcomes on this machine where they cannot be written; raises AuditIncompleteError then."""
    try:
        yield
    except DatabaseUnreachableError as error:
        kept = spool.keep(spool_of(context), run_id, context.environment, context.actor, outcomes)
        cure = f"bring the database back, then run `stores up` on this machine: it first settles from {kept}"
        cause = failures.without_claim(error.problems[0].what)
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


def _keep_end(context: RunContext, keeper: Keeper) -> None:
    try:
        if context.ledger.hung is not None:
            raise context.ledger.hung
        keeper.keep(context.ledger, tell=lambda text: context.tell(None, text))
    except (StoresError, OSError) as error:
        # The next run compares again; what the run did matters more than this.
        context.tell(None, f"the log's end could not be kept in {keeper.file}: {error}")
