"""What may change from one manifest to the next. Pure: the manifest and what exists go in, problems come out.

These rules guard data: an id or a cell that changes by editing would make the engine delete one store and build
another. What a change would do to a volume is judged where it is planned (`audit.observation.dangers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stacks.errors import Problem
from stacks.manifest import Manifest
from stacks.manifest_model import Store


@dataclass(frozen=True)
class AppliedStore:
    """One store that exists, as it was last applied."""

    store_id: str
    name: str
    owner: str
    cell: str


def unprotected(environment: str) -> Problem:
    """Return what is wrong where an environment is protected, and its settings alone say otherwise by now."""
    return Problem(
        f"environment {environment}",
        "its stores are protected, and stores:protected in the settings is false; nothing was changed",
        f"put it back to true; an admin takes the protection away by `stores up --env {environment} --unprotect`",
    )


def check_transition(manifest: Manifest, applied: Mapping[str, AppliedStore]) -> list[Problem]:
    """Return every reason why this manifest may not be applied over what exists; `[]` when there is none.

    `applied` has, by id, every store whose resources are not gone yet.
    """
    return [
        *(problem for store in manifest.stores for problem in _changes(manifest, store, applied)),
        *_vanished(manifest, applied),
    ]


def _changes(manifest: Manifest, store: Store, applied: Mapping[str, AppliedStore]) -> Iterator[Problem]:
    before = applied.get(store.id)
    if before is None:
        return
    if store.cell != before.cell:
        yield Problem(
            manifest.location(store.id, "cell"),
            f"store '{store.id}': cell {store.cell} was {before.cell} when it was made, and a store cannot move",
            f'restore cell: "{before.cell}"',
        )


def _vanished(manifest: Manifest, applied: Mapping[str, AppliedStore]) -> Iterator[Problem]:
    """Yield a problem per store that exists and has no block any more."""
    fresh = [store for store in manifest.stores if store.id not in applied]
    for store_id, before in applied.items():
        if manifest.store(store_id) is not None:
            continue
        twin = next((store for store in fresh if (store.name, store.owner) == (before.name, before.owner)), None)
        if twin is not None:
            yield Problem(
                manifest.location(twin.id, "id"),
                f"store '{twin.id}': its id was {store_id}, and an id cannot change: namespace, address and data "
                "belong to it",
                f"restore id: {store_id}",
            )
        else:
            yield Problem(
                manifest.where,
                f"store '{store_id}' of owner '{before.owner}' exists, but its block is gone",
                f"put the block back, and run `stores rm {store_id} --env {manifest.environment}` to delete the store",
            )
