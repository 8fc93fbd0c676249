"""`db check`: what is as it must be passes, and each thing that is not is named."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from audit import soundness
from audit.database import Database
from audit.ledger import Ledger
from audit.migrations import migrate
from audit.records import NewEntry
from audit.soundness import Finding
from stacks.errors import DatabaseUnreachableError
from tests.audit.ledger_samples import ALICE, claim_revision
from tests.audit.mariadb_server import MariadbServer


def examine(url: str, role: Any = "application", *, apart: timedelta = timedelta()) -> dict[str, Finding]:
    database = Database(url)
    try:
        found = soundness.examine(database, role=role, now=datetime.now(UTC) + apart)
    finally:
        database.close()
    return {finding.name: finding for finding in found}


@pytest.fixture(scope="module")
def durable(mariadb: MariadbServer) -> Iterator[MariadbServer]:
    """Return the run's server as production has it."""
    mariadb.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
    yield mariadb
    mariadb.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 0")


@pytest.fixture
def accounts(durable: MariadbServer) -> dict[str, str]:
    """Return the URLs of a ledger's application, reader and owner."""
    name = durable.new_database()
    for role in ("app", "reader"):
        durable.execute(f"CREATE USER '{role}_{name}'@'localhost' IDENTIFIED BY 'secret'")
    url = durable.url(name)
    migrate(url, application=f"app_{name}@localhost", reader=f"reader_{name}@localhost")
    with Ledger.open(url) as ledger:
        ledger.record(NewEntry(ALICE, "test.write", "success"))
    return {
        "application": durable.url(name, f"app_{name}", "secret"),
        "reader": durable.url(name, f"reader_{name}", "secret"),
        "owner": url,
    }


@pytest.mark.parametrize("role", ["application", "reader", "owner"])
def test_accounts_as_they_were_granted_pass(accounts: dict[str, str], role: str) -> None:
    found = examine(accounts[role], role)
    assert {finding.state for finding in found.values()} == {"ok"}, found
    assert "secret" not in str(found)
    if role != "owner":
        tried = {"application": 7, "reader": 22}[role]
        assert found["fences"].detail == f"{tried} ways to change or hold the log were tried and refused"
    with Ledger.open(accounts["owner"]) as ledger:
        assert ledger.verify().entries == 1


@pytest.mark.parametrize(
    ("grant", "named"),
    [
        ("UPDATE ON audit_logs", "change entries"),
        ("UPDATE (owner) ON audit_logs", "change entries"),
        ("DELETE ON audit_logs", "delete entries"),
        ("DELETE ON audit_head", "remove the log's end"),
        ("UPDATE ON audit_head", "make the log another one"),
        ("UPDATE (purged_seq) ON audit_head", "move the log's beginning"),
        ("DROP ON audit_logs", "DROP on"),
        ("TRIGGER ON audit_logs", "TRIGGER on"),
        ("ALTER ON audit_head", "ALTER on"),
    ],
)
def test_each_right_too_many_of_the_application_is_named(
    accounts: dict[str, str], durable: MariadbServer, grant: str, named: str
) -> None:
    url = make_url(accounts["application"])
    durable.execute(f"GRANT {grant} TO '{url.username}'@'localhost'", database=url.database)
    found = examine(accounts["application"])["fences"]
    assert found.state == "fail"
    assert named in found.detail
    assert "stores db migrate" in found.cure


@pytest.mark.parametrize("table", ["audit_head", "slots", "leases", "audit_logs", "stores", "intents"])
def test_a_reader_that_can_hold_what_writers_wait_for_is_named(
    accounts: dict[str, str], durable: MariadbServer, table: str
) -> None:
    url = make_url(accounts["reader"])
    durable.execute(f"GRANT SELECT ON {table} TO '{url.username}'@'localhost'", database=url.database)
    found = examine(accounts["reader"], "reader")["fences"]
    assert (found.state, "lock the" in found.detail) == ("fail", True)


@pytest.mark.parametrize("procedure", ["read_entries", "read_entry", "read_stores", "read_starts"])
def test_a_reader_that_cannot_ask_is_named(accounts: dict[str, str], durable: MariadbServer, procedure: str) -> None:
    url = make_url(accounts["reader"])
    durable.execute(f"REVOKE EXECUTE ON PROCEDURE {procedure} FROM '{url.username}'@'localhost'", database=url.database)
    assert examine(accounts["reader"], "reader")["rights"].state == "fail"


def test_an_application_that_is_taken_for_a_reader_is_named(accounts: dict[str, str]) -> None:
    assert examine(accounts["application"], "reader")["fences"].state == "fail"


@pytest.mark.parametrize("right", ["INSERT ON audit_logs", "UPDATE ON slots", "UPDATE (seq, hash) ON audit_head"])
def test_a_right_that_is_missing_is_named(accounts: dict[str, str], durable: MariadbServer, right: str) -> None:
    url = make_url(accounts["application"])
    durable.execute(f"REVOKE {right} FROM '{url.username}'@'localhost'", database=url.database)
    found = examine(accounts["application"])["rights"]
    assert found.state == "fail"
    assert found.detail.startswith("this account cannot: ")


def test_the_owner_taken_for_the_application_is_named(accounts: dict[str, str]) -> None:
    assert examine(accounts["owner"])["fences"].state == "fail"


def test_a_server_that_may_lose_what_it_acknowledged_is_named(accounts: dict[str, str], durable: MariadbServer) -> None:
    durable.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    try:
        found = examine(accounts["application"])["innodb_flush_log_at_trx_commit"]
    finally:
        durable.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
    assert (found.state, found.detail) == ("fail", "2")


def test_a_read_only_server_is_named(accounts: dict[str, str], durable: MariadbServer) -> None:
    durable.execute("SET GLOBAL read_only = 1")
    try:
        found = examine(accounts["owner"], "owner")["read_only"]
    finally:
        durable.execute("SET GLOBAL read_only = 0")
    assert found.state == "fail"


@pytest.mark.parametrize(("apart_s", "state"), [(0, "ok"), (4, "ok"), (6, "warn"), (-6, "warn"), (3600, "warn")])
def test_a_clock_that_is_apart_is_told(ledger_url: str, apart_s: float, state: str) -> None:
    migrate(ledger_url)
    assert examine(ledger_url, "owner", apart=timedelta(seconds=apart_s))["clock"].state == state


@pytest.mark.parametrize(("revision", "text"), [("0000", "run `stores db migrate`"), ("9999", "update the program")])
def test_another_schema_is_told(ledger_url: str, revision: str, text: str) -> None:
    claim_revision(ledger_url, revision)
    found = examine(ledger_url, "owner")["schema"]
    assert (found.state, found.cure) == ("fail", text)


def test_an_sqlite_ledger_is_whole_and_has_no_fences(sqlite_url: str) -> None:
    migrate(sqlite_url)
    found = examine(sqlite_url)
    assert {finding.state for finding in found.values()} == {"ok"}
    assert "an SQLite file has none" in found["grants"].detail


def test_a_database_that_is_not_there_is_an_error(mariadb: MariadbServer) -> None:
    with pytest.raises(DatabaseUnreachableError, match="Unknown database"):
        examine(mariadb.url("nowhere"))
