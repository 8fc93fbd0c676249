"""Outcomes that could not be written: on disk before anybody is told, and settled before anything else is changed."""

from __future__ import annotations

import fcntl
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from audit import spool
from audit.ledger import Ledger
from audit.records import Actor, StoreOutcome
from stacks.errors import AuditIncompleteError, DatabaseUnreachableError
from tests.audit.ledger_samples import ALICE, ENVIRONMENT, change, holder, outcomes, request, used

READY = StoreOutcome("tea-1", "success", "Ready", url="http://x", metadata={"n": [1, {"a": None}]}, content="WordPress")
BOB = Actor("bob", "ci")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return spool.folder_of(tmp_path, ENVIRONMENT, "0123456789ab")


def keep(folder: Path, run_id: str, *kept: StoreOutcome) -> Path:
    return spool.keep(folder, run_id, ENVIRONMENT, ALICE, kept)


def watch_syncs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return the list of what is brought to disk from now on, and how long it was at that moment."""
    synced: list[tuple[str, int]] = []
    sync = os.fsync

    def watched(number: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{number}").readlink()), os.fstat(number).st_size))
        sync(number)

    monkeypatch.setattr(os, "fsync", watched)
    return synced


def test_what_is_kept_comes_back_as_it_was(folder: Path) -> None:
    keep(folder, "run-1", READY)
    keep(folder, "run-1", StoreOutcome("tea-2", "failure", "Failed", "why\n", reached_engine=False))
    keep(folder, "run-0", READY)
    first, second = spool.waiting(folder)
    assert (first.run_id, second.run_id, second.environment, second.actor) == ("run-0", "run-1", ENVIRONMENT, ALICE)
    assert second.outcomes == (READY, StoreOutcome("tea-2", "failure", "Failed", "why\n", reached_engine=False))


def test_it_is_on_disk_and_for_its_owner_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = watch_syncs(monkeypatch)
    file = keep(folder, "run-1", READY)
    assert synced == [(str(file.with_suffix(".new")), file.stat().st_size), (str(folder), folder.stat().st_size)]
    assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert list(folder.iterdir()) == [file]


def test_it_is_settled_once_under_the_leases_of_who_took_the_cell_over(ledger: Ledger, folder: Path) -> None:
    ledger.acquire_lease(ENVIRONMENT, "01", holder("run-a"), 0)
    wish = request([change("tea-1")], leases=[])
    ledger.admit(wish)
    keep(folder, wish.run_id, READY)
    lease = ledger.acquire_lease(ENVIRONMENT, "01", holder("run-b", "bob"), 60)
    assert [found.run_id for found in spool.settle(folder, ledger, BOB, [lease])] == [wish.run_id]
    assert spool.settle(folder, ledger, BOB, [lease]) == []
    assert list(folder.iterdir()) == []
    (row,) = ledger.stores(ENVIRONMENT)
    assert (row.status, row.url, row.content) == ("Ready", "http://x", "WordPress")
    entry = ledger.entries(ENVIRONMENT, run_id=wish.run_id)[0]
    assert (entry.actor, entry.outcome, entry.metadata["n"]) == ("alice", "success", [1, {"a": None}])
    assert ledger.open_runs(ENVIRONMENT) == []


def test_what_was_recorded_already_is_not_recorded_twice(ledger: Ledger, folder: Path) -> None:
    wish = request([change("tea-1")])
    ledger.settle(wish.run_id, outcomes(ledger.admit(wish)))
    before = ledger.anchor().seq
    keep(folder, wish.run_id, StoreOutcome("tea-1", "success", "Ready"))
    spool.settle(folder, ledger, BOB)
    assert ledger.anchor().seq == before
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("known", [True, False])
def test_another_outcome_stays_and_the_late_one_is_put_beside_it(
    ledger: Ledger,
    folder: Path,
    known: bool,  # noqa: FBT001
) -> None:
    wish = request([change("tea-1")])
    if known:
        ledger.settle(wish.run_id, outcomes(ledger.admit(wish), "Failed", "failure"))
    keep(folder, wish.run_id, READY)
    spool.settle(folder, ledger, BOB)
    late = ledger.entries(ENVIRONMENT)[0]
    assert (late.action, late.outcome, late.store_id, late.actor) == ("audit.spool", "failure", "tea-1", "bob")
    assert late.metadata == {"outcome": "success", "status": "Ready", "reason": None, "by": "alice"}
    assert used(ledger) == int(known)
    assert list(folder.iterdir()) == []


def test_that_it_was_settled_is_on_disk_and_nobody_else_settles_meanwhile(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = request([change("tea-1")])
    ledger.admit(wish)
    keep(folder, wish.run_id, READY)
    settle, refused = ledger.settle, []

    def settle_while_another_wants_to(*arguments: Any, **options: Any) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            refused.append(True)
        finally:
            os.close(descriptor)
        settle(*arguments, **options)

    monkeypatch.setattr(ledger, "settle", settle_while_another_wants_to)
    synced = watch_syncs(monkeypatch)
    spool.settle(folder, ledger, BOB)
    assert refused == [True]
    assert [name for name, _ in synced if name == str(folder)] == [str(folder)]


def test_where_nothing_was_ever_kept_nothing_is_settled(ledger: Ledger, folder: Path) -> None:
    assert spool.settle(folder, ledger, BOB) == []
    assert not folder.exists()


def test_no_file_stays_open(folder: Path) -> None:
    keep(folder, "run-1", READY)
    before = len(list(Path("/proc/self/fd").iterdir()))
    keep(folder, "run-2", READY)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_while_the_database_is_away_everything_waits(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = request([change("tea-1")])
    ledger.admit(wish)
    file = keep(folder, wish.run_id, READY)
    gone = DatabaseUnreachableError("ledger", "gone", "start it")

    def fail(*_: Any, **__: Any) -> None:
        raise gone

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "settle", fail)
        with pytest.raises(DatabaseUnreachableError):
            spool.settle(folder, ledger, BOB)
    assert file.exists()
    spool.settle(folder, ledger, BOB)
    assert not file.exists()
    assert [row.status for row in ledger.stores(ENVIRONMENT)] == ["Ready"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"spool": 2}', '{"spool": 1}', "\xff"])
def test_a_file_that_cannot_be_read_stops_everything_and_stays(ledger: Ledger, folder: Path, text: str) -> None:
    file = keep(folder, "run-1", READY)
    file.write_text(text, encoding="latin-1")
    with pytest.raises(AuditIncompleteError, match=r"cannot be read.*until then nothing is changed"):
        spool.settle(folder, ledger, BOB)
    assert file.exists()


def test_what_a_crash_left_half_written_is_no_outcome(ledger: Ledger, folder: Path) -> None:
    file = keep(folder, "run-1", READY)
    file.rename(file.with_suffix(".new"))
    assert spool.waiting(folder) == []


def test_ledgers_do_not_share_a_spool(tmp_path: Path) -> None:
    names = []
    for name in ("a", "b"):
        with Ledger.open(f"sqlite:///{tmp_path / name}") as ledger:
            names.append(spool.folder_of(tmp_path, ENVIRONMENT, ledger.identity))
    assert len(set(names)) == 2


def test_the_file_says_what_it_is(folder: Path) -> None:
    said = json.loads(keep(folder, "run-1", READY).read_text())
    assert (said["spool"], said["run_id"], said["outcomes"][0]["store_id"]) == (1, "run-1", "tea-1")


@contextmanager
def no_room() -> Iterator[None]:
    """Let no file grow, as on a full disk. No longer than the work: what pytest says may go into a file too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_where_there_is_no_room_the_error_names_the_outcomes_and_the_way_on(folder: Path) -> None:
    with no_room(), pytest.raises(AuditIncompleteError) as caught:
        keep(folder, "run-1", READY)
    assert caught.value.exit_code == 9
    said = str(caught.value)
    assert "run run-1: its outcomes (tea-1 Ready) could neither be written into the ledger nor be kept" in said
    assert "File too large" in said
    assert "keep this message" in said
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told_likewise(folder: Path) -> None:
    folder.parent.parent.mkdir(parents=True)
    folder.parent.write_text("no folder")
    with pytest.raises(AuditIncompleteError, match="nor be kept on this machine"):
        keep(folder, "run-1", READY)


def test_what_was_kept_of_a_run_before_stays_where_no_more_fits(folder: Path) -> None:
    file = keep(folder, "run-1", READY)
    before = file.read_bytes()
    with no_room(), pytest.raises(AuditIncompleteError):
        keep(folder, "run-1", StoreOutcome("tea-2", "success", "Ready"))
    assert [path.name for path in folder.iterdir()] == ["run-1.json"]
    assert file.read_bytes() == before
