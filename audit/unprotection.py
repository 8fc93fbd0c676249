"""A protected environment stays protected, whatever its settings say: only an admin takes that away, on record.

The settings are a file of the checkout, and one line of it would else lift the ticket, the grace and the last backup of
every store. What was applied to each store says whether it is protected, so that is asked.
"""

from __future__ import annotations

from audit.context import RunContext
from audit.observation import Observation
from audit.records import ENVIRONMENT_UNPROTECT, NewEntry
from stacks.errors import Problem, RefusedError
from stacks.transition import unprotected


def protected_stores(observation: Observation) -> list[str]:
    """Return the stores that are protected, by id."""
    applied = (item for snapshot in observation.snapshots.values() for item in snapshot.applied.items())
    return sorted(store_id for store_id, desired in applied if desired.get("protected"))


def problems(observation: Observation) -> tuple[Problem, ...]:
    """Return why no run may go on: settings that say that the environment is not protected, and stores that are."""
    if observation.settings.protected or not protected_stores(observation):
        return ()
    return (unprotected(observation.settings.environment),)


def check(context: RunContext, observation: Observation) -> None:
    """Raise RefusedError where the protection was taken out of the settings alone; with the run's leave, record it."""
    if not (found := problems(observation)):
        return
    environment, stores = observation.settings.environment, protected_stores(observation)
    if context.unprotect is None:
        raise RefusedError.of(found)
    facts = {"stores": stores}
    context.ledger.record(
        NewEntry(
            context.actor,
            ENVIRONMENT_UNPROTECT,
            "success",
            environment=environment,
            run_id=context.run_id,
            reason=context.unprotect,
            metadata=facts,
        )
    )
    context.tell(None, f"the protection of {len(stores)} stores is taken away: {context.unprotect}")
