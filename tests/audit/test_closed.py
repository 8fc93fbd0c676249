"""The mark of a shop that is closed while its data is replaced."""

from __future__ import annotations

from typing import Any

import pytest

from audit import live
from audit.closed import RESTORING, Closed, find


def web(mark: str | None) -> dict[str, Any]:
    return {"metadata": {"annotations": {} if mark is None else {RESTORING: mark}}}


@pytest.mark.parametrize("closed", [Closed("run-1", "a" * 64, 1), Closed("run-1", None, 2)])
def test_a_mark_is_read_as_it_was_written(closed: Closed) -> None:
    assert Closed.of(web(closed.mark)) == closed


def test_a_mark_of_before_that_names_no_way_back_is_read_too() -> None:
    assert Closed.of(web("run-1 2")) == Closed("run-1", None, 2)


@pytest.mark.parametrize("unmarked", [web(None), {"metadata": {}}, {"metadata": {"annotations": None}}])
def test_without_a_mark_a_shop_is_not_closed(unmarked: dict[str, Any]) -> None:
    assert Closed.of(unmarked) is None


def test_how_it_comes_back_is_told_with_what_was_there_before_where_that_is_kept() -> None:
    assert "`stores restore tea-1 --at aaaaaaaa`" in Closed("run-1", "a" * 64, 1).cure("tea-1")
    assert "--at" not in Closed("run-1", None, 1).cure("tea-1")


def test_closed_shops_are_found_among_open_and_absent_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"store-a-1": web("run-1 - 1"), "store-b-1": web(None)}
    monkeypatch.setattr(live, "read", lambda _c, _v, _k, namespace, _n: there.get(namespace))

    class Cluster:
        address = "here"

    cluster: Any = Cluster()
    assert find(cluster, ["a-1", "b-1", "c-1"]) == {"a-1": Closed("run-1", None, 1)}
    assert find(cluster, []) == {}
