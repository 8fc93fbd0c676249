"""The ledger's schema, step by step, and the rights of those who use it.

`migrate` is for the database's owner; the application never changes a schema on MariaDB, because its user must not be
able to. An SQLite ledger belongs to the one who runs the program and is migrated when it is opened.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from audit import failures
from audit.database import Database
from audit.migrations import grants

_LOCK = "stores_migrate"
_LOCK_WAIT_S = 60


def migrate(url: str, *, application: str | None = None, reader: str | None = None) -> str:
    """Bring the ledger to this program's schema and return the schema's name. Doing it again changes nothing.

    `application` and `reader` are MariaDB accounts (`user@host`) that exist: the first is granted what the ledger needs
    and no right to change the audit log, the second only reads and can hold nothing that writers wait for.
    Raises DatabaseUnreachableError, and RefusedError for an account whose wider rights would void the fence.
    """
    database = Database(url)
    try:
        _refuse_newer(database, database.read(_revision))
        if database.is_sqlite:
            _migrate_sqlite(database)
        else:
            _migrate_mariadb(database, application, reader)
    except DBAPIError as error:
        changed = failures.NOTHING_CHANGED if database.is_sqlite else "the schema may be partly changed"
        raise failures.explain(database.url, error, changed) from error
    finally:
        database.close()
    return expected_revision()


def expected_revision() -> str:
    """Return the schema that this program needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "the package holds migrations"  # noqa: S101 - a defect of the package itself
    return head


def check(database: Database) -> None:
    """Return if the ledger has this program's schema. Raises DatabaseUnreachableError with the way to get it."""
    found = database.read(_revision)
    expected = expected_revision()
    _refuse_newer(database, found)
    if found != expected:
        what = "it is empty" if found is None else f"its schema is {found}, this program needs {expected}"
        raise failures.unusable(database.url, what, "run `stores db migrate`")


def _refuse_newer(database: Database, found: str | None) -> None:
    """Raise if the ledger has a schema that this program does not know."""
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        what = f"its schema {found} is newer than this program's {expected_revision()}"
        raise failures.unusable(database.url, what, "use the newer program that migrated it")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _migrate_sqlite(database: Database) -> None:
    with database.engine.connect() as connection:
        if _journal_mode(connection) == "wal" and _revision(connection) == expected_revision():
            return
    _switch_to_wal(database)
    # In one transaction that begins with the write lock: of many that open a new ledger at once, one makes it.
    database.write(_upgrade)


def _journal_mode(connection: Connection) -> str:
    return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one())


def _switch_to_wal(database: Database) -> None:
    """Leave the file in WAL mode, in which readers never wait for a writer. It stays so by itself.

    The switch needs the file alone and does not wait by itself, so we do.
    """
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        raw = database.engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise OperationalError("PRAGMA journal_mode", None, error) from error
        else:
            return
        finally:
            raw.close()
        time.sleep(0.02)


def _migrate_mariadb(database: Database, application: str | None, reader: str | None) -> None:
    with database.engine.connect() as connection, _alone(database, connection):
        _upgrade(connection)
        connection.commit()
        for account, rights in ((application, grants.APPLICATION), (reader, grants.READER)):
            if account is not None:
                grants.grant(connection, account, rights)


@contextlib.contextmanager
def _alone(database: Database, connection: Connection) -> Iterator[None]:
    """Keep other migrations of this server out. Schema statements commit by themselves, so a row lock would not do."""
    # Waits in short steps, because one statement may not take longer than the connection's read timeout.
    deadline = time.monotonic() + _LOCK_WAIT_S
    take = text("SELECT GET_LOCK(CONCAT(DATABASE(), :name), 2)")
    while connection.execute(take, {"name": _LOCK}).scalar_one() != 1:
        if time.monotonic() > deadline:
            raise failures.unusable(database.url, "another migration is running", "wait until it is done")
    try:
        yield
    finally:
        connection.execute(text("SELECT RELEASE_LOCK(CONCAT(DATABASE(), :name))"), {"name": _LOCK})
