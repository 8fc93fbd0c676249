"""What failed is taken back: a store whose change failed becomes again what was applied before, by the engine.

Else a release would stay half done: its new pods go on failing, and take the room that a backup needs. The engine does
it, not Helm's `atomic`, so that state, ledger, Helm and manifest agree afterwards; see ADR 31. Never across a change of
the database, unless the data of before is put back first, and never a first installation: its volumes stay, and the
next run goes on with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

from audit import database_image
from audit import schema as schemas
from audit.context import RunContext
from audit.engine.events import EngineResult
from audit.entrance import AT_ONCE
from audit.observation import Observation
from audit.plan import changes
from audit.records import STORE_ROLLBACK, STORE_UPGRADE, Change, Status, StoreOutcome
from components.desired import DesiredStore
from stacks.errors import StoresError
from stacks.program import RunOptions

# What can be gone back from: the store was something before. A new owner holds its slot whatever the pods do.
ACTIONS: Final = frozenset({"store.update", "store.retry", STORE_UPGRADE, STORE_ROLLBACK})
_STOPPED: Final = "the run was stopped"


@dataclass(frozen=True)
class Work:
    """What the engine was asked to do with one cell, and what came of it; `failures` are the engine's."""

    observation: Observation
    cell: str
    options: RunOptions
    changes: Mapping[str, Change]
    outcomes: Mapping[str, StoreOutcome]
    failures: Mapping[str, str]


def take_back(run: RunContext, work: Work) -> dict[str, StoreOutcome]:
    """Bring stores whose change failed back to what was applied before, and return how that went."""
    before = {store_id: was for store_id in work.changes if (was := _before(run, work, store_id)) is not None}
    stuck = {}
    for store_id, was in before.items():
        why = database_image.no_way_back(run.cluster, store_id, was, work.observation.desired[store_id])
        if why is not None:
            run.tell(store_id, why, "Failed")
            stuck[store_id] = replace(work.outcomes[store_id], reason=f"{work.outcomes[store_id].reason}; {why}")
    before = {store_id: was for store_id, was in before.items() if store_id not in stuck}
    return stuck | (_taken_back(run, work, before) if before else {})


def _taken_back(run: RunContext, work: Work, before: Mapping[str, Mapping[str, Any]]) -> dict[str, StoreOutcome]:
    """Bring these stores back by one run of the engine; `before` is what they become, by store."""
    for store_id in before:
        run.tell(store_id, f"{work.outcomes[store_id].reason}; rolling back", "Provisioning")
    data = None if run.scope is None else run.scope.data
    why = None if data is None else data.taken_back()
    if why is not None:
        # The code of before must not run on the data of an older one.
        return {store_id: _failed_too(work.outcomes[store_id], why) for store_id in before}
    options = replace(work.options, frozen={**work.options.frozen, **before}, marked={})
    # The failed change may have added something to their state, so that is looked at anew.
    held = run.engine.snapshot(work.cell).urns
    targets = [urn for store_id in before for urn in held.get(store_id, ())]
    try:
        back = run.engine.up(work.cell, options, work.observation.store_ids, run.on_step, targets=targets)
        if data is not None:
            data.started()
    except StoresError as error:
        return {store_id: _failed_too(work.outcomes[store_id], str(error)) for store_id in before}
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        found = pool.map(lambda store_id: _after(run, work.outcomes[store_id], before[store_id], back), before)
        return {outcome.store_id: outcome for outcome in found}


def _before(run: RunContext, work: Work, store_id: str) -> Mapping[str, Any] | None:
    """Return what a store is to become again, or None where it is left as it is."""
    applied = work.observation.applied(store_id)
    failed = work.outcomes[store_id].outcome == "failure" and work.changes[store_id].action in ACTIONS
    if not failed or applied is None:
        return None
    if not changes(applied, work.observation.desired[store_id]):
        return None  # it was to become what it had been, so there is nothing to go back to
    if store_id in work.failures or (run.scope is not None and run.scope.data is not None):
        return applied
    # Its pods came up, and yet it does not sell: an upgrade is to blame for that, an edited block perhaps not.
    tag = applied["release"]["values"]["image"]["tag"]
    if run.scope is None or schemas.crossing(schemas.ask(run.cluster, store_id), tag) is not None:
        return None
    return applied


def _after(run: RunContext, outcome: StoreOutcome, applied: Mapping[str, Any], back: EngineResult) -> StoreOutcome:
    """Return the outcome of a failed change that was taken back, with whether the store serves as before."""
    store_id, tag = outcome.store_id, applied["release"]["values"]["image"]["tag"]
    if store_id in back.failures or back.cancelled:
        return _failed_too(outcome, back.failures.get(store_id, _STOPPED))
    was = DesiredStore.from_dict(applied, timeout_s=run.settings.release_timeout_seconds)
    answer = run.waiting.poll(was, run.settings.ready_timeout_seconds)
    if answer is None or not answer.ok:
        return _failed_too(outcome, answer.detail if answer is not None else _STOPPED)
    # After an upgrade the manifest says the old image again. After `up` it does not, so the store is Failed still.
    status: Status = "Failed" if run.scope is None else "Ready"
    reason = f"{outcome.reason}; it was rolled back, and serves with image {tag} as before"
    run.tell(store_id, f"rolled back; {was.url} answers", status)
    return replace(outcome, status=status, reason=reason, url=was.url, content=answer.content)


def _failed_too(outcome: StoreOutcome, why: str) -> StoreOutcome:
    return replace(outcome, status="Failed", reason=f"{outcome.reason}; rolling it back failed too: {why}")
