"""Closed segments: archived, purged, and still proven; on SQLite and on MariaDB."""

# ruff: noqa: S608 - these statements are written by hand on purpose, from the test's own values

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pymysql
import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from audit import failures, segments
from audit.database import Timeouts
from audit.ledger import Ledger
from audit.migrations import migrate
from audit.records import NewEntry
from bench.ledger import fill
from stacks.errors import AuditIncompleteError, DatabaseUnreachableError, StoresError, UsageError
from tests.audit.conftest import FakeClock
from tests.audit.ledger_samples import ALICE, ENVIRONMENT, change, outcomes, request
from tests.audit.mariadb_server import MariadbServer

HASTY = Timeouts(connect_s=2, read_s=30, lock_s=5, sqlite_busy_s=1)
IMPATIENT = Timeouts(connect_s=1, read_s=3, lock_s=1, sqlite_busy_s=1)
ENTRY = NewEntry(ALICE, "test.write", "success", environment=ENVIRONMENT)


def write(ledger: Ledger, count: int) -> None:
    for _ in range(count):
        ledger.record(ENTRY)


@pytest.fixture
def aged(ledger: Ledger, clock: FakeClock) -> Ledger:
    """Return a log with ten entries of 100 days ago and five of now."""
    write(ledger, 10)
    clock.move(days=100)
    write(ledger, 5)
    return ledger


def archive(ledger: Ledger, clock: FakeClock, file: Path, *, days: float = 60) -> segments.Segment | None:
    return ledger.archive(file, before=clock.moment - timedelta(days=days), actor=ALICE, reason="a year has passed")


def test_what_was_archived_is_purged_and_both_halves_are_proven(aged: Ledger, clock: FakeClock, tmp_path: Path) -> None:
    before = aged.entries(None, limit=100, ascending=True)
    anchors = [aged.anchor()]
    file = tmp_path / "segment.jsonl"
    segment = archive(aged, clock, file)
    assert segment is not None
    assert (segment.first_seq, segment.last_seq, segment.entries) == (1, 10, 10)
    kept = aged.entries(None, limit=100, ascending=True)
    assert kept[:-1] == before[10:]
    assert (kept[-1].action, kept[-1].actor, kept[-1].reason) == ("audit.archive", "alice", "a year has passed")
    assert kept[-1].metadata["sha256"] == segment.sha256
    found = aged.verify([*anchors, aged.anchor()])
    assert (found.ok, found.entries, found.begins_at) == (True, 6, 11)
    assert str(found) == "6 entries since the checkpoint at entry 10, chain unbroken"
    assert segments.read(file) == segment
    segments.check_sequence([segment], 11, aged.beginning()[1])
    assert [json.loads(line)["entry_id"] for line in file.read_text().splitlines()[1:-1]] == [
        entry.entry_id for entry in before[:10]
    ]


def test_segments_follow_each_other(aged: Ledger, clock: FakeClock, tmp_path: Path) -> None:
    first = archive(aged, clock, tmp_path / "1")
    clock.move(days=100)
    second = archive(aged, clock, tmp_path / "2")
    assert first is not None
    assert second is not None
    assert (second.first_seq, second.last_seq, second.prev_hash) == (11, 16, first.last_hash)
    assert aged.verify().ok
    segments.check_sequence([first, second], 17, aged.beginning()[1])
    with pytest.raises(AuditIncompleteError, match="the last archive ends at entry 10, but the log begins at 17"):
        segments.check_sequence([first], 17, aged.beginning()[1])
    with pytest.raises(AuditIncompleteError, match="in no archive"):
        segments.check_sequence([second, first], 17, aged.beginning()[1])


@pytest.mark.parametrize(("days", "until"), [(100.0, None), (99.9, 10), (30.0, 10)])
def test_only_what_is_older_than_was_asked_goes(
    aged: Ledger, clock: FakeClock, tmp_path: Path, days: float, until: int | None
) -> None:
    segment = archive(aged, clock, tmp_path / "segment", days=days)
    assert (None if segment is None else segment.last_seq) == until
    assert (tmp_path / "segment").exists() is (until is not None)


def test_what_is_younger_than_thirty_days_is_never_purged(aged: Ledger, clock: FakeClock, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="entries of the last 30 days are still needed"):
        archive(aged, clock, tmp_path / "segment", days=29.999)


def test_the_intent_of_a_run_without_an_outcome_stays(ledger: Ledger, clock: FakeClock, tmp_path: Path) -> None:
    write(ledger, 3)
    wish = request([change("tea-1")])
    admission = ledger.admit(wish)
    write(ledger, 3)
    clock.move(days=100)
    segment = archive(ledger, clock, tmp_path / "segment")
    assert segment is not None
    assert segment.last_seq == 3
    assert [run.run_id for run in ledger.open_runs(ENVIRONMENT)] == [wish.run_id]
    ledger.settle(wish.run_id, outcomes(admission))
    second = archive(ledger, clock, tmp_path / "second")
    assert second is not None
    assert second.last_seq == 7
    assert ledger.verify().ok


def test_an_archive_is_never_written_over(aged: Ledger, clock: FakeClock, tmp_path: Path) -> None:
    (tmp_path / "segment").write_text("precious")
    with pytest.raises(UsageError, match="an archive is never written over"):
        archive(aged, clock, tmp_path / "segment")
    assert (tmp_path / "segment").read_text() == "precious"
    assert aged.verify().entries == 15


def test_a_broken_log_is_not_archived(
    aged: Ledger, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.chain.VERSION", b"another")
    with pytest.raises(AuditIncompleteError, match=r"entry 1 is not what was written; .*nothing was purged"):
        archive(aged, clock, tmp_path / "segment")
    assert list(tmp_path.glob("*segment*")) == []
    assert aged.beginning()[0] == 0


def test_a_purge_that_fails_leaves_the_log_whole_and_no_file(
    aged: Ledger, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr("audit.segments.update", fail)
    with pytest.raises(RuntimeError):
        archive(aged, clock, tmp_path / "segment")
    assert aged.verify().entries == 15
    assert not (tmp_path / "segment").exists()


def not_known() -> DatabaseUnreachableError:
    return DatabaseUnreachableError("ledger", f"timed out ({failures.NOT_KNOWN})", "look")


def at_the_purge(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, instead: Callable[[Any], None]) -> None:
    """Do something else than the transaction of the purge, and lose the answer."""
    write_before = ledger._database.write

    def write(work: Any, **more: Any) -> Any:
        if "purge" not in work.__qualname__:
            return write_before(work, **more)
        instead(work)
        raise not_known()

    monkeypatch.setattr(ledger._database, "write", write)


def test_the_file_stays_while_a_commit_that_the_server_has_not_ended_may_still_land(
    ledger_url: str, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger.open(ledger_url, timeouts=IMPATIENT, now=clock) as ledger:
        write(ledger, 10)
        clock.move(days=100)
        stalled = ledger._database.engine.connect().execution_options(stores_writes=True)
        at_the_purge(ledger, monkeypatch, lambda work: work(stalled))
        file = tmp_path / "segment"
        with pytest.raises(DatabaseUnreachableError, match=r"whether they were purged .* is not known: timed out;"):
            archive(ledger, clock, file)
        assert file.exists(), "the server has not said yet that nothing was purged"
        stalled.commit()
        stalled.close()
        monkeypatch.undo()
        assert ledger.beginning()[0] == 10
        assert archive(ledger, clock, tmp_path / "next") is None
        assert seqs(ledger) == [11]
        segments.check_sequence([segments.read(file)], 11, ledger.beginning()[1])


def test_a_purge_whose_answer_was_lost_is_gone_on_with_where_it_took_place(
    aged: Ledger, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_purge(aged, monkeypatch, aged._database.write)
    segment = archive(aged, clock, tmp_path / "segment")
    assert segment == segments.read(tmp_path / "segment")
    assert seqs(aged) == list(range(11, 17))


def test_a_purge_whose_answer_was_lost_leaves_no_file_where_it_did_not_take_place(
    aged: Ledger, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_purge(aged, monkeypatch, lambda _work: None)
    with pytest.raises(DatabaseUnreachableError, match="timed out"):
        archive(aged, clock, tmp_path / "segment")
    assert list(tmp_path.glob("*segment*")) == []
    assert aged.verify().entries == 15


def seqs(ledger: Ledger) -> list[int]:
    query = "SELECT seq FROM audit_logs ORDER BY seq"
    return ledger._database.read(lambda connection: list(connection.exec_driver_sql(query).scalars()))


@pytest.fixture
def batches_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_BATCH", 3)


@pytest.mark.usefixtures("batches_of_three")
def test_a_writer_is_never_refused_while_entries_are_removed_in_batches(
    mariadb_url: str, clock: FakeClock, tmp_path: Path
) -> None:
    """The writer comes in the middle of each batch's transaction, and may wait a second at most."""
    with Ledger.open(mariadb_url, now=clock) as ledger, Ledger.open(mariadb_url, timeouts=HASTY, now=clock) as beside:
        write(ledger, 10)
        clock.move(days=100)
        written: list[int] = []

        def come_between(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("DELETE FROM audit_logs"):
                written.append(len(seqs(beside)))
                beside.record(ENTRY)

        event.listen(ledger._database.engine, "before_cursor_execute", come_between)
        segment = archive(ledger, clock, tmp_path / "segment")
        assert segment is not None
        # Ten and the archive's own entry; each batch took three, and each time one came.
        assert written == [11, 9, 7, 5]
        assert seqs(ledger) == list(range(11, 16))
        assert ledger.verify().ok


@pytest.mark.usefixtures("batches_of_three")
def test_a_removal_that_was_stopped_is_finished_by_the_next_call(
    aged: Ledger, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, write_before = tmp_path / "first", aged._database.write
    done: list[object] = []

    def lose(work: Any, **more: Any) -> Any:
        if len(done) == 2:
            raise DatabaseUnreachableError("ledger", "gone", "start it")
        done.append(work)
        return write_before(work, **more)

    monkeypatch.setattr(aged._database, "write", lose)
    with pytest.raises(DatabaseUnreachableError, match="entries 1 to 10 are archived in it, but not all") as caught:
        archive(aged, clock, first)
    assert "the next `stores audit archive` removes the rest" in str(caught.value)
    monkeypatch.undo()
    assert seqs(aged) == list(range(4, 17)), "the archive's entry, and one batch"
    found = aged.verify()
    assert (found.ok, found.begins_at, found.entries) == (True, 11, 6), (
        "what is archived is no part of the log any more"
    )
    assert segments.read(first).last_seq == 10

    assert archive(aged, clock, tmp_path / "second") is None
    assert seqs(aged) == list(range(11, 17))
    assert not (tmp_path / "second").exists()
    assert aged.verify().ok


@pytest.mark.long
def test_300_000_entries_leave_while_a_writer_beside_is_never_refused(mariadb: MariadbServer, tmp_path: Path) -> None:
    url = mariadb.url(mariadb.new_database())
    migrate(url)
    clock = FakeClock()
    with Ledger.open(url, now=clock) as ledger, Ledger.open(url, timeouts=HASTY, now=clock) as beside:
        fill(ledger, 300_000)
        clock.move(days=100_000)
        over, refused, written = threading.Event(), [], []

        def keep_writing() -> None:
            while not over.is_set():
                try:
                    written.append(beside.record(ENTRY).seq)
                except StoresError as error:
                    refused.append(error)

        writer = threading.Thread(target=keep_writing)
        writer.start()
        try:
            segment = archive(ledger, clock, tmp_path / "segment", days=40_000)
        finally:
            over.set()
            writer.join()
        assert segment is not None
        assert segment.last_seq >= 300_000
        assert seqs(ledger)[0] == segment.last_seq + 1
        assert refused == []
        assert len(written) > 10
        assert ledger.verify().ok


@pytest.mark.parametrize("line", [0, 1, 5, -1])
def test_an_archive_that_was_changed_is_told(aged: Ledger, clock: FakeClock, tmp_path: Path, line: int) -> None:
    file = tmp_path / "segment"
    archive(aged, clock, file)
    lines = file.read_text().splitlines(keepends=True)
    for changed in (
        [*lines[:line], *lines[line:][1:]],
        [text.replace("0", "1") if text is lines[line] else text for text in lines],
    ):
        file.write_text("".join(changed))
        with pytest.raises((AuditIncompleteError, UsageError)):
            segments.read(file)


def test_an_anchor_of_the_checkpoint_proves_it(aged: Ledger, clock: FakeClock, tmp_path: Path) -> None:
    segment = archive(aged, clock, tmp_path / "segment")
    assert segment is not None
    end = aged.anchor()
    assert aged.verify([type(end)(end.chain_id, 10, segment.last_hash, end.at)]).ok
    assert [aged.holds(type(end)(end.chain_id, seq, segment.last_hash, end.at)) for seq in (9, 10, 11)] == [
        True,  # it was archived: the checkpoint answers for it
        True,
        False,
    ]
    assert not aged.holds(type(end)(end.chain_id, 10, "0" * 64, end.at))
    found = aged.verify([type(end)(end.chain_id, 10, "0" * 64, end.at)])
    assert (found.tampering, found.first_bad_seq) == ("rewrite", 10)


def test_a_beginning_that_no_entry_vouches_for_is_a_deletion(ledger: Ledger, clock: FakeClock) -> None:
    write(ledger, 10)
    (fifth,) = [entry for entry in ledger.entries(None) if entry.seq == 5]

    def cut(connection: object) -> None:
        run = connection.exec_driver_sql  # type: ignore[attr-defined]
        run(f"UPDATE audit_head SET purged_seq = 5, purged_hash = '{fifth.hash}'")
        run("DELETE FROM audit_logs WHERE seq <= 5")

    ledger._database.write(cut)
    found = ledger.verify()
    assert (found.tampering, found.first_bad_seq) == ("deletion", 1)
    assert "no entry says that the rest was archived" in found.detail


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_logs WHERE seq <= 11",
        "UPDATE audit_head SET purged_seq = 9",
        "UPDATE audit_head SET purged_seq = 999",
        "UPDATE audit_head SET purged_hash = 'x'",
    ],
)
def test_nothing_goes_but_what_was_purged(aged: Ledger, clock: FakeClock, tmp_path: Path, statement: str) -> None:
    archive(aged, clock, tmp_path / "segment")
    with pytest.raises(DBAPIError, match=r"append-only|only grows"), aged._database.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert aged.verify().entries == 6


def test_the_application_cannot_purge(mariadb: MariadbServer, clock: FakeClock, tmp_path: Path) -> None:
    name = mariadb.new_database()
    mariadb.execute(f"CREATE USER 'app_{name}'@'localhost' IDENTIFIED BY 'secret'")
    migrate(mariadb.url(name), application=f"app_{name}@localhost")
    with Ledger.open(mariadb.url(name, f"app_{name}", "secret"), now=clock) as ledger:
        write(ledger, 2)
        clock.move(days=100)
        with pytest.raises(DatabaseUnreachableError, match="command denied"):
            archive(ledger, clock, tmp_path / "segment")
        assert ledger.verify().entries == 2
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(pymysql.err.OperationalError, match="append-only"):
        mariadb.execute("DELETE FROM audit_logs", database=name)
