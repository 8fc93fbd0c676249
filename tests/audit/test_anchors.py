"""Anchors come back as they were kept, also after a crash in the middle of a line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit import anchors
from audit.anchors import Anchor, Keeper
from stacks.errors import AuditIncompleteError, UsageError

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
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


# --- kept by themselves


def _end(seq: int, sealed: str = "ab", chain_id: str = "chain") -> Anchor:
    return Anchor(chain_id, seq, sealed * 32, AT)


@dataclass
class Log:
    """A log with this end. `rewritten`: what was its end once is another entry now."""

    end: Anchor
    rewritten: bool = False

    def anchor(self) -> Anchor:
        return self.end

    def holds(self, _anchor: Anchor) -> bool:
        return not self.rewritten


def test_a_keeper_keeps_each_end_once_and_only_when_the_log_has_grown(tmp_path: Path) -> None:
    keeper = Keeper.of(tmp_path, "prod", "chain")
    assert [keeper.keep(Log(_end(seq)), every=3) for seq in (0, 1, 3, 4, 6, 6)] == [
        False,
        False,
        True,
        False,
        True,
        False,
    ]
    assert [anchor.seq for anchor in anchors.read(keeper.file)] == [3, 6]
    assert keeper.file == tmp_path / ".stores/anchors/prod-chain.jsonl"


@pytest.mark.parametrize("end", [_end(5), _end(6, "cd")])
def test_a_log_that_was_cut_or_exchanged_is_told_and_not_kept(tmp_path: Path, end: Anchor) -> None:
    keeper = Keeper.of(tmp_path, "prod", "chain")
    keeper.check(Log(_end(0)))
    keeper.keep(Log(_end(6)))
    for call in (keeper.check, keeper.keep):
        with pytest.raises(AuditIncompleteError, match=r"but on .* it ended at 6"):
            call(Log(end))
    assert [anchor.seq for anchor in anchors.read(keeper.file)] == [6]
    keeper.check(Log(_end(6)))
    keeper.check(Log(_end(7, "ef")))


def test_a_rewrite_with_an_entry_behind_it_is_told_and_not_kept(tmp_path: Path) -> None:
    keeper = Keeper.of(tmp_path, "prod", "chain")
    keeper.keep(Log(_end(6)))
    for call in (keeper.check, keeper.keep):
        with pytest.raises(AuditIncompleteError, match=r"entry 6 is not the one .* 1 written behind them"):
            call(Log(_end(7, "ef"), rewritten=True))
    assert [anchor.seq for anchor in anchors.read(keeper.file)] == [6]


def test_anchors_of_another_log_are_never_mixed(tmp_path: Path) -> None:
    keeper = Keeper.of(tmp_path, "prod", "chain", str(tmp_path / "kept"))
    keeper.keep(Log(_end(1)))
    with pytest.raises(UsageError, match="is of another log"):
        keeper.keep(Log(_end(2, chain_id="other")))


@pytest.mark.parametrize(
    ("chosen", "file", "streams"),
    [
        (None, ".stores/anchors/prod-c.jsonl", ()),
        ("", ".stores/anchors/prod-c.jsonl", ()),
        ("stdout", ".stores/anchors/prod-c.jsonl", (1,)),
        ("kept, stderr", "kept", (2,)),
    ],
)
def test_the_sinks_are_chosen_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None, file: str, streams: tuple[int, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    keeper = Keeper.of(tmp_path, "prod", "c", chosen)
    assert (keeper.file.resolve(), keeper.streams) == (tmp_path / file, streams)


def test_two_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it names 2 files"):
        Keeper.of(tmp_path, "prod", "c", "a,b")


def test_a_collector_gets_the_line_on_its_stream(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Keeper.of(tmp_path, "prod", "chain", "stdout").keep(Log(_end(1)))
    assert capfd.readouterr() == (anchors.to_line(_end(1)) + "\n", "")


@pytest.mark.parametrize("chosen", ["stdout", "stdout,stderr"])
def test_where_stdout_is_taken_the_line_goes_to_stderr_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], chosen: str
) -> None:
    Keeper.of(tmp_path, "prod", "chain", chosen, stdout_taken=True).keep(Log(_end(1)))
    assert capfd.readouterr() == ("", anchors.to_line(_end(1)) + "\n")


def test_where_stdout_is_taken_and_no_stream_was_chosen_none_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Keeper.of(tmp_path, "prod", "chain", stdout_taken=True).keep(Log(_end(1)))
    assert capfd.readouterr() == ("", "")


def test_an_end_that_another_run_keeps_meanwhile_is_no_alarm(tmp_path: Path) -> None:
    """It is asked for after the file was read: whatever another run has kept by then, the log has reached."""
    keeper = Keeper.of(tmp_path, "prod", "chain")
    keeper.keep(Log(_end(6)))

    class Busy(Log):
        def anchor(self) -> Anchor:
            anchors.append(keeper.file, _end(9))
            return _end(8)

    keeper.check(Busy(_end(8)))
