"""Edits keep every other byte, whatever a file looks like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks.errors import ManifestError
from stacks.yaml_document import YamlDocument, parse
from stacks.yaml_edit import scalar, with_item, with_value, without_item, without_key

ORDER = ("id", "name", "owner", "cell", "state", "web")

FILE = """\
# head
version: 1
stores:  # all of them
  # about a
  - name: a   # why a
    owner: alice  # since 2026
    web: {cpu: 500m}
    # tail of a

  # about b
  - name: "b"
    owner: 'bob'
    uploads:
      storage: 1Gi  # grows
    # tail of b
# end
"""


def edited(text: str, *path: str | int, value: str = "X") -> str:
    return with_value(parse(text, "f.yaml"), path, value, ORDER).text


def test_a_new_key_stands_where_its_order_says_and_nothing_else_moves() -> None:
    assert edited(FILE, "stores", 0, "id") == FILE.replace("  - name: a ", "  - id: X\n    name: a ")
    assert edited(FILE, "stores", 0, "cell", value="01") == FILE.replace("2026\n", '2026\n    cell: "01"\n')
    assert edited(FILE, "stores", 1, "state") == FILE.replace("'bob'\n", "'bob'\n    state: X\n")


def test_a_value_is_replaced_in_its_place_with_its_comment_kept() -> None:
    assert edited(FILE, "stores", 1, "uploads", "storage", value="2Gi") == FILE.replace("1Gi  # grows", "2Gi  # grows")
    assert edited(FILE, "stores", 0, "web", "cpu", value="1") == FILE.replace("{cpu: 500m}", '{cpu: "1"}')


def test_a_key_is_added_to_a_mapping_in_one_line_and_to_one_that_is_not_there_yet() -> None:
    assert edited(FILE, "stores", 0, "web", "memory") == FILE.replace("{cpu: 500m}", "{cpu: 500m, memory: X}")
    assert edited(FILE, "stores", 1, "web", "memory") == FILE.replace("'bob'\n", "'bob'\n    web: {memory: X}\n")


def test_an_empty_value_is_filled_in() -> None:
    assert edited("a:\n  id:   # none\n  b: 1\n", "a", "id") == "a:\n  id: X   # none\n  b: 1\n"


def test_blocks_in_one_line_are_edited_too() -> None:
    assert edited("s: [{name: a, owner: b}]\n", "s", 0, "id") == "s: [{id: X, name: a, owner: b}]\n"
    assert edited("s: [{name: a, owner: b}]\n", "s", 0, "cell") == "s: [{name: a, owner: b, cell: X}]\n"
    assert edited("s: {}\n", "s", "id") == "s: {id: X}\n"


def test_an_item_goes_behind_the_comments_of_the_last_one_and_keeps_the_gap() -> None:
    text = with_item(parse(FILE, "f.yaml"), ("stores",), {"name": "c", "title": "x: y"}).text
    assert text == FILE.replace("# tail of b\n", '# tail of b\n\n  - name: c\n    title: "x: y"\n')


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("s: []\n", "s:\n  - a: b\n"),
        ("s: []  # none yet\nt: 1\n", "s:  # none yet\n  - a: b\nt: 1\n"),
        ("s: []", "s:\n  - a: b\n"),
        ("s:\n- a: 1", "s:\n- a: 1\n- a: b\n"),
        ("s:\n    - a: 1\nt: 2\n", "s:\n    - a: 1\n    - a: b\nt: 2\n"),
        ("s: [{a: 1}]\n", "s: [{a: 1}, {a: b}]\n"),
        ("s:\r\n  - a: 1\r\n", "s:\r\n  - a: 1\r\n  - a: b\r\n"),
        ("s:\n  - a: |\n      text\n", "s:\n  - a: |\n      text\n  - a: b\n"),
    ],
)
def test_an_item_is_written_as_its_neighbours_are(before: str, after: str) -> None:
    assert with_item(parse(before, "f.yaml"), ("s",), {"a": "b"}).text == after


NESTED = {"a": "b", "on": True, "web": {"cpu": "1", "memory": "1Gi"}, "list": [{"x": "1.10", "y": "z"}, {"x": "2"}]}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "s:\n- a: 1\n",
            (
                's:\n- a: 1\n- a: b\n  on: true\n  web:\n    cpu: "1"\n    memory: 1Gi\n'
                '  list:\n    - x: "1.10"\n      y: z\n    - x: "2"\n'
            ),
        ),
        (
            "s: [{a: 1}]\n",
            's: [{a: 1}, {a: b, on: true, web: {cpu: "1", memory: 1Gi}, list: [{x: "1.10", y: z}, {x: "2"}]}]\n',
        ),
        ("s:\r\n  - a: 1\r\n", None),
        ("s: []  # none yet\n", None),
    ],
)
def test_an_item_with_mappings_and_lists_in_it_reads_back_as_it_was(before: str, after: str | None) -> None:
    document = with_item(parse(before, "f.yaml"), ("s",), NESTED)
    if after is not None:
        assert document.text == after
    *_, added = document.data["s"]  # type: ignore[index]
    assert added == {**NESTED, "list": ({"x": "1.10", "y": "z"}, {"x": "2"})}
    assert ("\n" in document.text.replace("\r\n", "")) == ("\r\n" not in before)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("s:\n- a: 1\n  state: x  # why\n  # about b\n  b: 2\n", "s:\n- a: 1\n  # about b\n  b: 2\n"),
        ("s:\n- a: 1\n  state: x", "s:\n- a: 1\n"),
        ("s:\n  - state: x  # why\n    b: 2\n", "s:\n  - b: 2\n"),
        ("s:\r\n  - a: 1\r\n    state: x\r\n    b: 2\r\n", "s:\r\n  - a: 1\r\n    b: 2\r\n"),
        ("s: [{a: 1, state: x, b: 2}]\n", "s: [{a: 1, b: 2}]\n"),
        ("s: [{state: x, b: 2}]\n", "s: [{b: 2}]\n"),
        ("s: [{a: 1, state: x}]  # c\n", "s: [{a: 1}]  # c\n"),
        ("s:\n- a: 1\n  state:\n  b: 2\n", "s:\n- a: 1\n  b: 2\n"),
    ],
)
def test_a_key_is_taken_out_and_nothing_else(before: str, after: str) -> None:
    assert without_key(parse(before, "f.yaml"), ("s", 0, "state")).text == after


@pytest.mark.parametrize(
    "text", ["s:\n- state: x\n", "s:\n- state: [x]\n  b: 2\n", "s:\n- state: x\n  # about b\n  b: 2\n", "s:\n- a: 1\n"]
)
def test_a_key_that_cannot_be_taken_out_alone_is_left_to_people(text: str) -> None:
    with pytest.raises(ManifestError, match="cannot be edited; write the block without it by hand"):
        without_key(parse(text, "f.yaml"), ("s", 0, "state"))


def test_removing_a_block_takes_its_comments_and_leaves_its_neighbours() -> None:
    without_b = without_item(parse(FILE, "f.yaml"), ("stores", 1)).text
    assert without_b == FILE[: FILE.index("\n  # about b")] + "# end\n"
    without_a = without_item(parse(FILE, "f.yaml"), ("stores", 0)).text
    assert "# about b" in without_a
    assert "tail of a" not in without_a
    assert parse(without_a, "f.yaml").data == {
        "version": 1,
        "stores": ({"name": "b", "owner": "bob", "uploads": {"storage": "1Gi"}},),
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("s:\n  - a: 1\n", "s: []\n"),
        ("s:  # all\n  # one\n  - a: 1\nt: 1\n", "s: []  # all\n  # one\nt: 1\n"),
        ("s: [{a: 1}]\n", "s: []\n"),
    ],
)
def test_removing_the_last_block_leaves_an_empty_list(before: str, after: str) -> None:
    assert without_item(parse(before, "f.yaml"), ("s", 0)).text == after


@pytest.mark.parametrize(
    ("text", "path"), [("a: [1, 2]\n", ("a", "id")), ("a: text\n", ("a", "id")), ("a: {b: 1}\n", ("a",))]
)
def test_what_cannot_be_edited_is_an_error_and_says_what_to_write(text: str, path: tuple[str, ...]) -> None:
    with pytest.raises(ManifestError, match=r"f.yaml:1: a.* cannot be edited; write X by hand"):
        with_value(parse(text, "f.yaml"), path, "X", ORDER)


def test_an_edit_that_would_say_something_else_is_refused() -> None:
    text = "a:\n  ? id\n  # the colon: in a comment\n  :\n"
    assert parse(text, "f.yaml").data == {"a": {"id": None}}
    with pytest.raises(ManifestError, match="cannot be edited; write X by hand"):
        with_value(parse(text, "f.yaml"), ("a", "id"), "X", ORDER)


def reads(document: YamlDocument, path: tuple[str | int, ...]) -> object:
    data: object = document.data
    for key in path:
        data = data[key]  # type: ignore[index]
    return data


texts = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029\ufeff"), max_size=30)


@given(texts)
def test_any_text_is_written_so_that_it_reads_as_itself(value: str) -> None:
    assert parse(f"a: {scalar(value)}\nb: [{scalar(value)}]\n", "").data == {"a": value, "b": (value,)}


@pytest.mark.parametrize(
    "value",
    ["01", "null", "true", "1e3", "0x1", "2026-11-01", "No", "~", "- a", "a: b", "a #b", "", " a", "{", "'", "\n"],
)
def test_text_that_yaml_would_take_for_something_else_is_quoted(value: str) -> None:
    assert scalar(value).startswith('"')


@st.composite
def files(draw: st.DrawFn) -> tuple[str, int]:
    """Return a list of blocks in one of the many ways that people write one, and how many there are."""
    indent = draw(st.sampled_from(["", "  ", "    "]))
    count = draw(st.integers(1, 4))
    lines = ["version: 1", "stores:" + draw(st.sampled_from(["", "  # all"]))]
    for number in range(count):
        lines += draw(st.sampled_from([[], [""], [f"{indent}# about {number}"], ["", "# far left", ""]]))
        end = draw(st.sampled_from(["", "  # why"]))
        if draw(st.booleans()):
            lines.append(f"{indent}- {{name: n{number}, owner: alice}}{end}")
        else:
            lines.append(f"{indent}- name: n{number}{end}")
            lines += draw(st.sampled_from([[], [f"{indent}  # between"], [""]]))
            lines.append(f"{indent}  owner: {draw(st.sampled_from(['alice', chr(34) + 'alice' + chr(34)]))}{end}")
            lines += draw(
                st.sampled_from(
                    [
                        [],
                        [f"{indent}  web: {{cpu: 500m}}"],
                        [f"{indent}  web:", f"{indent}    cpu: 500m"],
                        [f"{indent}  title: >-", f"{indent}    some", f"{indent}    text"],
                        [f"{indent}  # tail"],
                    ]
                )
            )
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    text = newline.join(lines + draw(st.sampled_from([[], ["# end"]])))
    return text + draw(st.sampled_from(["", newline, newline * 2])), count


@given(files(), st.data())
def test_an_edit_changes_what_it_says_and_keeps_every_other_line(file: tuple[str, int], data: st.DataObject) -> None:
    text, count = file
    document = parse(text, "f.yaml")
    path = data.draw(
        st.sampled_from(
            [
                ("stores", number, *key)
                for number in range(count)
                for key in (("id",), ("cell",), ("state",), ("web", "memory"))
            ]
        )
    )
    after = with_value(document, path, "01", ORDER)
    assert reads(after, path) == "01"
    lost = [line for line in text.splitlines() if line.strip() and line not in after.text.splitlines()]
    # At most the one line that the key was added to.
    assert len(lost) <= 1
    assert after.text.count("#") == text.count("#")


@given(files())
def test_an_item_can_be_added_and_taken_away_again(file: tuple[str, int]) -> None:
    text, count = file
    document = parse(text, "f.yaml")
    added = with_item(document, ("stores",), {"name": "new"})
    assert [line for line in text.splitlines() if line] == [
        line for line in added.text.splitlines() if line and "new" not in line
    ]
    assert without_item(added, ("stores", count)).data == document.data


@given(files(), st.data())
def test_a_key_can_be_added_and_taken_out_again(file: tuple[str, int], data: st.DataObject) -> None:
    text, count = file
    path = ("stores", data.draw(st.integers(0, count - 1)), "state")
    document = parse(text, "f.yaml")
    after = without_key(with_value(document, path, "deleted", ORDER), path)
    assert after.data == document.data
    assert after.text.rstrip("\r\n") == text.rstrip("\r\n")
