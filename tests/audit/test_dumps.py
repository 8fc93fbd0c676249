"""A copy of the ledger: of one moment, whole, and to be read back on either database."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from audit import dumps
from audit.database import Database
from audit.ledger import Ledger
from audit.migrations import REVISION, migrate
from audit.records import NewEntry
from audit.tables import metadata
from stacks.errors import AuditIncompleteError, UsageError
from tests.audit.ledger_samples import ALICE, ENVIRONMENT, change, create, holder, request
from tests.audit.mariadb_server import MariadbServer


@pytest.fixture
def filled(ledger_url: str) -> str:
    """Return a ledger with rows in every table."""
    with Ledger.open(ledger_url) as ledger:
        create(ledger, 3)
        lease = ledger.acquire_lease(ENVIRONMENT, "01", holder("run-a"), 60)
        ledger.admit(request([change("open-1", "bob")], leases=[lease], idempotency_key="key"))
        ledger.record(NewEntry(ALICE, "test.write", "success", reason="Zażółć\n'\"\\ 🏪"))
        ledger.record_cell(ENVIRONMENT, "01", manifest_digest="d", commit=None, program_version="1", cluster_uid="u")
    return ledger_url


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    database = Database(url)
    try:
        with database.engine.connect() as connection:
            return {
                table.name: sorted(map(tuple, connection.execute(table.select())), key=str)
                for table in metadata.sorted_tables
            }
    finally:
        database.close()


def backed_up(url: str, file: Path) -> dumps.Dump:
    database = Database(url)
    try:
        return dumps.write(database, file)
    finally:
        database.close()


@pytest.mark.parametrize("target", ["sqlite", "mariadb"])
def test_what_comes_back_is_what_was_there_on_either_database(
    filled: str, target: str, tmp_path: Path, mariadb: MariadbServer
) -> None:
    file = tmp_path / "ledger.gz"
    dump = backed_up(filled, file)
    assert (dump.schema, dump.last_seq, dump.rows["audit_logs"]) == (REVISION, 8, 8)
    assert all(dump.rows[table.name] for table in metadata.sorted_tables), "every table was tried"
    url = mariadb.url(mariadb.new_database()) if target == "mariadb" else f"sqlite:///{tmp_path / 'new.sqlite'}"
    restored, verification = dumps.restore(url, file)
    assert (restored.rows, verification.ok, verification.entries) == (dump.rows, True, 8)
    assert rows(url) == rows(filled)
    with Ledger.open(url) as ledger:
        ledger.record(NewEntry(ALICE, "test.write", "success"))
        assert ledger.verify().entries == 9
        assert len(ledger.open_runs(ENVIRONMENT)) == 1
    migrate(url)
    with Ledger.open(url) as ledger, pytest.raises(Exception, match="only grows"):
        ledger._database.write(lambda c: c.exec_driver_sql("UPDATE audit_head SET chain_id = 'x', seq = 99"))


def test_many_rows_are_copied_whole(ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.dumps._BATCH", 3)
    with Ledger.open(ledger_url) as ledger:
        create(ledger, 7)
    assert backed_up(ledger_url, tmp_path / "a").rows["audit_logs"] == 14
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    assert dumps.restore(url, tmp_path / "a")[1].entries == 14
    assert rows(url) == rows(ledger_url)


def test_a_copy_is_of_one_moment(filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody writes while it is made: either all of his transaction is in it, or nothing."""
    stored = dumps._stored
    written: list[str] = []

    def meanwhile(connection: object, table: object) -> object:
        if not written:
            written.append(str(table))
            with Ledger.open(filled) as other:
                create(other, 1, "carol")
        return stored(connection, table)  # type: ignore[arg-type]

    with Ledger.open(filled) as before:
        seq = before.anchor().seq
    monkeypatch.setattr(dumps, "_stored", meanwhile)
    dump = backed_up(filled, tmp_path / "a")
    assert written
    assert (dump.last_seq, dump.rows["audit_logs"], dump.rows["stores"]) == (seq, seq, 4)


def test_a_backup_is_never_written_over_and_a_ledger_never_restored_over(filled: str, tmp_path: Path) -> None:
    file = tmp_path / "ledger.gz"
    backed_up(filled, file)
    with pytest.raises(UsageError, match="a backup is never written over"):
        backed_up(filled, file)
    before = rows(filled)
    with pytest.raises(UsageError, match="the ledger is not empty"):
        dumps.restore(filled, file)
    assert rows(filled) == before


def test_a_backup_of_another_schema_is_refused_before_anything_is_made(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backed_up(filled, tmp_path / "a")
    monkeypatch.setattr("audit.migrations.REVISION", "0009")
    with pytest.raises(UsageError, match=f"it is of schema {REVISION}, this program needs 0009"):
        dumps.restore(f"sqlite:///{tmp_path / 'new.sqlite'}", tmp_path / "a")
    assert not (tmp_path / "new.sqlite").exists()


def _lines(file: Path) -> list[bytes]:
    return gzip.decompress(file.read_bytes()).splitlines(keepends=True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-20]),
        lambda file: file.write_bytes(b"no gzip at all"),
        lambda file: file.write_bytes(gzip.compress(b"")),
        lambda file: file.write_bytes(gzip.compress(b'{"dump": 2}\n')),
        lambda file: file.write_bytes(gzip.compress(b"".join(_lines(file)[:-1]))),
        lambda file: file.write_bytes(gzip.compress(b"".join(_lines(file)[:-2] + _lines(file)[-1:]))),
        lambda file: file.write_bytes(gzip.compress(b"".join([*_lines(file), b"{}\n"]))),
        lambda file: file.write_bytes(gzip.compress(b"".join(_lines(file)).replace(b"alice", b"mallo"))),
    ],
    ids=["cut", "no gzip", "empty", "format", "no end", "a row less", "more behind its end", "edited"],
)
def test_a_backup_that_is_not_whole_is_refused(sqlite_url: str, tmp_path: Path, spoil: object) -> None:
    with Ledger.open(sqlite_url) as ledger:
        create(ledger, 2)
    file = tmp_path / "ledger.gz"
    backed_up(sqlite_url, file)
    spoil(file)  # type: ignore[operator]
    with pytest.raises(AuditIncompleteError, match="it is no whole backup of a ledger"):
        dumps.restore(f"sqlite:///{tmp_path / 'new.sqlite'}", file)
    assert not (tmp_path / "new.sqlite").exists()


def test_a_backup_that_fails_leaves_no_file(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(sqlite_url)

    def fail(_value: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr("audit.dumps.os.fsync", fail)
    with pytest.raises(OSError, match="no room"):
        backed_up(sqlite_url, tmp_path / "backup" / "ledger.gz")
    assert list((tmp_path / "backup").iterdir()) == []


def test_a_backup_holds_the_log_as_it_was_hashed(sqlite_url: str, tmp_path: Path) -> None:
    with Ledger.open(sqlite_url) as ledger:
        written = ledger.record(NewEntry(ALICE, "test.write", "success"))
    backed_up(sqlite_url, tmp_path / "a")
    texts = [json.loads(line) for line in _lines(tmp_path / "a")]
    assert any(isinstance(row, list) and written.hash in row for row in texts)
