"""Commands that prove the audit log and hand it on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from audit import anchors
from audit.verification import Verification
from stacks.errors import DatabaseUnreachableError
from tests.cli.conftest import entry


@pytest.fixture
def kept(project: Path, gate) -> Path:
    """Return a file with the anchor of the log's end."""
    path = project / "anchors.jsonl"
    anchors.append(path, gate.ledger.end)
    return path


@pytest.mark.parametrize("reference", ["7", "e"])
def test_show_prints_one_entry_whole_by_its_number_or_id(gate, stores, reference: str) -> None:
    gate.ledger.found = [entry(reason="two\nlines\x1b[2J", metadata={"b": [1], "a": "x"})]
    done = stores("audit", "show", reference)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("seq:         7\nentry_id:    e\nrun_id:      run-1\nactor:       alice\n")
    assert "reason:      two lines\\x1b[2J\n" in done.out
    assert done.out.endswith("hash:        1\nmetadata.a: x\nmetadata.b: [1]\n")
    assert json.loads(stores("audit", "show", reference, "--json").out)["metadata"] == {"a": "x", "b": [1]}


@pytest.mark.parametrize("reference", ["8", "-7", "x", "9" * 30])
def test_an_entry_that_is_not_there_is_told(gate, stores, reference: str) -> None:
    done = stores("audit", "show", "--", reference)
    assert done.code == 2
    assert done.err == f"error: entry '{reference}': there is no such entry; see `stores audit list` for the numbers\n"


def test_verify_says_how_much_is_proven_and_what_is_not_without_an_anchor(gate, stores) -> None:
    done = stores("audit", "verify")
    assert (done.code, done.out) == (0, "7 entries, chain unbroken\n")
    assert "no anchor was given" in done.err
    assert gate.ledger.asked == {"anchors": ()}


def test_verify_hands_the_anchors_over_and_says_how_far_they_reach(gate, stores, kept: Path) -> None:
    done = stores("audit", "verify", "--anchor", str(kept))
    assert (done.code, done.err) == (0, "")
    assert done.out == "7 entries, chain unbroken\nanchored up to entry 7 of 2026-11-23 08:30:05Z\n"
    assert gate.ledger.asked == {"anchors": (gate.ledger.end,)}


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_a_broken_log_ends_in_9_names_the_entry_and_what_was_done_and_the_page(gate, stores, option) -> None:
    gate.ledger.verification = Verification(3, 4, "swap", "it and entry 6 have changed places")
    done = stores("audit", "verify", *option)
    assert done.code == 9
    assert done.err.startswith("error: audit log: it is not whole: entry 4: swap: it and entry 6 have changed places;")
    assert "docs/runbooks/exit-9.md" in done.err
    if option:
        document = json.loads(done.out)
        assert (document["ok"], document["first_bad_seq"], document["tampering"]) == (False, 4, "swap")


def test_a_file_without_an_anchor_proves_nothing_and_is_refused(gate, stores, project: Path) -> None:
    (project / "empty").write_text("")
    assert stores("audit", "verify", "--anchor", "empty").code == 2
    assert stores("audit", "verify", "--anchor", "missing").code == 2
    assert gate.ledger.asked == {}


def test_anchor_prints_the_end_of_the_log_and_appends_it_to_a_file(gate, stores, kept: Path) -> None:
    gate.ledger.end = replace(gate.ledger.end, seq=9)
    done = stores("audit", "anchor", "--output", str(kept))
    assert (done.code, done.out) == (0, anchors.to_line(gate.ledger.end) + "\n")
    assert [found.seq for found in anchors.read(kept)] == [7, 9]
    assert stores("audit", "anchor").out == done.out
    assert len(anchors.read(kept)) == 2


@pytest.mark.parametrize(
    ("change", "code"),
    [({}, 0), ({"seq": 6}, 9), ({"hash": "cd" * 32}, 9), ({"chain_id": "other"}, 2), ({"seq": 8, "hash": "c"}, 0)],
)
def test_an_anchor_that_cannot_follow_the_last_one_is_refused_and_not_written(
    gate, stores, kept: Path, change, code: int
) -> None:
    before = kept.read_text()
    gate.ledger.end = replace(gate.ledger.end, **change)
    done = stores("audit", "anchor", "--output", str(kept))
    assert done.code == code
    assert (kept.read_text() == before) is (code != 0)


def test_an_anchor_after_a_rewrite_is_refused_and_not_written(gate, stores, kept: Path) -> None:
    before = kept.read_text()
    gate.ledger.end, gate.ledger.rewritten = replace(gate.ledger.end, seq=8, hash="c" * 64), True
    done = stores("audit", "anchor", "--output", str(kept))
    assert (done.code, done.out) == (9, "")
    assert "its entry 7 is not the one that was the last on 2026-11-23" in done.err
    assert kept.read_text() == before


def test_export_writes_every_entry_as_one_line_by_number(gate, stores, project: Path) -> None:
    gate.ledger.found = [entry(seq=1, reason="\x7f\x9b\u00e9"), entry(seq=2), entry(seq=3)]
    done = stores("audit", "export")
    assert (done.code, done.err) == (0, "3 entries, the last is 3\n")
    assert [json.loads(line)["seq"] for line in done.out.splitlines()] == [1, 2, 3]
    assert json.loads(done.out.splitlines()[0])["reason"] == "\x7f\x9b\u00e9"
    assert done.out.isascii()
    assert "\x7f" not in done.out
    assert stores("audit", "export", "--output", "all.jsonl", "--after", "1").out == ""
    assert [json.loads(line)["seq"] for line in (project / "all.jsonl").read_text().splitlines()] == [2, 3]


def test_export_as_ocsf_writes_events(gate, stores) -> None:
    event = json.loads(stores("audit", "export", "--format", "ocsf").out)
    assert (event["class_uid"], event["metadata"]["sequence"], event["api"]["operation"]) == (6003, 7, "store.create")


def test_an_export_that_breaks_off_leaves_the_old_file_and_no_other(gate, stores, project: Path) -> None:
    (project / "all.jsonl").write_text("old")
    before = sorted(project.iterdir())
    gate.ledger.failure = DatabaseUnreachableError("ledger", "gone", "start it")
    assert stores("audit", "export", "--output", "all.jsonl").code == 5
    assert (project / "all.jsonl").read_text() == "old"
    assert sorted(project.iterdir()) == before


def test_an_export_into_a_folder_that_is_not_there_is_told(gate, stores) -> None:
    done = stores("audit", "export", "--output", "nowhere/all.jsonl")
    assert (done.code, done.out) == (2, "")
    assert "cannot be written: No such file or directory" in done.err


def test_an_anchor_and_an_export_answer_a_program(gate, stores, tmp_path: Path) -> None:
    file = tmp_path / "anchors.jsonl"
    found = json.loads(stores("audit", "anchor", "--output", str(file), "--json").out)
    assert (found["anchor"]["seq"], found["appended"]) == (7, True)
    assert json.loads(file.read_text()) == found["anchor"]
    assert json.loads(stores("audit", "anchor", "--json").out) == {"anchor": found["anchor"], "appended": False}
    again = stores("audit", "anchor", "--output", str(file), "--every", "5", "--json")
    assert json.loads(again.out)["appended"] is False
    target = tmp_path / "export.jsonl"
    said = json.loads(stores("audit", "export", "--output", str(target), "--json").out)
    assert said == {"file": str(target), "format": "jsonl", "entries": 1, "last_seq": 7}
    assert stores("audit", "export", "--json").code == 2
