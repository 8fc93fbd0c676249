"""Looks on while the engine waits for pods, tells what keeps them, and ends a wait that cannot come to anything.

The engine waits for a release as long as the settings say, ten minutes perhaps, also for an image that does not exist.
An operator should know that after seconds, and an upgrade to it should be taken back after seconds.

The engine can be asked to end as a whole only. So it is asked when everything that it still works on is a release that
does not heal by itself; a store that may come up, or is being removed, is never cut short by another's fault.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from audit.engine.driver import Engine
from audit.engine.events import EngineResult, OnStep, Step
from audit.watched import Watched
from components import desired, naming
from stacks.cluster import Cluster
from stacks.evidence import Evidence

LOOK_EVERY_S: Final = 5.0
OLD_PODS_S: Final = 30.0
"""How long pods of before a change are not its fault: until then its own pods are there, if it makes any."""
_COMPONENT: Final = "app.kubernetes.io/component"
_REMOVED: Final = ("delete", "delete-replaced")


@dataclass(frozen=True)
class Before:
    """What was there before the engine's work: pods by uid, and events by uid with when they were last seen."""

    pods: frozenset[str] = frozenset()
    events: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, found: Evidence) -> Before:
        """Return what a look has found."""
        return cls(frozenset(_uid(pod) for pod in found.pods), frozenset(_sighting(event) for event in found.events))

    def without(self, found: Evidence, waited_s: float) -> Evidence:
        """Return a later look without what is not the change's own doing.

        A broken pod of before stays beside the one that takes its place until that one is ready.
        """
        new = [pod for pod in found.pods if _uid(pod) not in self.pods]
        replaced = {_component(pod) for pod in new}
        unchanged = [pod for pod in found.pods if _uid(pod) in self.pods and _component(pod) not in replaced]
        return replace(
            found,
            pods=[*new, *(unchanged if waited_s >= OLD_PODS_S else ())],
            events=[event for event in found.events if _sighting(event) not in self.events],
            release=None,  # pending, as it must be while the engine is at it
        )


class Lookout:
    """Watches one work of the engine on some stores; use it as a context manager around that work."""

    def __init__(
        self, engine: Engine, cluster: Cluster, store_ids: Collection[str], tell: Callable[[str, str], None]
    ) -> None:
        self._engine, self._cluster, self._tell = engine, cluster, tell
        self._unfinished = set(store_ids)
        self._watched: dict[str, Watched] = {}
        self._before: Mapping[str, Before] = {}
        self._given_up: dict[str, str] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="lookout", daemon=True)

    def __enter__(self) -> Self:
        self._before = {store_id: Before.of(self._evidence(store_id)) for store_id in self._unfinished}
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def beside(self, on_step: OnStep) -> OnStep:
        """Return what takes the engine's steps for both."""

        def both(step: Step, phase: str) -> None:
            self._on_step(step, phase)
            on_step(step, phase)

        return both

    def judged(self, result: EngineResult) -> EngineResult:
        """Return the engine's result, with the stores that were given up among those that failed."""
        if result.cancelled or not self._given_up:
            return result
        return replace(result, failures={**result.failures, **self._given_up}, given_up=dict(self._given_up))

    def _on_step(self, step: Step, phase: str) -> None:
        if step.store_id is None or step.part != desired.RELEASE or step.op in _REMOVED:
            return
        with self._lock:
            if phase == "started":
                self._watched.setdefault(step.store_id, Watched(time.monotonic()))
            else:
                self._watched.pop(step.store_id, None)
                self._unfinished.discard(step.store_id)

    def look(self) -> bool:
        """Take one look at every release that is waited for; return whether the engine was asked to end its wait."""
        with self._lock:
            watched = dict(self._watched)
        for store_id, release in watched.items():
            waited_s = time.monotonic() - release.began
            found = self._before.get(store_id, Before()).without(self._evidence(store_id), waited_s)
            told = release.look(found, time.monotonic())
            if told is not None:
                self._tell(store_id, f"so far: {told}")
        return self._given_up_on(time.monotonic())

    def _look_on(self) -> None:
        while not self._done.wait(LOOK_EVERY_S):
            if self.look():
                return

    def _given_up_on(self, now: float) -> bool:
        """End the engine's wait if nothing else is under way; return whether it was ended."""
        with self._lock:
            doomed = {store_id: found for store_id, found in self._watched.items() if found.is_doomed(now)}
            if not doomed or self._unfinished - set(doomed):
                return False
            self._given_up = {
                store_id: f"{found.why}. It was not waited for any longer, after {now - found.began:.0f} s: this does "
                "not heal by itself"
                for store_id, found in doomed.items()
            }
        for store_id in doomed:
            self._tell(store_id, "this does not heal by itself; not waiting any longer")
        self._engine.give_up()
        return True

    def _evidence(self, store_id: str) -> Evidence:
        return self._cluster.evidence(naming.namespace(store_id), logs=False)


def _uid(found: Mapping[str, Any]) -> str:
    return str(found["metadata"].get("uid"))


def _component(pod: Mapping[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get(_COMPONENT))


def _sighting(event: Mapping[str, Any]) -> tuple[str, str]:
    return _uid(event), str(event.get("lastTimestamp") or (event.get("series") or {}).get("lastObservedTime"))
