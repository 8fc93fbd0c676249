"""A copy of the cluster's objects stays right when watches end, break or have missed something."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.ingress import kubernetes_api
from sandbox.ingress.kubernetes_api import ApiError, Mirror

PATH = "/things"


def thing(uid: str, value: int) -> dict[str, Any]:
    """Return an object."""
    return {"metadata": {"uid": uid}, "value": value}


class Script:
    """An API server that answers as the test says, one step after the other, and then waits for ever."""

    def __init__(self, *steps: Any) -> None:
        self._steps = iter(steps)
        self._never = threading.Event()
        self.finished = threading.Event()

    def list(self, path: str) -> tuple[list[Any], str]:
        """Answer the next step, which must be a list or an error."""
        assert path == PATH
        return list(self._next()), "7"

    def watch(self, path: str, version: str) -> Iterator[tuple[str, Any]]:
        """Answer the next step: events, the last of which may be an error."""
        assert (path, version) == (PATH, "7")
        for event in self._next():
            if isinstance(event, Exception):
                raise event
            yield event

    def _next(self) -> Any:
        step = next(self._steps, None)
        if step is None:
            self.finished.set()
            self._never.wait()
        if isinstance(step, Exception):
            raise step
        return step


def values(*steps: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, int] | None:
    """Return what the copy holds after these steps."""
    monkeypatch.setattr(kubernetes_api, "_FIRST_PAUSE_S", 0.0)
    script = Script(*steps)
    mirror = Mirror(script, PATH, threading.Event())  # type: ignore[arg-type]
    mirror.start()
    assert script.finished.wait(10)
    found = mirror.objects()
    return None if found is None else {item["metadata"]["uid"]: item["value"] for item in found}


def test_nothing_is_known_before_the_first_list(monkeypatch: pytest.MonkeyPatch) -> None:
    assert values(ApiError("refused"), ApiError("refused"), monkeypatch=monkeypatch) is None


def test_an_empty_cluster_is_known_to_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    assert values([], monkeypatch=monkeypatch) == {}


def test_changes_are_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [
        ("ADDED", thing("b", 1)), ("MODIFIED", thing("a", 2)), ("BOOKMARK", {"metadata": {"resourceVersion": "9"}}),
        ("DELETED", thing("b", 1)), ("DELETED", thing("unknown", 1)),
    ]  # fmt: skip
    assert values([thing("a", 1)], events, monkeypatch=monkeypatch) == {"a": 2}


def test_a_broken_watch_is_followed_by_a_list_that_forgets_what_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [("ADDED", thing("b", 1)), ApiError("410 Gone")]
    assert values([thing("a", 1)], first, [thing("c", 3)], monkeypatch=monkeypatch) == {"c": 3}


def test_a_watch_that_ends_is_followed_by_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    assert values([thing("a", 1)], [], [thing("a", 2)], monkeypatch=monkeypatch) == {"a": 2}


def test_an_api_server_that_is_gone_for_a_while_leaves_the_last_known_state(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = ([thing("a", 1)], [ApiError("broken")], ApiError("refused"), ApiError("refused"))
    assert values(*steps, monkeypatch=monkeypatch) == {"a": 1}
