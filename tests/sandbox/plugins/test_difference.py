"""What differs between two property bags."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.plugins.difference import (
    MISSING,
    Kind,
    covered,
    differences,
    dotted,
    parse,
    same,
    value_at,
)
from sandbox.plugins.wire import UNKNOWN

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
segments = st.integers(0, 9) | st.text(st.characters(codec="ascii", exclude_characters="\\"), min_size=1).filter(
    lambda text: text != "*" and not text.startswith("[")
)


@given(documents)
def test_nothing_differs_from_its_copy(document: object) -> None:
    assert list(differences(document, copy.deepcopy(document))) == []


@given(documents, documents)
def test_documents_without_a_difference_are_the_same(old: object, new: object) -> None:
    assert (list(differences(old, new)) == []) == same(old, new)


@given(documents, documents)
def test_each_difference_is_where_it_says(old: object, new: object) -> None:
    for change in differences(old, new):
        assert value_at(old, change.path) == change.old or change.old is MISSING
        assert value_at(new, change.path) == change.new or change.new is MISSING


def test_differences_say_what_came_went_and_changed() -> None:
    old = {"a": 1, "b": {"c": [1, 2]}, "d": "x"}
    new = {"a": 1.0, "b": {"c": [1, 3, 4]}, "e": None}
    assert {(dotted(change.path), change.kind) for change in differences(old, new)} == {
        ("b.c[1]", Kind.UPDATE),
        ("b.c[2]", Kind.ADD),
        ("d", Kind.DELETE),
        ("e", Kind.ADD),
    }


def test_true_is_not_one() -> None:
    assert len(list(differences({"a": 1}, {"a": True}))) == 1


def test_what_is_not_known_yet_counts_as_changed() -> None:
    assert len(list(differences({"a": "x"}, {"a": UNKNOWN}))) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("a", "b", 0, "c"), "a.b[0].c"),
        (("metadata", "annotations", "pulumi.com/x"), 'metadata.annotations["pulumi.com/x"]'),
        ((0, "a"), "[0].a"),
        (('with"quote',), '["with\\"quote"]'),
    ],
)
def test_paths_are_written_as_the_engine_reads_them(path: tuple[str | int, ...], text: str) -> None:
    assert dotted(path) == text
    assert parse(text) == path


@given(st.lists(segments, min_size=1, max_size=5).map(tuple))
def test_a_written_path_reads_back(path: tuple[str | int, ...]) -> None:
    assert parse(dotted(path)) == path


def test_a_path_covers_itself_and_what_is_below() -> None:
    by = [parse("spec.hard"), parse("items[*].name")]
    assert covered(parse("spec.hard"), by)
    assert covered(parse("spec.hard.pods"), by)
    assert covered(parse("items[3].name"), by)
    assert not covered(parse("spec"), by)
    assert not covered(parse("spec.harder"), by)
