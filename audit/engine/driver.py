"""The driver of the engine: its commands on the cells of one environment.

It runs the same program as plain `pulumi up`, inside this process. It decides nothing: what may run was decided by the
gate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from pulumi.automation.errors import CommandError, StackNotFoundError

from audit import recovery
from audit.engine.events import EngineResult, OnStep, Recorder
from audit.engine.locks import EngineLockedError, OnLock, only_abandoned
from audit.engine.process import NotStartedError
from audit.engine.state import Snapshot, is_update_of_release, name_of, read_snapshot
from audit.engine.workspace import Workspace
from audit.target import Target
from stacks.errors import StoresError
from stacks.program import RunOptions
from stacks.settings import Settings

# Resources that the engine works on at once. A release waits for minutes, so more than the cores are worth it.
PARALLEL: Final = 16
_QUIET: Final[Mapping[str, Any]] = {"color": "never", "suppress_outputs": True, "show_secrets": False}

T = TypeVar("T")


class Engine:
    """The engine for one environment and target. Use it as a context manager: it owns a temporary folder."""

    def __init__(self, root: Path, environment: Settings, target: Target) -> None:
        self._workspace = Workspace(root, environment, target)
        self._stopped = False
        self._gave_up = False
        self._broken = 0
        self.on_lock: OnLock = only_abandoned
        """Who decides whether a lock may be broken: by itself the engine breaks only those of this machine's dead."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._workspace.close()

    @property
    def version(self) -> str:
        """The engine's version."""
        return str(self._workspace.process.version)

    def snapshot(self, cell: str) -> Snapshot:
        """Return what the state of a cell holds; a stack that does not exist yet holds nothing."""
        with self._workspace.told(cell):
            try:
                stack = self._workspace.stack(cell, RunOptions(), create=False)
            except StackNotFoundError:
                return Snapshot(exists=False)
            deployment = stack.export_stack().deployment
        return read_snapshot(deployment)

    def preview(
        self, cell: str, options: RunOptions, store_ids: frozenset[str], *, targets: Sequence[str] = ()
    ) -> EngineResult:
        """Return what a run would do, of `targets` as of `up`; changes nothing."""
        recorder = Recorder(store_ids, lambda _step, _phase: None)
        try:
            stack = self._workspace.stack(cell, options, create=True)
            stack.preview(parallel=PARALLEL, on_event=recorder.on_event, color="never", target=list(targets) or None)
        except CommandError as error:
            if self._stopped:
                return recorder.result(cancelled=True, began=False)
            if not recorder.failures:
                raise self._workspace.failure(error, cell, recorder.messages) from None
        recorder.check()
        return recorder.result()

    def up(
        self,
        cell: str,
        options: RunOptions,
        store_ids: frozenset[str],
        on_step: OnStep,
        *,
        targets: Sequence[str] = (),
    ) -> EngineResult:
        """Bring a cell to what the program says. One store's failure does not stop the others.

        With `targets`, exact URNs, the engine works on nothing else; the program registers the whole cell all the same.
        Raises a StoresError only when the engine failed as a whole; stores that failed are in the result.
        """
        try:
            return self._unlocked(cell, lambda: self._up(cell, options, store_ids, on_step, targets))
        finally:
            if self._workspace.process.was_cut_short:
                # What cannot be cleared now the next run does; how this one ended matters more.
                with suppress(StoresError):
                    self.clear(cell, pending=False)

    def clear(self, cell: str, *, pending: bool = True) -> bool:
        """Remove what a killed engine has left of a cell: its lock, and operations that it began and never ended.

        Only for who holds the cell's lease. Returns whether there was anything. A lock whose holder may live stays, and
        raises EngineLockedError. Objects that an operation made meanwhile are taken over by the next run, see
        `audit.phases.unnoted`. An update of a release stays noted, because by it the next run knows that what Helm has
        is the platform's own doing; the engine itself drops it then. Without `pending`, only the lock is looked at.
        """
        with self._workspace.told(cell):
            try:
                stack = self._workspace.stack(cell, RunOptions(), create=False)
            except StackNotFoundError:
                return False
        broken_before = self._broken

        def rewrite() -> bool:
            # Importing takes the lock, so that a live engine is noticed. Read in here: it may have written until now.
            with self._workspace.told(cell):
                exported = stack.export_stack()
                deployment = dict(exported.deployment or {})
                before = deployment.get("pending_operations") or []
                kept = [one for one in before if not pending or is_update_of_release(one)]
                self._workspace.put(stack, exported.version, {**deployment, "pending_operations": kept})
            return len(kept) < len(before)

        return self._unlocked(cell, rewrite) or self._broken > broken_before

    def refresh(self, cell: str, names: frozenset[str]) -> None:
        """Bring the state of these logical names in line with what is live; nothing else of the cell is asked.

        An object that is gone leaves the state, so that the next run makes it again.
        """
        with self._workspace.told(cell):
            stack = self._workspace.stack(cell, RunOptions(), create=True)
            resources = (stack.export_stack().deployment or {}).get("resources") or []
            urns = [str(resource["urn"]) for resource in resources if name_of(str(resource["urn"])) in names]

        def ask() -> None:
            with self._workspace.told(cell):
                stack.refresh(parallel=PARALLEL, target=urns, **_QUIET)

        if urns:
            self._unlocked(cell, ask)

    def plant(self, cell: str, values: Mapping[str, Mapping[str, str]]) -> None:
        """Put the generated values of live stores into a state that lost them, encrypted; see `audit.recovery`."""

        def put() -> None:
            with self._workspace.told(cell):
                stack = self._workspace.stack(cell, RunOptions(), create=True)
                exported = stack.export_stack()
                deployment = recovery.with_planted(exported.deployment or {}, recovery.planted(stack.name, values))
                self._workspace.put(stack, exported.version, deployment)

        self._unlocked(cell, put)

    def interrupt(self) -> None:
        """Ask a running engine to stop; it finishes what it is in the middle of. A second call makes it stop now."""
        self._stopped = True
        self._workspace.interrupt(for_good=True)

    def give_up(self) -> None:
        """Ask a running engine to end what it waits for, as a failure and no stop: the run goes on without it."""
        self._gave_up = True
        self._workspace.interrupt(for_good=False)

    def _up(
        self, cell: str, options: RunOptions, store_ids: frozenset[str], on_step: OnStep, targets: Sequence[str]
    ) -> EngineResult:
        recorder = Recorder(store_ids, on_step)
        self._gave_up = False
        try:
            stack = self._workspace.stack(cell, options, create=True)
            stack.up(
                parallel=PARALLEL,
                continue_on_error=True,
                target=list(targets) or None,
                on_event=recorder.on_event,
                **_QUIET,
            )
        except CommandError as error:
            recorder.check()
            if not (recorder.failures or self._stopped or self._gave_up):
                raise self._workspace.failure(error, cell, recorder.messages) from None
            return recorder.result(cancelled=self._stopped, began=not isinstance(error, NotStartedError))
        recorder.check()
        return recorder.result()

    def _unlocked(self, cell: str, work: Callable[[], T]) -> T:
        """Return what the work returns; where a lock that nobody holds stands in its way, after breaking that.

        Our lease says that nobody else works on the cell, so a lock whose process is gone was left by a killed run.
        """
        try:
            return work()
        except EngineLockedError as error:
            self.on_lock(cell, error)
        self._broken += 1
        with self._workspace.told(cell):
            self._workspace.stack(cell, RunOptions(), create=False).cancel()
        return work()
