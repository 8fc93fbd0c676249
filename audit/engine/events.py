"""What the engine tells while it works: its events, turned into steps and, per store, into why it failed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pulumi.automation import events

from components import desired, naming

_MARKUP: Final = re.compile(r"<\{%[^%]*%\}>")


@dataclass(frozen=True)
class Step:
    """One thing that the engine did or would do. `op` is the engine's word: create, update, delete, replace, same."""

    urn: str
    type: str
    op: str
    store_id: str | None
    part: str | None
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineResult:
    """What a run came to. `failures` says, per store, why it did not become what was wanted.

    `began` False: the run was asked to stop before the engine was started, so it has changed nothing.
    """

    steps: tuple[Step, ...]
    failures: Mapping[str, str]
    cancelled: bool = False
    began: bool = True
    given_up: Mapping[str, str] = field(default_factory=dict)
    """Of the failures, those that were not waited for to the end, with why; see `audit.phases.lookout`."""


OnStep = Callable[[Step, str], None]
"""Called with a step and its phase: `started`, `done` or `failed`."""


class Recorder:
    """Collects the engine's events: steps in order, and per store why it failed."""

    def __init__(self, store_ids: frozenset[str], on_step: OnStep) -> None:
        self._owners = {
            naming.logical_name(store_id, part): (store_id, part) for store_id in store_ids for part in desired.PARTS
        }
        self._store_ids = store_ids
        self._on_step = on_step
        self._steps: dict[tuple[str, str], Step] = {}
        self._broken: dict[str, list[str]] = {}
        self._errors: dict[str, list[str]] = {}
        self._unplaced: list[str] = []
        self._fault: BaseException | None = None

    @property
    def failures(self) -> dict[str, str]:
        """Why each failed store failed, in the engine's words without its markup."""
        return {
            store_id: "; ".join(dict.fromkeys(self._errors.get(store_id) or parts))
            for store_id, parts in self._broken.items()
        }

    @property
    def messages(self) -> tuple[str, ...]:
        """Errors that belong to no store."""
        return tuple(dict.fromkeys(self._unplaced))

    def result(self, *, cancelled: bool = False, began: bool = True) -> EngineResult:
        """Return all that was recorded."""
        return EngineResult(tuple(self._steps.values()), self.failures, cancelled, began)

    def on_event(self, event: events.EngineEvent) -> None:
        """Take one event of the engine's stream; what goes wrong over it is kept for `check`.

        Raised in the stream's own thread it would be swallowed; or, a SystemExit, leave the engine waiting for ever.
        """
        try:
            self._take(event)
        except BaseException as error:  # noqa: BLE001 - see above; raised by `check`
            self._fault = self._fault or error

    def check(self) -> None:
        """Raise what went wrong over an event."""
        if self._fault is not None:
            raise self._fault

    def _take(self, event: events.EngineEvent) -> None:
        if event.resource_pre_event is not None:
            self._step(event.resource_pre_event.metadata, "started")
        elif event.res_outputs_event is not None:
            self._step(event.res_outputs_event.metadata, "done")
        elif event.res_op_failed_event is not None:
            step = self._step(event.res_op_failed_event.metadata, "failed")
            if step.store_id is not None:
                self._broken.setdefault(step.store_id, []).append(f"{step.part or 'store'} could not be {step.op}d")
        elif event.diagnostic_event is not None and event.diagnostic_event.severity == "error":
            self._error(event.diagnostic_event.urn, event.diagnostic_event.message)

    def _step(self, metadata: events.StepEventMetadata, phase: str) -> Step:
        store_id, part = self._owner(metadata.urn)
        step = Step(
            urn=metadata.urn,
            type=metadata.type,
            op=str(getattr(metadata.op, "value", metadata.op)),
            store_id=store_id,
            part=part,
            paths=tuple(metadata.detailed_diff or metadata.diffs or ()),
        )
        self._steps[step.urn, step.op] = step
        self._on_step(step, phase)
        return step

    def _error(self, urn: str | None, message: str) -> None:
        text = " ".join(_MARKUP.sub("", message).split()).removeprefix("error: ")
        store_id, _ = self._owner(urn) if urn else (None, None)
        if not text or text == "update failed":
            return
        if store_id is None:
            self._unplaced.append(text)
        else:
            self._errors.setdefault(store_id, []).append(text)

    def _owner(self, urn: str) -> tuple[str | None, str | None]:
        """Return the store and part of a URN. Names are looked up whole: one store's id may begin another's."""
        name = urn.rsplit("::", 1)[-1]
        if name in self._store_ids and f"::{naming.COMPONENT_TYPE}::" in urn:
            return name, None
        return self._owners.get(name, (None, None))
