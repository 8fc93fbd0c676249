"""What comes before a store's database gets another image: a backup, and the question whether it can read the data.

See `audit.database_image`. Upgrades and rollbacks do so themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from audit import backups, database_image
from audit.context import RunContext
from audit.observation import Observation
from audit.records import Change, Lease, StoreOutcome
from audit.waiting import stopped
from stacks.desired import environment_values


def before_another(
    context: RunContext,
    observation: Observation,
    admitted: tuple[Change, ...],
    leases: Sequence[Lease],
    outcomes: Collection[str],
) -> dict[str, StoreOutcome]:
    """Back up every store whose database gets another image; return the outcomes of those that must stay.

    These are the ones whose backup fails, and those whose data the wanted server cannot read. What has its outcome
    already is left alone.
    """
    values = environment_values(context.root, context.environment)
    stay: dict[str, StoreOutcome] = {}
    for change in admitted if context.scope is None else ():
        store_id = change.store_id
        wanted = observation.desired.get(store_id)
        if wanted is None or store_id in outcomes or observation.cell_of(store_id) is None:
            continue
        applied = observation.applied(store_id)
        images = database_image.change(applied, wanted)
        if applied is not None and images is None:
            continue
        why = database_image.too_old(context.cluster, store_id, wanted)
        if why is None and images is not None and values["backup"]["enabled"]:
            why = _failed_backup(context, store_id, images, leases)
        if context.cancelled.is_set():
            stay[store_id] = stopped(store_id, reached_engine=False)
        elif why is not None:
            told = f"it stays as it was: {why}"
            context.tell(store_id, told, "Failed")
            stay[store_id] = StoreOutcome(
                store_id, "failure", "Failed", reason=told, url=wanted.url, reached_engine=False
            )
    return stay


def _failed_backup(context: RunContext, store_id: str, images: tuple[str, str], leases: Sequence[Lease]) -> str | None:
    """Return why the backup before a change of the database's image failed, or None."""
    if not database_image.serves(context.cluster, store_id):
        context.tell(store_id, "its database does not run, so it cannot be backed up; its volume stays as it is")
        return None
    between = f"before MariaDB {images[0]} becomes {images[1]}"
    why = backups.tried(context, leases, store_id, "pre-upgrade", note=between)
    return None if why is None else f"the backup {between} failed: {why}"
