"""The bytes that are hashed, and that no two entries share them."""

from __future__ import annotations

import hashlib
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import chain

PREV = "ab" * 32
stored = (
    st.none()
    | st.integers(min_value=-(2**62), max_value=2**62)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
rows = st.lists(stored, max_size=6)


def test_the_hash_of_an_entry_never_changes() -> None:
    """A log that was written by an earlier version must verify with every later one."""
    who: list[chain.Stored] = [1, "id", None, "alice", "user", None, 0, 1_772_366_400_000_000]
    what: list[chain.Stored] = ["prod", "tea-1", "alice", "store.create", "unknown", None, '{"a":1}']
    genesis = hashlib.sha256(b"stores-audit-1\0genesis\0chain").digest()
    sealed = (
        b"stores-audit-1" + genesis + b"i1:1s2:id-s5:alices4:user-i1:0i16:1772366400000000s4:prods5:tea-1s5:alice"
        b's12:store.creates7:unknown-s7:{"a":1}'
    )
    assert chain.entry_hash(genesis.hex(), who + what) == hashlib.sha256(sealed).hexdigest()


@given(rows, rows)
def test_different_contents_have_different_hashes(one: list[chain.Stored], two: list[chain.Stored]) -> None:
    same = [(type(v), v) for v in one] == [(type(v), v) for v in two]
    assert (chain.entry_hash(PREV, one) == chain.entry_hash(PREV, two)) is same


@given(st.lists(stored, min_size=2, max_size=6, unique_by=str), st.randoms())
def test_bytes_cannot_move_between_fields(values: list[chain.Stored], random: object) -> None:
    joined = ["".join(str(v) for v in values)]
    assert chain.entry_hash(PREV, values) != chain.entry_hash(PREV, joined)
    assert chain.entry_hash(PREV, values) != chain.entry_hash(PREV, values[::-1])


@pytest.mark.parametrize(("one", "two"), [(["1"], [1]), ([None], [""]), ([None], ["-"]), (["a", "b"], ["ab", ""])])
def test_kinds_that_look_alike_are_told_apart(one: list[chain.Stored], two: list[chain.Stored]) -> None:
    assert chain.entry_hash(PREV, one) != chain.entry_hash(PREV, two)


def test_an_entry_depends_on_the_one_before() -> None:
    assert chain.entry_hash(PREV, [1]) != chain.entry_hash("cd" * 32, [1])


def test_chains_of_two_ledgers_never_fit_each_other() -> None:
    assert chain.genesis_hash("one") != chain.genesis_hash("two")
    assert chain.genesis_hash("one") == hashlib.sha256(b"stores-audit-1\0genesis\0one").hexdigest()


def test_metadata_may_be_any_mapping_whose_names_become_text() -> None:
    given = MappingProxyType({"b": (1, MappingProxyType({"d": None})), 7: True})
    assert chain.to_json(given) == '{"7":true,"b":[1,{"d":null}]}'  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [object(), {1}, b"x", {"a": [object()]}])
def test_metadata_that_is_neither_text_nor_numbers_is_named(value: object) -> None:
    with pytest.raises(TypeError, match=r"metadata cannot hold a (object|set|bytes): give text or numbers"):
        chain.to_json({"a": value})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_know_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        chain.to_json({"a": number})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=10), json_values, max_size=5))
def test_metadata_has_one_text_which_gives_it_back(metadata: dict[str, object]) -> None:
    text = chain.to_json(metadata)
    assert text.isascii()
    assert chain.from_json(text) == metadata
    assert chain.to_json(dict(reversed(metadata.items()))) == text
