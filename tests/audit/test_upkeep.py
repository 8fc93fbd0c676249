"""What the database's owner does to the ledger is in its log; on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit import dumps, upkeep
from audit.database import Database
from audit.ledger import Ledger
from audit.migrations import REVISION
from audit.records import LEDGER_MIGRATE, LEDGER_RESTORE, NewEntry
from stacks.errors import UsageError
from tests.audit.ledger_samples import ALICE
from tests.audit.mariadb_server import MariadbServer


def logged(url: str) -> list[tuple[str, str, object]]:
    with Ledger.open(url) as ledger:
        assert ledger.verify().ok
        return [(entry.actor, entry.action, entry.metadata.get("to")) for entry in ledger.entries(None, ascending=True)]


@pytest.fixture(params=["sqlite", "mariadb"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.sqlite'}"
    server: MariadbServer = request.getfixturevalue("mariadb")
    return server.url(server.new_database())


def test_a_new_schema_is_on_record_and_one_that_is_there_is_not(empty_url: str) -> None:
    assert upkeep.migrate(empty_url, actor=ALICE) == REVISION
    assert logged(empty_url) == [("alice", LEDGER_MIGRATE, REVISION)]
    upkeep.migrate(empty_url, actor=ALICE)
    assert len(logged(empty_url)) == 1


def test_whose_rights_were_granted_is_on_record(mariadb: MariadbServer) -> None:
    name = mariadb.new_database()
    url = mariadb.url(name)
    upkeep.migrate(url, actor=ALICE)
    account = f"{name}_reader@localhost"
    mariadb.execute(f"CREATE USER '{name}_reader'@'localhost'")
    upkeep.migrate(url, actor=ALICE, reader=account)
    with Ledger.open(url) as ledger:
        assert ledger.entries(None)[0].metadata["reader"] == account


def test_a_restored_copy_says_who_restored_it_from_what(ledger_url: str, empty_url: str, tmp_path: Path) -> None:
    with Ledger.open(ledger_url) as ledger:
        for _ in range(3):
            ledger.record(NewEntry(ALICE, "test.write", "success"))
    database = Database(ledger_url)
    file = tmp_path / "copy.gz"
    dumps.write(database, file)
    database.close()
    dump, verification = upkeep.restore(empty_url, file, actor=ALICE)
    assert verification.entries == dump.last_seq == 3
    with Ledger.open(empty_url) as ledger:
        last = ledger.entries(None)[0]
        assert (last.seq, last.action, last.actor) == (4, LEDGER_RESTORE, "alice")
        assert last.metadata["file"] == "copy.gz"
        assert last.metadata["last_seq"] == 3
        assert ledger.verify().ok
    with pytest.raises(UsageError, match="the ledger is not empty"):
        upkeep.restore(empty_url, file, actor=ALICE)
