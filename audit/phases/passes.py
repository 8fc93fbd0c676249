"""The engine's passes over one cell: what the program is told, in which order, and never without a look ahead.

No pass begins whose own preview would end what nobody asked to remove.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from audit import observation as observations
from audit.context import RunContext
from audit.engine.events import EngineResult
from audit.observation import Observation
from audit.phases.lookout import Lookout
from audit.phases.losses import losses
from audit.plan import StorePlan
from audit.records import STORE_DELETE, Change
from stacks.errors import RefusedError
from stacks.program import RunOptions


def options_of(
    context: RunContext, observation: Observation, stores: Sequence[StorePlan], admitted: Collection[Change]
) -> RunOptions:
    """Return what the program is to know of a plan of which only this was admitted."""
    going = frozenset(change.store_id for change in admitted)
    leaving: frozenset[str] = frozenset()
    if context.settings.protected:
        leaving = leaving_in(admitted)
    withheld, frozen = observations.restrained(observation, stores, going)
    return RunOptions(
        withheld=withheld,
        frozen=frozen,
        released=leaving,
        removed=leaving,
        marked={
            store_id: f"{context.run_id} overwrites revision {held.live.number}"
            for store_id, held in observation.held.items()
            if store_id in going
        },
        cluster_uid=context.cluster.uid,
    )


def leaving_in(changes: Collection[Change]) -> frozenset[str]:
    """Return the stores that are to be removed."""
    return frozenset(change.store_id for change in changes if change.action == STORE_DELETE)


@dataclass(frozen=True)
class Passes:
    """The engine's work on one cell; `changes` are the admitted ones, by store. It may end those that are deleted."""

    context: RunContext
    observation: Observation
    cell: str
    changes: Mapping[str, Change]

    def over(self, options: RunOptions) -> EngineResult:
        """Bring the cell to what the program says, in as many passes as that takes. Raises RefusedError."""
        if options.released:
            # The engine deletes nothing that its state calls protected: first the protection goes, then the store.
            first = self._pass(replace(options, removed=frozenset()))
            if first.failures or first.cancelled:
                return first
        targets: list[str] = []
        if self.context.scope is not None:
            held = self.observation.snapshots[self.cell].urns
            targets = [urn for store_id in self.context.scope.metadata for urn in held.get(store_id, ())]
        if options.taken_over:
            # Read as they are; what differs from the wish is then a change like any other.
            first = self._pass(options, targets)
            if first.failures or first.cancelled:
                return first
            options = replace(options, taken_over={})
        if options.marked:
            # The engine compares what the program says, and of held stores the program says nothing new. The mark is
            # taken away again at once, so that a plain `pulumi up` finds nothing to do.
            first = self._pass(options, targets)
            if first.failures or first.cancelled:
                return first
            options = replace(options, marked={})
        return self._pass(options, targets)

    def _pass(self, options: RunOptions, targets: Sequence[str] = ()) -> EngineResult:
        """Run the engine, unless its own preview would end what nobody asked to remove."""
        context, store_ids = self.context, self.observation.store_ids
        if self.observation.snapshots[self.cell].known:
            preview = context.engine.preview(self.cell, options, store_ids, targets=targets)
            if context.cancelled.is_set():
                return EngineResult((), {}, cancelled=True, began=False)
            if problems := losses(preview.steps, leaving_in(self.changes.values())):
                raise RefusedError.of(problems)
        with Lookout(context.engine, context.cluster, self.changes, context.tell) as lookout:
            on_step = lookout.beside(context.on_step)
            return lookout.judged(context.engine.up(self.cell, options, store_ids, on_step, targets=targets))
