"""The look at everything that comes before any change, and the ledger brought in line with what was seen.

It refuses what would lose data, puts on record what exists unrecorded, and gives an outcome to every run that died.
It changes no object of a store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from audit import observation as observations
from audit import provenance, unprotection
from audit.context import RunContext
from audit.observation import Observation
from audit.phases import orphans
from audit.plan import Action, StorePlan
from audit.probe import Answer
from audit.records import Lease, Status, StoreRecord
from components import desired


def take(context: RunContext, leases: Sequence[Lease]) -> Observation:
    """Return what there is, checked and on record, under leases that are held."""
    context.tell(None, "reading the manifest, the state and the ledger")
    observation = observations.observe(context.root, context.settings, context.manifest, context.engine, context.ledger)
    observations.refuse_other_cluster(context.settings, context.cluster, observation)
    observations.refuse_other_key(context.root, context.settings, observation)
    unprotection.check(context, observation)
    # Before the manifest is judged: what it may not drop is what exists, and not what a killed run only began.
    observation = orphans.settle(context, observation, leases)
    observation = observations.with_held(observation, context.cluster, overwrite=context.overwrite_drift)
    closed = {store_id: how for store_id, how in observation.closed.items() if store_id not in context.replaces_data}
    observation = replace(observation, closed=closed)
    observations.check(observation)
    _refuse_older(context, observation)
    if observation.unrecorded():
        _adopt(context, observation)
        observation = observations.with_rows(observation, context.ledger)
    return observation


def begin_grace(context: RunContext, observation: Observation, stores: Sequence[StorePlan]) -> None:
    """Let the grace of newly tombstoned stores begin: it counts from when their status became Deleting."""
    for store in stores:
        row = observation.rows.get(store.store_id)
        if store.action is Action.SCHEDULED and row is not None and row.status != "Deleting":
            context.ledger.mark(
                context.environment,
                store.store_id,
                "Deleting",
                store.reason,
                run_id=context.run_id,
                actor=context.actor,
                leases=context.leases,
            )
            context.tell(store.store_id, store.reason or "", "Deleting")


def _refuse_older(context: RunContext, observation: Observation) -> None:
    ours = provenance.here(context.root)
    for cell in observation.snapshots:
        last = context.ledger.cell_record(context.environment, cell)
        provenance.refuse_older(context.root, context.environment, ours, last)


def _adopt(context: RunContext, observation: Observation) -> None:
    """Put on record what a plain `pulumi up` has made: it exists, so it counts."""
    records = []
    for store in observation.unrecorded():
        applied = observation.applied(store.id)
        url, answer = None, Answer(ok=False, detail="")
        if applied is not None:
            url, values = str(applied["url"]), applied["release"]["values"]
            sells, locale = desired.sells(values), desired.locale(values)
            answer = context.entrance.ask(store.id, url, sells=sells, locale=locale)
        status: Status = "Ready" if answer.ok else "Provisioning"
        records.append(StoreRecord(store.id, store.name, store.owner, store.cell, status, url, content=answer.content))
        context.tell(store.id, "found in the engine's state; recorded", status)
    context.ledger.adopt(context.environment, records, context.actor, leases=context.leases)
