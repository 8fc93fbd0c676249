"""Property values on the wire."""

from __future__ import annotations

import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from sandbox.plugins.wire import (
    UNKNOWN,
    Asset,
    Secret,
    WireError,
    decode,
    encode,
    has_secret,
    has_unknown,
    keep_secret,
    plain,
    secret_texts,
)

leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.just(UNKNOWN)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3) | st.builds(Secret, inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_what_is_sent_arrives_unchanged(properties: dict[str, object]) -> None:
    assert decode(encode(properties)) == properties


def test_empty_lists_and_objects_stay_what_they_are() -> None:
    assert decode(encode({"list": [], "object": {}, "text": ""})) == {"list": [], "object": {}, "text": ""}


def test_an_asset_arrives_as_one() -> None:
    assert decode(encode({"a": Asset(text="x: 1"), "b": Asset(path="v.yaml")})) == {
        "a": Asset(text="x: 1"),
        "b": Asset(path="v.yaml"),
    }


def test_an_archive_is_refused() -> None:
    struct = struct_pb2.Struct()
    struct.update({"a": {"4dabf18193072939515e22adb298388d": "0def7320c3a5731c473e5ecbe6d01bc7"}})
    with pytest.raises(WireError, match="archive"):
        decode(struct)


@given(values)
def test_plain_values_hold_no_secret_and_lose_nothing_else(value: object) -> None:
    assert not has_secret(plain(value))
    assert has_unknown(plain(value)) == has_unknown(value)


def test_a_secret_never_shows_itself() -> None:
    assert "hunter2" not in repr(Secret({"password": "hunter2"}))


def test_texts_within_secrets_are_found_at_any_depth() -> None:
    value = {"a": "open", "b": [Secret({"c": ["one", 2]})], "d": Secret("two")}
    assert sorted(secret_texts(value)) == ["one", "two"]


def test_outputs_are_secret_where_inputs_are() -> None:
    outputs = {"a": {"b": "1", "c": "2"}, "d": ["3", "4"], "e": "5"}
    inputs = {"a": {"b": Secret("x")}, "d": ["x", Secret("y")], "gone": Secret("z")}
    assert keep_secret(outputs, inputs) == {
        "a": {"b": Secret("1"), "c": "2"},
        "d": Secret(["3", "4"]),
        "e": "5",
    }
