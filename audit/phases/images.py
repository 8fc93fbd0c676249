"""Which changes bring a store another image, and which of them its database forbids: old code on newer data."""

from __future__ import annotations

from audit import schema as schemas
from audit.context import RunContext
from audit.observation import Observation
from audit.records import Change, StoreOutcome


def is_changed(change: Change) -> bool:
    """Return whether the store's code changes, and with it perhaps what its database must be."""
    paths = change.metadata.get("changes")
    return "image" in change.metadata or (isinstance(paths, list) and any(str(p).startswith("image.") for p in paths))


def behind(context: RunContext, observation: Observation, admitted: tuple[Change, ...]) -> dict[str, StoreOutcome]:
    """Return the outcomes of stores whose blocks name an image that is older than their database: they stay.

    Where that is not known the block is followed. Upgrades and rollbacks have asked before they wrote the block.
    """
    outcomes: dict[str, StoreOutcome] = {}
    for change in admitted if context.scope is None else ():
        store_id = change.store_id
        wanted = observation.desired.get(store_id)
        if wanted is None or not is_changed(change) or observation.applied(store_id) is None:
            continue
        tag = str(wanted.release.values["image"]["tag"])
        why = schemas.behind(schemas.ask(context.cluster, store_id), tag)
        if why is not None:
            back = f"`stores rollback {store_id} --restore-backup` goes back with the data of that time"
            told = f"it stays as it was: image {tag} cannot be gone back to alone: {why}; {back}"
            context.tell(store_id, told, "Failed")
            outcomes[store_id] = StoreOutcome(
                store_id, "failure", "Failed", reason=told, url=wanted.url, reached_engine=False
            )
    return outcomes
