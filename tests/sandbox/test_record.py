from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import process, record
from sandbox.record import Record


@pytest.fixture
def own() -> Record:
    """Return the record of an instance whose process is this one."""
    identity = process.identify(os.getpid())
    assert identity is not None
    return Record(identity, "2026-01-01T00:00:00+00:00", 8080, None, 40000, "programs", {"pulumi": "v3"})


def test_what_is_saved_is_what_is_loaded(own: Record, tmp_path: Path) -> None:
    own.save(tmp_path)

    assert record.load(tmp_path) == own


def test_an_instance_whose_process_runs_has_not_ended(own: Record) -> None:
    assert record.end_of(own, process.boot_id()) is None


def test_an_instance_of_before_a_restart_has_ended_even_if_its_number_runs(own: Record) -> None:
    assert record.end_of(own, "another-boot") == "the machine was restarted since"


def test_another_process_with_the_same_number_is_not_the_instance(own: Record) -> None:
    earlier = replace(own.identity, start_ticks=own.identity.start_ticks - 1)

    assert record.end_of(replace(own, identity=earlier), process.boot_id()) == "its process has ended"


def test_a_killed_process_has_ended_even_before_its_parent_knows(own: Record) -> None:
    child = subprocess.Popen(["sleep", "60"])
    identity = process.identify(child.pid)
    assert identity is not None
    process.kill(identity)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table

    assert record.end_of(replace(own, identity=identity), process.boot_id()) == "its process has ended"
    child.wait()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"identity": {}}', '{"unknown": 1}'])
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / record.FILE).write_text(text)

    assert record.load(tmp_path) is None
    assert record.end_of(record.load(tmp_path), process.boot_id()) == "its record is missing or damaged"


def test_no_record_is_none(tmp_path: Path) -> None:
    assert record.load(tmp_path) is None
