from __future__ import annotations

from pathlib import Path

import pytest

from stacks.yaml_document import parse, read


def problems(text: str) -> list[str]:
    return [str(problem) for problem in parse(text, "f.yaml").problems]


def test_every_value_knows_its_line() -> None:
    document = parse("a: 1\nb:\n  - c: x\n    d: {e: 5}\n", "f.yaml")
    assert document.at(("b", 0, "c")) == "f.yaml:3"
    assert document.at(("b", 0, "d", "e")) == "f.yaml:4"


def test_something_that_is_not_there_has_the_line_of_what_is_around_it() -> None:
    assert parse("a: 1\nb:\n  - c: x\n", "f.yaml").at(("b", 0, "missing", "deeper")) == "f.yaml:3"


def test_a_scalar_is_known_as_it_was_written() -> None:
    document = parse('a: 01\nb: "02"\nc: 7.10\n', "f.yaml")
    assert [document.written((key,)) for key in "abc"] == ["01", "02", "7.10"]
    assert document.data == {"a": 1, "b": "02", "c": 7.1}


def test_every_repeated_key_is_reported_with_its_first_line() -> None:
    assert problems("a: 1\nb: 2\na: 3\nb: 4\n") == [
        "f.yaml:3: the key a stands twice, first in line 1; remove one of the two",
        "f.yaml:4: the key b stands twice, first in line 2; remove one of the two",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f.yaml: the file is empty; start it with `version: 1`"),
        ("# only a comment\n", "f.yaml: the file is empty; start it with `version: 1`"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: a second document begins (`---`); keep one document per file"),
        ("a: &x 1\nb: *x\n", "f.yaml:2: an alias (`*name`) stands for a value; write the value out"),
        ("a: &x [*x]\n", "f.yaml:1: an alias (`*name`) stands for a value; write the value out"),
        ("<<: {a: 1}\n", "f.yaml:1: the key << is not a plain word; write one plain key per value"),
        ("a: !!python/name:os.system x\n", "python/name:os.system is not allowed; write a plain value"),
        ("a: \x01\n", "f.yaml: not YAML"),
    ],
)
def test_what_a_manifest_must_not_have_is_one_problem(text: str, expected: str) -> None:
    [problem] = problems(text)
    assert expected in problem


@pytest.mark.parametrize(
    ("text", "line"), [("a: 1\nb: [1, 2\n", 2), ("a:\n\t- b\n", 2), ("a: b: c\n", 1), ("a: 'x\n\nb: 1\n", 1)]
)
def test_a_syntax_error_has_its_line_and_a_cure(text: str, line: int) -> None:
    [problem] = parse(text, "f.yaml").problems
    assert problem.where == f"f.yaml:{line}"
    assert problem.what.startswith("not YAML: ")
    assert problem.cure


def test_an_anchor_that_nothing_uses_is_no_problem_and_no_warning() -> None:
    assert parse("a: &x 1\nb: &x 2\n", "f.yaml").data == {"a": 1, "b": 2}


def test_deep_nesting_is_a_problem_and_not_a_crash() -> None:
    assert problems("[" * 5000) == ["f.yaml: nested too deeply to be read; flatten it"]


def test_a_missing_file_and_one_in_another_encoding_are_problems(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    assert str(read(tmp_path / "none.yaml", "none.yaml").problems[0]).startswith("none.yaml: the file is missing;")
    assert str(read(tmp_path / "latin.yaml", "latin.yaml").problems[0]).startswith(
        "latin.yaml:2: the text is not UTF-8;"
    )
