"""Waits until an object is ready, or gone. It follows the object's events, and looks again now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from sandbox.plugins.failures import PluginError
from sandbox.plugins.kubernetes.client import ApiError, Client
from sandbox.plugins.kubernetes.kinds import Resource
from sandbox.plugins.kubernetes.readiness import NeverReadyError, Readiness, condition_texts

# Even without an event the object is read again, as a watch can miss its end.
_LOOK_AGAIN_S: Final = 30.0
# Where readiness depends on other objects, no event of this one tells.
_LOOK_AGAIN_AT_OTHERS_S: Final = 1.0

# What takes less is not worth a line on a screen.
_SILENT_S: Final = 1.0

Report = Callable[[str], None]


class NotReadyError(PluginError):
    """The object exists and did not become ready; `live` is how it was seen last."""

    def __init__(self, text: str, live: dict[str, Any]) -> None:
        super().__init__(text)
        self.live = live


class StillThereError(PluginError):
    """The object was asked to go and is still there."""


def until_ready(
    client: Client,
    resource: Resource,
    live: dict[str, Any],
    readiness: Readiness,
    *,
    timeout_s: float,
    report: Report,
) -> dict[str, Any]:
    """Return the object once it is ready. `live` is the answer of the request that made or changed it.

    Raises NotReadyError when the time is over, when the cluster says that it will not become ready, or when it goes.
    """
    condition = readiness.condition(client)
    path = resource.path(live["metadata"].get("namespace", ""), live["metadata"]["name"])
    deadline = time.monotonic() + timeout_s
    missing: str | None = None
    say = _Patient(report)
    try:
        for seen in _sightings(client, path, live, deadline, look_again_s=_pause_s(readiness)):
            if seen is None:
                raise NotReadyError("it was deleted while it was being waited for", live)
            live = seen
            missing = condition(live)
            if missing is None:
                say.done()
                return live
            say.now(f"waiting: {missing}")
    except NeverReadyError as error:
        raise NotReadyError(str(error), live) from error
    raise NotReadyError(f"not ready after {timeout_s:g} s: {missing}", live)


def until_gone(client: Client, resource: Resource, live: dict[str, Any], *, timeout_s: float, report: Report) -> None:
    """Return once the object, or at least this object of its name, is gone.

    Raises StillThereError with what holds it when the time is over.
    """
    identity = live["metadata"].get("uid")
    path = resource.path(live["metadata"].get("namespace", ""), live["metadata"]["name"])
    deadline = time.monotonic() + timeout_s
    say = _Patient(report)
    for seen in _sightings(client, path, live, deadline, look_again_s=_LOOK_AGAIN_S):
        if seen is None or seen["metadata"].get("uid") != identity:
            say.done()
            return
        live = seen
        say.now(f"deleting: {_holds(live)}")
    raise StillThereError(f"still there {timeout_s:g} s after it was deleted: {_holds(live)}")


class _Patient:
    """Reports what is being waited for once that has taken a while, and each text once."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._since = time.monotonic()
        self._said = ""

    def now(self, text: str) -> None:
        if text != self._said and time.monotonic() - self._since >= _SILENT_S:
            self._report(text)
            self._said = text

    def done(self) -> None:
        if self._said:
            self._report("")


def _pause_s(readiness: Readiness) -> float:
    return _LOOK_AGAIN_AT_OTHERS_S if readiness.watches_others else _LOOK_AGAIN_S


def _sightings(
    client: Client, path: str, live: dict[str, Any] | None, deadline: float, *, look_again_s: float
) -> Iterator[dict[str, Any] | None]:
    """Yield the object as it changes until the deadline; None when it is gone."""
    pause_s = min(_SILENT_S, look_again_s)
    while True:
        yield live
        remaining = deadline - time.monotonic()
        if live is None or remaining <= 0:
            return
        collection, _, name = path.rpartition("/")
        version = live["metadata"]["resourceVersion"]
        started = time.monotonic()
        seconds = min(remaining, pause_s)
        for event, seen in client.watch(collection, name=name, version=version, seconds=seconds):
            if event == "DELETED":
                yield None
                return
            live = seen
            yield live
            if time.monotonic() > deadline:
                return
        # A watch that the server refuses ends at once; without a pause this would be a busy loop.
        if time.monotonic() - started < pause_s / 2:
            client.sleep(min(0.5, max(0.0, deadline - time.monotonic())))
        pause_s = min(2 * pause_s, look_again_s)
        live = _read(client, path)


def _read(client: Client, path: str) -> dict[str, Any] | None:
    try:
        return client.get(path)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def _holds(live: Mapping[str, Any]) -> str:
    finalizers = [*live["metadata"].get("finalizers", ()), *(live.get("spec") or {}).get("finalizers", ())]
    # A namespace's conditions all carry a message; those that are true are the ones in the way.
    texts = condition_texts(live, only="True")
    if finalizers:
        texts.append(f"finalizers {', '.join(finalizers)}")
    return "; ".join(texts) or "nothing that the object names"
