"""Running the steps: one process at a time, and on SQLite in one transaction."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from audit import failures
from audit.database import Database
from audit.migrations import grants

_LOCK: Final = "stores_migrate"
_LOCK_WAIT_S: Final = 60


def run(database: Database, application: str | None, reader: str | None) -> None:
    """Bring the ledger to the newest schema, and on MariaDB the accounts to their rights."""
    if database.is_sqlite:
        _switch_to_wal(database)
        # It begins with the write lock: of many that open a new ledger at once, one makes it.
        database.write(_upgrade)
        return
    try:
        with database.engine.connect() as connection, _alone(database, connection):
            _upgrade(connection)
            connection.commit()
            if application is not None:
                grants.grant(connection, application, grants.APPLICATION)
            for account in {*grants.former_readers(connection), *([reader] if reader is not None else [])}:
                grants.grant(connection, account, grants.READER, grants.READER_PROCEDURES)
    except DBAPIError as error:
        raise failures.explain(database.url, error, "the schema may be partly changed") from error


def config() -> Config:
    """Return Alembic's configuration; there is no file of it."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    return made


def _upgrade(connection: Connection) -> None:
    made = config()
    made.attributes["connection"] = connection
    command.upgrade(made, "head")


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
                wrapped = OperationalError("PRAGMA journal_mode", None, error)
                raise failures.explain(database.url, wrapped, failures.NOTHING_CHANGED) from error
        else:
            return
        finally:
            raw.close()
        time.sleep(0.02)


@contextlib.contextmanager
def _alone(database: Database, connection: Connection) -> Iterator[None]:
    """Keep other migrations of this database out. Schema statements commit by themselves: a row lock would not do."""
    # Waits in short steps, because one statement may not take longer than the connection's read timeout.
    deadline = time.monotonic() + _LOCK_WAIT_S
    take = text("SELECT GET_LOCK(CONCAT(DATABASE(), :name), 2)")
    while connection.execute(take, {"name": _LOCK}).scalar_one() != 1:
        if time.monotonic() > deadline:
            raise failures.unusable(database.url, "another migration is running", "wait until it is done")
    try:
        yield
    finally:
        if not connection.invalidated:  # else the server has released it
            connection.execute(text("SELECT RELEASE_LOCK(CONCAT(DATABASE(), :name))"), {"name": _LOCK})
