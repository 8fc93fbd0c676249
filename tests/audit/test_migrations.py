"""The ledger's schema: made once, the same on both databases, and fenced."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pymysql
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from audit import chain, tables
from audit.database import Database, Timeouts
from audit.ledger import Ledger
from audit.limits import Limits
from audit.migrations import REVISION, migrate, upgrade
from audit.reading import Reader
from audit.records import NewEntry
from stacks.errors import DatabaseUnreachableError, RefusedError, UsageError
from tests.audit import ledger_workers
from tests.audit.ledger_samples import ALICE, ENVIRONMENT, change, claim_revision, holder, outcomes, request
from tests.audit.mariadb_server import MariadbServer

DENIED = 1142
COLUMN_DENIED = 1143
_FENCES = r"append-only|never deleted|only grows"


def test_the_migrated_schema_is_the_one_that_the_statements_expect(ledger_url: str) -> None:
    migrate(ledger_url)
    database = Database(ledger_url)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
        if not database.is_sqlite:
            for table in tables.metadata.tables.values():
                status = connection.exec_driver_sql(f"SHOW TABLE STATUS LIKE '{table.name}'").mappings().one()
                assert (status["Engine"], status["Collation"]) == ("InnoDB", "utf8mb4_nopad_bin")
    database.close()


def test_constraints_are_there_on_both_databases(ledger_url: str) -> None:
    migrate(ledger_url)
    database = Database(ledger_url)
    with database.engine.connect() as connection:
        if database.is_sqlite:
            found = " ".join(row[0] or "" for row in connection.exec_driver_sql("SELECT sql FROM sqlite_master"))
        else:
            query = (
                "SELECT CONSTRAINT_NAME FROM information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA=DATABASE()"
            )
            found = " ".join(row[0] for row in connection.exec_driver_sql(query))
    database.close()
    wanted = [c.name for t in tables.metadata.tables.values() for c in t.constraints if "CheckC" in type(c).__name__]
    assert len(wanted) == 4
    assert all(str(name) in found for name in wanted)


def test_migrating_again_changes_nothing(ledger_url: str) -> None:
    assert migrate(ledger_url) == migrate(ledger_url) == REVISION
    with Ledger.open(ledger_url) as ledger:
        ledger.record(NewEntry(ALICE, "test.write", "success"))
        migrate(ledger_url)
        assert ledger.verify().entries == 1


def test_a_new_log_begins_with_its_genesis(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger:
        anchor = ledger.anchor()
    assert (anchor.seq, anchor.hash) == (0, chain.genesis_hash(anchor.chain_id))


def test_an_empty_mariadb_is_never_migrated_by_opening_it(mariadb: MariadbServer) -> None:
    url = mariadb.url(mariadb.new_database())
    with pytest.raises(DatabaseUnreachableError, match="it is empty; run `stores db migrate`"):
        Ledger.open(url)


@pytest.mark.parametrize(
    ("revision", "text"),
    [
        ("0000", f"its schema is 0000, this program needs {REVISION}; run `stores db migrate`"),
        ("9999", f"its schema 9999 is newer than this program's {REVISION}; use the newer program"),
    ],
)
def test_a_schema_that_this_program_does_not_know_is_refused(ledger_url: str, revision: str, text: str) -> None:
    claim_revision(ledger_url, revision)
    if ledger_url.startswith("sqlite") and revision < REVISION:
        return  # it would be migrated, if there were an older schema
    with pytest.raises(DatabaseUnreachableError, match=text):
        Ledger.open(ledger_url)


def test_the_newest_step_is_the_one_that_the_program_needs() -> None:
    assert ScriptDirectory.from_config(upgrade.config()).get_heads() == [REVISION]


def test_many_that_open_a_new_sqlite_ledger_at_once_make_one(sqlite_url: str) -> None:
    answers = ledger_workers.run(6, ledger_workers.write_entries, sqlite_url, 1)
    assert [answer.error for answer in answers] == [None] * 6
    with Ledger.open(sqlite_url) as ledger:
        assert ledger.verify().entries == 6


def test_a_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'a' / 'b' / 'ledger.sqlite'}") as ledger:
        assert ledger.describe().startswith("SQLite 3.")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_logs SET owner = 'mallory'",
        "DELETE FROM audit_logs",
        "DELETE FROM audit_head",
        "UPDATE audit_head SET seq = 0",
        "UPDATE audit_head SET chain_id = 'other', seq = 99",
        "REPLACE INTO audit_logs SELECT * FROM audit_logs",
    ],
)
def test_the_log_cannot_be_changed_even_by_its_owner(
    ledger_url: str, statement: str, request: pytest.FixtureRequest
) -> None:
    with Ledger.open(ledger_url) as ledger:
        ledger.record(NewEntry(ALICE, "test.write", "success"))
        ledger.record(NewEntry(ALICE, "test.write", "success"))
    if ledger_url.startswith("sqlite"):
        path = str(make_url(ledger_url).database)
        with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match=_FENCES):
            connection.execute(statement)
    else:
        server = request.getfixturevalue("mariadb")
        with pytest.raises(pymysql.err.OperationalError, match=_FENCES):
            server.execute(statement, database=make_url(ledger_url).database)
    with Ledger.open(ledger_url) as ledger:
        assert ledger.verify().entries == 2


@pytest.fixture
def granted(mariadb: MariadbServer) -> tuple[str, str]:
    """Return the URLs of the application's and the reader's accounts of a migrated ledger."""
    name = mariadb.new_database()
    accounts = [f"app_{name}", f"reader_{name}"]
    for account in accounts:
        mariadb.execute(f"CREATE USER '{account}'@'localhost' IDENTIFIED BY 'secret'")
    # Twice: granting is not to add up, and not to fail the second time.
    for _ in range(2):
        migrate(mariadb.url(name), application=f"{accounts[0]}@localhost", reader=f"{accounts[1]}@localhost")
    return mariadb.url(name, accounts[0], "secret"), mariadb.url(name, accounts[1], "secret")


def _refused(mariadb: MariadbServer, url: str, statement: str) -> int:
    """Return the error number with which the statement is refused; 0 if it is not."""
    parsed = make_url(url)
    user, password = str(parsed.username), str(parsed.password)
    with closing(mariadb.connect(parsed.database, user=user, password=password)) as connection:
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        except (pymysql.err.OperationalError, pymysql.err.ProgrammingError) as error:
            return int(error.args[0])
    return 0


def test_the_application_can_do_all_its_work(granted: tuple[str, str]) -> None:
    with Ledger.open(granted[0]) as ledger:
        lease = ledger.acquire_lease(ENVIRONMENT, "01", holder("run-a"), 60)
        wish = request([change("tea-1")], leases=[lease], idempotency_key="key")
        ledger.settle(wish.run_id, outcomes(ledger.admit(wish)))
        ledger.mark(ENVIRONMENT, "tea-1", "Deleted", None)
        ledger.record_cell(ENVIRONMENT, "01", manifest_digest="d", commit=None, program_version="1", cluster_uid=None)
        ledger.renew_leases([lease])
        ledger.release_leases([lease])
        assert ledger.verify().ok


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_logs SET owner = 'mallory'",
        "DELETE FROM audit_logs",
        "TRUNCATE audit_logs",
        "DROP TRIGGER audit_logs_no_update",
        "ALTER TABLE audit_logs ADD COLUMN x INT",
        "REPLACE INTO audit_logs SELECT * FROM audit_logs",
        "INSERT INTO audit_logs SELECT * FROM audit_logs ON DUPLICATE KEY UPDATE owner = 'mallory'",
        "DROP TABLE audit_logs",
        "DELETE FROM audit_head",
        "UPDATE audit_head SET chain_id = 'other'",
        "INSERT INTO audit_head VALUES (2, 'x', 0, 'x')",
        "UPDATE alembic_version SET version_num = 'x'",
        "DELETE FROM stores",
        "DELETE FROM intents",
    ],
)
def test_the_application_cannot_change_the_log(
    granted: tuple[str, str], mariadb: MariadbServer, statement: str
) -> None:
    with Ledger.open(granted[0]) as ledger:
        ledger.record(NewEntry(ALICE, "test.write", "success"))
    assert _refused(mariadb, granted[0], statement) in (DENIED, COLUMN_DENIED)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM audit_head FOR UPDATE",
        "SELECT * FROM slots LOCK IN SHARE MODE",
        "SELECT * FROM leases",
        "SELECT * FROM idempotency_keys",
        "SELECT * FROM audit_logs ORDER BY seq DESC LIMIT 1 FOR UPDATE",
        "SELECT * FROM audit_logs LOCK IN SHARE MODE",
        "SELECT * FROM stores FOR UPDATE",
        "SELECT * FROM stores LOCK IN SHARE MODE",
        "SELECT * FROM intents FOR UPDATE",
        "SELECT * FROM intents LOCK IN SHARE MODE",
        "DO (SELECT COUNT(*) FROM audit_logs)",
        "SET @held = (SELECT COUNT(*) FROM stores)",
        "HANDLER audit_logs OPEN",
        "INSERT INTO audit_logs SELECT * FROM audit_logs",
        "UPDATE stores SET owner = 'mallory'",
        "LOCK TABLES audit_logs WRITE",
    ],
)
def test_the_reader_can_neither_write_nor_hold_the_head(
    granted: tuple[str, str], mariadb: MariadbServer, statement: str
) -> None:
    assert _refused(mariadb, granted[1], statement) != 0


def test_the_reader_sees_stores_use_and_log(granted: tuple[str, str]) -> None:
    with Ledger.open(granted[0]) as writer:
        wish = request([change("tea-1")])
        writer.settle(wish.run_id, outcomes(writer.admit(wish)))
    with Reader.open(granted[1]) as reader:
        assert [row.status for row in reader.stores(ENVIRONMENT)] == ["Ready"]
        assert reader.usage(ENVIRONMENT, Limits(), {}).total_used == 1
        assert len(reader.entries(ENVIRONMENT)) == 2
    with Ledger.open(granted[1]) as ledger, pytest.raises(DatabaseUnreachableError, match="nothing was changed"):
        ledger.record(NewEntry(ALICE, "test.write", "success"))


CALLS = ("CALL read_entries(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 10)",
         "CALL read_entry(1, NULL)", "CALL read_stores('prod')", "CALL read_starts('prod', 0)")  # fmt: skip


@pytest.mark.parametrize("before", [
    (),
    ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",),
    ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET SESSION completion_type = 'CHAIN'"),
    ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET SESSION autocommit = 0"),
])  # fmt: skip
def test_whatever_the_reader_has_set_and_asks_a_writer_is_not_kept_waiting(
    granted: tuple[str, str], mariadb: MariadbServer, before: tuple[str, ...]
) -> None:
    parsed = make_url(granted[1])
    with Ledger.open(granted[0], timeouts=Timeouts(1, 3, 1, 1)) as writer:
        writer.settle("run-0", outcomes(writer.admit(request([change("tea-1")], run_id="run-0"))))
        for call in CALLS:
            with closing(mariadb.connect(parsed.database, user=str(parsed.username), password="secret")) as held:
                with held.cursor() as cursor:
                    for statement in (*before, "START TRANSACTION", call):
                        cursor.execute(statement)
                    assert cursor.fetchall(), call
                # The reader's connection stays open; nothing that writers need is held by it.
                run_id = f"run of {len(writer.entries(None))}"
                wish = request([change("tea-1", action="store.update")], run_id=run_id)
                writer.settle(wish.run_id, outcomes(writer.admit(wish)))
        assert len(writer.entries(None)) == 2 + 2 * len(CALLS)


def test_the_reader_cannot_ask_from_within_a_transaction_that_only_he_can_end(
    granted: tuple[str, str], mariadb: MariadbServer
) -> None:
    parsed = make_url(granted[1])
    with (
        closing(mariadb.connect(parsed.database, user=str(parsed.username), password="secret")) as held,
        held.cursor() as cursor,
    ):
        cursor.execute("XA START 'held'")
        with pytest.raises(pymysql.err.OperationalError, match="XA"):
            cursor.execute(CALLS[0])


def test_a_reader_of_an_older_ledger_loses_with_the_migration_what_could_stop_writers(mariadb: MariadbServer) -> None:
    name = mariadb.new_database()
    migrate(mariadb.url(name))
    account, other = f"'reader_{name}'@'localhost'", f"'backup_{name}'@'localhost'"
    mariadb.execute(f"CREATE USER {account} IDENTIFIED BY 'secret'", f"CREATE USER {other} IDENTIFIED BY 'secret'")
    tables_then = ("alembic_version", "audit_logs", "stores", "intents", "cells")
    mariadb.execute(*(f"GRANT SELECT ON {table} TO {account}" for table in tables_then), database=name)
    mariadb.execute(*(f"GRANT SELECT ON {table} TO {other}" for table in (*tables_then, "slots")), database=name)
    url = mariadb.url(name, f"reader_{name}", "secret")
    assert _refused(mariadb, url, "SELECT * FROM audit_logs FOR UPDATE") == 0

    migrate(mariadb.url(name))
    assert _refused(mariadb, url, "SELECT * FROM audit_logs FOR UPDATE") == DENIED
    with Reader.open(url) as reader:
        assert reader.entries(None) == []
    # Who has other rights is somebody else's account.
    assert _refused(mariadb, mariadb.url(name, f"backup_{name}", "secret"), "SELECT * FROM audit_logs") == 0


def test_a_right_on_a_single_column_is_taken_back_too(granted: tuple[str, str], mariadb: MariadbServer) -> None:
    parsed = make_url(granted[0])
    owner, account = mariadb.url(str(parsed.database)), f"'{parsed.username}'@'localhost'"
    for role, rights in (("application", "UPDATE (reason) ON audit_logs"), ("reader", "SELECT (seq) ON audit_logs")):
        url = granted[0] if role == "application" else granted[1]
        account = f"{make_url(url).username}@localhost"
        quoted = account.replace("@", "'@'")
        mariadb.execute(f"GRANT {rights} TO '{quoted}'", database=parsed.database)
        statement = "UPDATE audit_logs SET reason = NULL" if role == "application" else "SELECT seq FROM audit_logs"
        assert _refused(mariadb, url, statement) not in (DENIED, COLUMN_DENIED)
        migrate(owner, **{role: account})
        assert _refused(mariadb, url, statement) in (DENIED, COLUMN_DENIED)


@pytest.mark.parametrize("scope", ["*.*", "`{name}`.*", "`ledger\\_%`.*"])
def test_an_account_with_rights_that_void_the_fence_is_refused(mariadb: MariadbServer, scope: str) -> None:
    name = mariadb.new_database()
    account = f"wide_{name}"
    mariadb.execute(f"CREATE USER '{account}'@'localhost' IDENTIFIED BY 'secret'")
    mariadb.execute(f"GRANT SELECT, UPDATE ON {scope.format(name=name)} TO '{account}'@'localhost'")
    with pytest.raises(RefusedError, match="could change the audit log; revoke that right"):
        migrate(mariadb.url(name), application=f"{account}@localhost")


@pytest.mark.parametrize(
    ("account", "text"),
    [
        ("nobody@localhost", "does not exist"),
        ("nobody", "write it as user@host"),
        ("x' OR '1@%", "write it as user@host"),
    ],
)
def test_an_account_that_is_none_is_refused_and_never_made(mariadb: MariadbServer, account: str, text: str) -> None:
    name = mariadb.new_database()
    with pytest.raises(UsageError, match=text):
        migrate(mariadb.url(name), application=account)
    with closing(mariadb.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM mysql.user WHERE User LIKE 'nobody%'")
        assert cursor.fetchone() == (0,)


def test_a_server_that_is_lost_amid_a_step_is_told_without_a_trace_of_the_clean_up(
    mariadb: MariadbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = mariadb.url(mariadb.new_database())

    def step(connection: Connection) -> None:
        mariadb.execute(f"KILL {connection.exec_driver_sql('SELECT CONNECTION_ID()').scalar_one()}")
        connection.exec_driver_sql("CREATE TABLE half (x INT)")

    monkeypatch.setattr(upgrade, "_upgrade", step)
    with pytest.raises(DatabaseUnreachableError, match="the schema may be partly changed"):
        migrate(url)
    monkeypatch.undo()
    assert migrate(url) == REVISION, "nobody holds the lock"


def test_a_migration_may_be_given_more_time(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    monkeypatch.setattr(upgrade, "run", lambda database, *_: given.append(database._timeouts.read_s))
    migrate(sqlite_url)
    monkeypatch.setenv("STORES_LEDGER_TIMEOUT_SECONDS", "600")
    migrate(sqlite_url)
    assert given == [10, 600]
