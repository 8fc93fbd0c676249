"""The random plugin."""

from __future__ import annotations

import base64
import re
import string
from typing import Any

import pytest
from google.protobuf import empty_pb2
from hypothesis import given
from hypothesis import strategies as st
from pulumi.runtime.proto import provider_pb2

from sandbox.plugins.failures import NotSupportedError, PluginError
from sandbox.plugins.random import bcrypt, text
from sandbox.plugins.random.provider import RandomProvider
from sandbox.plugins.wire import UNKNOWN, Secret, encode

from .engine_double import CheckError, EngineDouble, Messages

PASSWORD = "random:index/randomPassword:RandomPassword"
STRING = "random:index/randomString:RandomString"
ID = "random:index/randomId:RandomId"
INTEGER = "random:index/randomInteger:RandomInteger"
UUID = "random:index/randomUuid:RandomUuid"
BYTES = "random:index/randomBytes:RandomBytes"


@pytest.fixture
def stack() -> EngineDouble:
    return EngineDouble(RandomProvider(Messages()))


def test_a_password_is_made_once_and_is_secret(stack: EngineDouble) -> None:
    assert stack.up(PASSWORD, "p", {"length": 24}) == "create"
    first = stack.kept(PASSWORD, "p")
    assert stack.up(PASSWORD, "p", {"length": 24}) == "same"
    assert stack.kept(PASSWORD, "p") == first
    assert first.id == "none"
    assert isinstance(first.outputs["result"], Secret)
    assert len(first.outputs["result"].value) == 24
    assert isinstance(first.outputs["bcryptHash"], Secret)


def test_a_preview_knows_the_arguments_and_not_the_password(stack: EngineDouble) -> None:
    foretold = stack.preview(PASSWORD, "p", {"length": 24})
    assert foretold["result"] == Secret(UNKNOWN)
    assert (foretold["length"], foretold["special"]) == (24, True)


@pytest.mark.parametrize(
    "changed", [{"length": 25}, {"special": False}, {"minLower": 3}, {"overrideSpecial": "-"}, {"keepers": {"a": "1"}}]
)
def test_a_changed_argument_means_another_password(stack: EngineDouble, changed: dict[str, Any]) -> None:
    stack.up(PASSWORD, "p", {"length": 24})
    before = stack.kept(PASSWORD, "p").outputs["result"]
    assert stack.up(PASSWORD, "p", {"length": 24} | changed) == "replace"
    assert stack.kept(PASSWORD, "p").outputs["result"] != before


def test_writing_a_default_out_changes_nothing(stack: EngineDouble) -> None:
    stack.up(PASSWORD, "p", {"length": 24})
    assert stack.up(PASSWORD, "p", {"length": 24, "special": True, "number": True, "minUpper": 0}) == "same"


def test_an_ignored_argument_changes_nothing(stack: EngineDouble) -> None:
    stack.up(PASSWORD, "p", {"length": 24})
    diff = stack.diff(PASSWORD, "p", {"length": 30}, ignore_changes=("length",))
    assert not diff.paths


@given(
    length=st.integers(1, 60),
    minimums=st.tuples(*[st.integers(0, 10)] * 4),
    flags=st.tuples(*[st.booleans()] * 4),
)
def test_a_password_has_its_length_and_its_minimums(
    length: int, minimums: tuple[int, ...], flags: tuple[bool, ...]
) -> None:
    names = ("lower", "upper", "numeric", "special")
    arguments = {"length": max(length, sum(minimums), 1)}
    arguments |= {f"min{name.title()}": minimum for name, minimum in zip(names, minimums, strict=True)}
    arguments |= dict(zip(names, flags, strict=True))
    if list(text.problems(arguments)):
        return
    drawn = text.draw(text.effective(arguments))
    assert len(drawn) == arguments["length"]
    alphabets = (string.ascii_lowercase, string.ascii_uppercase, string.digits, "!@#$%&*()-_=+[]{}<>:?")
    for alphabet, minimum, flag in zip(alphabets, minimums, flags, strict=True):
        count = sum(character in alphabet for character in drawn)
        assert count >= minimum
        assert flag or count == minimum


def test_own_special_characters_are_used_instead() -> None:
    arguments = text.effective({"length": 40, "overrideSpecial": "~", "lower": False, "upper": False, "numeric": False})
    assert text.draw(arguments) == "~" * 40


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, "length"),
        ({"length": 0}, "length"),
        ({"length": "24"}, "length"),
        ({"length": True}, "length"),
        ({"length": 3, "minLower": 2, "minUpper": 2}, "length"),
        ({"length": 9, "lower": False, "upper": False, "numeric": False, "special": False}, "lower"),
        ({"length": 9, "number": False, "numeric": True}, "number"),
        ({"length": 9, "lenght": 9}, "lenght"),
    ],
)
def test_wrong_arguments_are_refused_by_name(stack: EngineDouble, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(CheckError) as error:
        stack.check(PASSWORD, "p", arguments)
    assert set(error.value.reasons) == {named}


def test_arguments_that_are_not_known_yet_are_taken(stack: EngineDouble) -> None:
    assert stack.preview(PASSWORD, "p", {"length": UNKNOWN})["length"] is UNKNOWN


def test_the_hash_is_one_of_the_password() -> None:
    hashed = bcrypt.digest("hunter2")
    assert hashed is not None
    assert re.fullmatch(r"\$2a\$10\$[./A-Za-z0-9]{53}", hashed)
    library = bcrypt._library()
    work = bcrypt.ctypes.create_string_buffer(256 * 1024)
    assert library.crypt_r(b"hunter2", hashed.encode(), work) == hashed.encode()
    assert library.crypt_r(b"hunter3", hashed.encode(), work) != hashed.encode()


def test_without_bcrypt_the_hash_is_left_out_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bcrypt, "_library", lambda: None)
    messages = Messages()
    stack = EngineDouble(RandomProvider(messages))
    stack.up(PASSWORD, "p", {"length": 24})
    assert "bcryptHash" not in stack.kept(PASSWORD, "p").outputs
    assert "bcryptHash" in messages.warnings[0]


def test_an_imported_password_is_the_import_id_and_stays(stack: EngineDouble) -> None:
    diff = stack.adopt(PASSWORD, "p", "correct-horse", {"length": 13})
    assert not diff.paths
    assert stack.kept(PASSWORD, "p").outputs["result"] == Secret("correct-horse")
    assert stack.up(PASSWORD, "p", {"length": 13}) == "same"


def test_a_string_is_its_own_id_and_no_secret(stack: EngineDouble) -> None:
    stack.up(STRING, "s", {"length": 5, "upper": False})
    kept = stack.kept(STRING, "s")
    assert kept.id == kept.outputs["result"]
    assert re.fullmatch(r"[^A-Z]{5}", kept.id)


def test_an_identifier_has_all_notations_of_the_same_bytes(stack: EngineDouble) -> None:
    stack.up(ID, "i", {"byteLength": 5, "prefix": "x-"})
    kept = stack.kept(ID, "i")
    raw = base64.urlsafe_b64decode(kept.id + "=")
    assert kept.outputs["hex"] == "x-" + raw.hex()
    assert kept.outputs["dec"] == f"x-{int.from_bytes(raw)}"
    assert kept.outputs["b64Std"] == "x-" + base64.b64encode(raw).decode()
    assert not stack.adopt(ID, "j", f"x-,{kept.id}", {"byteLength": 5, "prefix": "x-"}).paths


def test_an_integer_lies_between_its_bounds_and_may_be_them(stack: EngineDouble) -> None:
    drawn = set()
    for _ in range(60):
        stack.state.clear()
        stack.up(INTEGER, "n", {"min": 3, "max": 4})
        drawn.add(stack.kept(INTEGER, "n").outputs["result"])
    assert drawn == {3, 4}


@pytest.mark.parametrize("arguments", [{"min": 4, "max": 3}, {"min": 1, "max": 2, "seed": "x"}])
def test_integers_that_cannot_be_drawn_are_refused(stack: EngineDouble, arguments: dict[str, Any]) -> None:
    with pytest.raises(CheckError):
        stack.check(INTEGER, "n", arguments)


def test_integers_uuids_and_bytes_can_be_imported(stack: EngineDouble) -> None:
    assert not stack.adopt(INTEGER, "n", "4,1,9", {"min": 1, "max": 9}).paths
    assert not stack.adopt(UUID, "u", "9d4fdbc0-6e4d-4f5c-8f4b-0b1e8d2d4e11", {}).paths
    assert not stack.adopt(BYTES, "b", base64.b64encode(b"0123456789").decode(), {"length": 10}).paths
    assert isinstance(stack.kept(BYTES, "b").outputs["hex"], Secret)
    with pytest.raises(PluginError, match="import"):
        stack.adopt(UUID, "v", "not-a-uuid", {})


def test_a_refresh_changes_nothing(stack: EngineDouble) -> None:
    stack.up(PASSWORD, "p", {"length": 24})
    before = stack.kept(PASSWORD, "p")
    assert stack.refresh(PASSWORD, "p") == before


def test_types_that_are_not_there_are_refused_by_name(stack: EngineDouble) -> None:
    with pytest.raises(NotSupportedError, match="RandomPet"):
        stack.check("random:index/randomPet:RandomPet", "p", {})


def test_settings_are_refused(stack: EngineDouble) -> None:
    response = stack.provider.check_config(provider_pb2.CheckRequest(news=encode({"version": "4.21.4", "x": 1})))
    assert [failure.property for failure in response.failures] == ["x"]


def test_the_version_is_that_of_the_sdk(stack: EngineDouble) -> None:
    assert stack.provider.plugin_info(empty_pb2.Empty()).version == "4.21.4"
