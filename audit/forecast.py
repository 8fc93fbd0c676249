"""What `up` would do, in full: the plan, what the limits would say to it, and what the engine would do for it.

It changes nothing, and admits nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from audit import observation as observations
from audit.engine.driver import Engine
from audit.judgement import Judged
from audit.ledger import Ledger
from audit.limits import Limits
from audit.observation import Observation
from audit.plan import CHANGING, StorePlan, count_operations
from audit.records import RunRequest
from stacks.cluster import Cluster
from stacks.program import RunOptions


def judged(
    ledger: Ledger, request: RunRequest, observation: Observation, stores: tuple[StorePlan, ...]
) -> tuple[Judged, ...]:
    """Return what the limits would say to the plan if it ran now; `request` comes without its changes."""
    return ledger.foresee(replace(request, changes=observations.changes_of(observation, stores)))


def with_denials(stores: tuple[StorePlan, ...], said: Sequence[Judged], limits: Limits) -> tuple[StorePlan, ...]:
    """Return the plan with why the limits deny what they deny."""
    texts = {item.change.store_id: str(item.denial(limits).problem) for item in said if not item.verdict.allowed}
    return tuple(replace(store, denial=texts.get(store.store_id)) for store in stores)


def with_operations(
    engine: Engine, cluster: Cluster, observation: Observation, stores: tuple[StorePlan, ...]
) -> tuple[StorePlan, ...]:
    """Return the plan with how many operations the engine counts per store, of what is not refused of it."""
    # What is refused is left out, so that the engine can still count what the others need.
    admitted = frozenset(store.store_id for store in stores if store.denial is None and not store.dangers)
    withheld, frozen = observations.restrained(observation, stores, admitted)
    options = RunOptions(withheld=withheld, frozen=frozen, cluster_uid=cluster.uid)
    operations: dict[str, list[str]] = {}
    for cell in sorted({store.cell for store in stores if store.action in CHANGING}):
        if not observation.snapshots[cell].exists:
            continue  # a plan does not make a stack; everything in it would be created
        for step in engine.preview(cell, options, observation.store_ids).steps:
            if step.store_id is not None:
                operations.setdefault(step.store_id, []).append(step.op)
    return tuple(replace(store, resources=count_operations(operations.get(store.store_id, ()))) for store in stores)
