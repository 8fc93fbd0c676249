"""What others have left open, settled by looking before a run asks for anything: never by time, and never by trust.

Settled are intents without an outcome, and slots of which nothing exists. Under the cells' leases only, so nobody of
ours is at work on them; whether an engine is all the same, its own lock says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from audit import aftermath
from audit import observation as observations
from audit.context import RunContext
from audit.observation import Observation
from audit.records import Lease, StoreRow
from components import naming

NOTHING_EXISTS: Final = "nothing of it exists; `stores up` makes it again, where the manifest has it"


def settle(run: RunContext, observation: Observation, leases: Sequence[Lease]) -> Observation:
    """Leave nothing open that can be settled, and return what there is then.

    Raises EngineLockedError where an engine of a run that is open may still be at work: nothing is settled then.
    """
    environment = run.settings.environment
    if opened := run.ledger.open_runs(environment):
        # First its lock, then what it has left: a live one would make it another thing at once.
        for cell in sorted({change.cell for crashed in opened for change in crashed.changes}):
            run.engine.clear(cell, pending=False)
        observation = observations.observe(run.root, run.settings, run.manifest, run.engine, run.ledger)
    for crashed in opened:
        run.tell(None, f"run {crashed.run_id} of {crashed.actor.name} ended without an outcome; closing it")
        outcomes = aftermath.outcomes(crashed, observation, run.cluster, run.entrance)
        run.ledger.settle(crashed.run_id, outcomes, actor=run.actor, leases=leases)
    if opened:
        observation = observations.with_rows(observation, run.ledger)
    freed = [row for row in _without_block(observation) if is_nowhere(run, row)]
    for row in freed:
        run.tell(row.store_id, NOTHING_EXISTS, "Pending")
        run.ledger.mark(
            environment, row.store_id, "Pending", NOTHING_EXISTS, run_id=run.run_id, actor=run.actor, leases=leases
        )
    return observations.with_rows(observation, run.ledger) if freed else observation


def _without_block(observation: Observation) -> list[StoreRow]:
    """Return what the ledger alone knows of. A store whose block is there keeps its slot: the run makes it again."""
    return [row for row in observation.only_in_ledger() if observation.manifest.store(row.store_id) is None]


def is_nowhere(run: RunContext, row: StoreRow) -> bool:
    """Return whether nothing exists of a store that no state knows, in the cluster in which its cell was applied."""
    return elsewhere(run, row.cell) is None and run.cluster.namespace(naming.namespace(row.store_id)) is None


def elsewhere(run: RunContext, cell: str) -> str | None:
    """Return in which cluster else the cell was last applied, in words; None where it was in this one, or never."""
    record = run.ledger.cell_record(run.settings.environment, cell)
    if record is None or record.cluster_uid in (None, run.cluster.uid):
        return None
    return f"nothing of it is in this cluster, {run.cluster.uid}; its cell was last applied in {record.cluster_uid}"
