"""Anchors come back as they were kept, also after a crash in the middle of a line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit import anchors
from audit.anchors import Anchor
from stacks.errors import UsageError

FIRST = Anchor("chain", 3, "ab" * 32, datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC))
SECOND = Anchor("chain", 9, "cd" * 32, datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC))


def test_anchors_come_back_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "anchors.jsonl"
    anchors.append(path, FIRST)
    anchors.append(path, SECOND)
    assert anchors.read(path) == (FIRST, SECOND)
    assert path.read_text().splitlines() == [anchors.to_line(FIRST), anchors.to_line(SECOND)]


def test_a_line_that_was_cut_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    anchors.append(path, FIRST)
    path.write_text(path.read_text() + anchors.to_line(SECOND)[:40])
    assert anchors.read(path) == (FIRST,)


@pytest.mark.parametrize("before", [(), (FIRST,)])
def test_an_anchor_after_a_line_that_was_cut_by_a_crash_does_not_spoil_the_file(
    tmp_path: Path, before: tuple[Anchor, ...]
) -> None:
    path = tmp_path / "anchors.jsonl"
    path.write_text("".join(f"{anchors.to_line(anchor)}\n" for anchor in before) + anchors.to_line(SECOND)[:40])
    anchors.append(path, SECOND)
    assert anchors.read(path) == (*before, SECOND)


@pytest.mark.parametrize("line", ["{}", "nonsense", "[1]", '{"chain_id": "c", "seq": "x", "hash": "h", "at": "now"}'])
def test_a_line_that_is_no_anchor_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "anchors.jsonl"
    path.write_text(f"{anchors.to_line(FIRST)}\n{line}\n")
    with pytest.raises(UsageError, match=r"anchors.jsonl:2: is no anchor"):
        anchors.read(path)


def test_a_missing_file_is_an_error_and_not_an_empty_list(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        anchors.read(tmp_path / "nothing")
