"""What holds a terminating namespace, from what the cluster says of it; tests/e2e/test_faults.py has the real thing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stacks import terminating

CONTENT = (
    "Some resources are remaining: configmaps. has 1 resource instances, widgets.example.com has 2 resource instances"
)


def namespace(*conditions: tuple[str, str], finalizers: Any = None, deleted: Any = "now") -> Any:
    return SimpleNamespace(
        metadata=SimpleNamespace(name="store-tea", deletion_timestamp=deleted, finalizers=finalizers),
        status=SimpleNamespace(
            conditions=[SimpleNamespace(type=kind, status="True", message=text) for kind, text in conditions]
        ),
    )


def test_kinds_are_read_from_the_clusters_count() -> None:
    assert terminating.remaining(CONTENT) == [("configmaps", ""), ("widgets", "example.com")]
    assert terminating.remaining("All content successfully removed") == []


def test_a_namespace_that_stays_is_held_by_nothing() -> None:
    assert terminating.holders(None, namespace(("NamespaceContentRemaining", CONTENT), deleted=None)) == ()


def test_objects_are_named_in_place_of_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        terminating, "_objects", lambda _api, _name, plural, _group: [f"{plural}/a is held by finalizer x/y"]
    )
    found = terminating.holders(
        None,
        namespace(
            ("NamespaceContentRemaining", CONTENT),
            ("NamespaceFinalizersRemaining", "x/y in 3 resource instances"),
            ("NamespaceDeletionDiscoveryFailure", "metrics API is unavailable"),
            finalizers=["z/own"],
        ),
    )
    assert found == (
        "configmaps/a is held by finalizer x/y",
        "widgets/a is held by finalizer x/y",
        "it has the finalizer z/own itself",
        "metrics API is unavailable",
    )


def test_no_more_than_five_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminating, "_objects", lambda *_: [f"o{number}" for number in range(4)])
    found = terminating.holders(None, namespace(("NamespaceContentRemaining", CONTENT)))
    assert found == ("o0", "o1", "o2", "o3", "o0", "and 3 more")


def test_where_objects_may_not_be_read_the_clusters_words_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError("no way")

    monkeypatch.setattr(terminating, "_objects", refuse)
    assert terminating.holders(None, namespace(("NamespaceContentRemaining", CONTENT))) == (CONTENT,)
