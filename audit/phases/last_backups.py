"""The backups that a run looks after: a place for them before a store wants one, and the last one of a store that goes.

A store that has a volume is backed up before it is removed, or it stays, unless somebody has asked for less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from audit import backups, live
from audit.backup_server import BackupServer
from audit.context import RunContext
from audit.observation import Observation
from audit.records import STORE_DELETE, Change, Lease, StoreOutcome
from components import naming
from stacks import platform_key
from stacks.desired import environment_values


def prepare(context: RunContext, observation: Observation) -> None:
    """Make the place of the backups ready for every store, before there is one that wants to be backed up."""
    values = environment_values(context.root, context.environment)
    if not values["backup"]["enabled"]:
        return
    key = platform_key.load(context.root, context.settings)
    rows = context.ledger.stores(context.environment, include_deleted=True)
    server = BackupServer(context.root, context.settings, context.cluster, key, values)
    if server.ensure({*observation.store_ids, *(row.store_id for row in rows)}):
        context.tell(None, "the place of the backups is ready for every store")


def with_skipped(context: RunContext, wanted: tuple[Change, ...]) -> tuple[Change, ...]:
    """Return the changes; those that remove a store without its last backup, as was asked, say so in the log."""
    return tuple(
        replace(change, metadata={**change.metadata, "final_backup": "skipped"})
        if change.action == STORE_DELETE and change.store_id in context.without_final_backup
        else change
        for change in wanted
    )


def take(context: RunContext, admitted: tuple[Change, ...], leases: Sequence[Lease]) -> dict[str, StoreOutcome]:
    """Back up every store that is about to be removed; return the outcomes of those that must stay.

    What it is by the ledger says nothing of its data: a store that has a volume is backed up, or it stays.
    """
    values = environment_values(context.root, context.environment)
    if not (values["backup"]["enabled"] and context.settings.final_backups):
        return {}
    failed: dict[str, StoreOutcome] = {}
    note = f"before {context.run_id} removes it"
    for change in admitted:
        if change.action != STORE_DELETE:
            continue
        if not live.claims(context.cluster, naming.namespace(change.store_id)):
            context.tell(change.store_id, "it has no volume, so there is nothing to back up")
        elif change.store_id in context.without_final_backup:
            context.tell(change.store_id, "removed without a last backup, as was asked")
        elif (reason := backups.tried(context, leases, change.store_id, "final", note=note)) is not None:
            cure = f"correct the cause, or run `stores up --without-final-backup {change.store_id}`"
            told = f"it stays, because its last backup failed: {reason}; {cure}"
            context.tell(change.store_id, told, "Deleting")
            failed[change.store_id] = StoreOutcome(
                change.store_id, "failure", "Deleting", reason=told, reached_engine=False
            )
    return failed
