"""Where an anchor goes beside a command's answer: the real gate over a real ledger, through the command."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from audit import anchors
from audit.ledger import Ledger
from audit.records import NewEntry
from cli import main, session
from tests.audit.ledger_samples import ALICE
from tests.audit.small_world import SmallWorld, block, make_project

TEA = "tea-bbbbb"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """Return the ledger behind the command's gate; one store is wanted, and comes up at once."""
    monkeypatch.setattr("audit.phases.health.PATIENCE_S", 0.0)
    monkeypatch.setattr("audit.waiting.ASK_EVERY_S", 0.01)
    world = SmallWorld(make_project(tmp_path / "project"))
    world.write(block(TEA))
    monkeypatch.chdir(world.root)
    monkeypatch.delenv("CI", raising=False)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as opened:
        monkeypatch.setattr(session, "open_gate", lambda _root, _environment: world.gate(opened))
        yield opened


def _anchored(text: str) -> list[int]:
    return [json.loads(line)["seq"] for line in text.splitlines() if line.startswith('{"anchor"')]


def test_with_json_stdout_is_one_document_and_the_anchor_is_on_stderr(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(anchors.VARIABLE, "stdout")
    assert main.run(("up", "--json")) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["stores"][0]["status"] == "Ready"
    assert _anchored(err) == [ledger.anchor().seq]


def test_without_json_the_anchor_is_on_stdout_where_it_was_asked_for(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(anchors.VARIABLE, "stdout")
    assert main.run(("up",)) == 0
    out, err = capfd.readouterr()
    assert (_anchored(out), _anchored(err)) == ([ledger.anchor().seq], [])


@contextmanager
def _stdout_nobody_reads() -> Iterator[None]:
    """Let stdout lead into a pipe whose reader has left."""
    before = os.dup(1)
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    os.close(writer)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)


def test_an_anchor_whose_collector_has_left_is_kept_in_the_file_and_said_to_be(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(anchors.VARIABLE, "stdout")
    with _stdout_nobody_reads():
        assert main.run(("up",)) == 0
    (file,) = Path(".stores/anchors").iterdir()
    assert [anchor.seq for anchor in anchors.read(file)] == [ledger.anchor().seq]
    err = capsys.readouterr().err
    assert f"the log's end is kept in {file.absolute()}, but not on stdout: Broken pipe" in err
    assert "could not be kept" not in err


def test_one_call_is_not_bound_by_what_an_earlier_one_has_printed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(anchors.VARIABLE, "stdout")
    assert main.run(("up", "--json")) == 0
    capfd.readouterr()
    ledger.record(NewEntry(ALICE, "test.write", "success"))
    assert main.run(("up",)) == 0
    assert _anchored(capfd.readouterr().out) == [ledger.anchor().seq]


def test_verify_goes_by_the_anchors_that_runs_have_kept_here_and_says_so(
    ledger: Ledger, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main.run(("audit", "verify")) == 0
    assert "no anchor was given" in capfd.readouterr().err
    assert main.run(("up",)) == 0
    capfd.readouterr()
    end = ledger.anchor()
    file = tmp_path / "project/.stores/anchors" / f"local-{end.chain_id}.jsonl"
    assert main.run(("audit", "verify")) == 0
    out, err = capfd.readouterr()
    assert f"anchored up to entry {end.seq} of " in out
    assert err == f"the anchors are those that runs have kept in {file}\n"
    file.write_text(anchors.to_line(anchors.Anchor(end.chain_id, end.seq, "0" * 64, end.at)) + "\n")
    assert main.run(("audit", "verify")) == 9
    assert "rewrite" in capfd.readouterr().err
