from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sandbox import instance, process
from sandbox.record import Record
from stacks.errors import UsageError


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """Return the folder of instance `local` that was started and whose process has ended without `down`."""
    folder = instance.folder_of(tmp_path, "local")
    (folder / "state").mkdir(parents=True)
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as ledger:
        ledger.execute("PRAGMA journal_mode=WAL")
        ledger.execute("CREATE TABLE entry (what TEXT)")
        ledger.execute("INSERT INTO entry VALUES ('made tea-house')")
        ledger.commit()
    gone = process.Identity(process.boot_id(), os.getpid(), 0)
    Record(gone, "2026-01-01T00:00:00+00:00", 8080, None, 40000, "programs", {}).save(folder)
    return folder


@pytest.mark.parametrize("name", ["local", "test", "a", "a123456789012345"])
def test_an_instance_is_a_folder_of_the_checkout(tmp_path: Path, name: str) -> None:
    assert instance.folder_of(tmp_path, name) == tmp_path / ".stores/sandbox" / name


@pytest.mark.parametrize("name", ["", "Local", "../other", "a/b", "1st", "archive.x", "a1234567890123456"])
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no name of a sandbox"):
        instance.folder_of(tmp_path, name)


def test_the_folder_of_archives_is_no_instance(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        instance.folder_of(tmp_path, "archive")


def test_an_instance_that_was_never_started_does_not_exist(tmp_path: Path) -> None:
    assert instance.running(tmp_path) is None
    assert instance.status(tmp_path) == instance.Status("local", exists=False, running=False)


def test_an_instance_that_was_killed_is_told_apart_from_none(tmp_path: Path, ended: Path) -> None:
    found = instance.status(tmp_path)

    assert (found.exists, found.running, found.ended) == (True, False, "its process has ended")
    assert instance.running(tmp_path) is None


def test_down_keeps_the_ledger_and_forgets_the_rest(tmp_path: Path, ended: Path) -> None:
    report = instance.down(tmp_path)

    assert not ended.exists()
    assert not report.was_running
    assert report.ledger_archive is not None
    with closing(sqlite3.connect(report.ledger_archive)) as ledger:
        assert ledger.execute("SELECT what FROM entry").fetchall() == [("made tea-house",)]
    assert any(str(report.ledger_archive) in kept for kept in report.kept)


def test_down_of_nothing_removes_nothing_and_is_no_error(tmp_path: Path) -> None:
    report = instance.down(tmp_path)

    assert report.removed == []
    assert report.ended_processes == 0
    assert report.ledger_archive is None


def test_logs_of_an_instance_that_does_not_exist_are_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no sandbox local"):
        instance.logs(tmp_path)


def test_the_environment_names_nothing_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    folder = tmp_path / "local"
    found = instance.Instance("local", folder, 8080, None, 40000, {})

    environment = found.environment()

    assert environment.pop("PATH") == f"{folder}/bin:/usr/bin"
    assert environment.pop("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION") == "true"
    assert environment.pop("PULUMI_SKIP_UPDATE_CHECK") == "true"
    assert all(str(folder) in value for value in environment.values())
    assert environment["STORES_LEDGER_URL"] == f"sqlite:///{folder}/ledger.sqlite"
