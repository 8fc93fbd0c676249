"""Which schema the ledger has, and which this program needs. The steps themselves are in `versions/`.

`migrate` is for the database's owner; the application never changes a schema on MariaDB, because its user must not be
able to. An SQLite ledger belongs to the one who runs the program and is migrated when it is opened.
"""

from __future__ import annotations

import os
from typing import Final

from sqlalchemy import Connection, column, select, table

from audit import failures
from audit.database import TIMEOUT_VARIABLE, Database, chosen_timeouts

# The last step in `versions/`; steps are numbered without gaps, so that a greater number is a newer schema.
REVISION: Final = "0003"

_VERSION: Final = table("alembic_version", column("version_num"))


def migrate(url: str, *, application: str | None = None, reader: str | None = None) -> str:
    """Bring the ledger to this program's schema and return the schema's name. Doing it again changes nothing.

    `application` and `reader` are MariaDB accounts (`user@host`) that exist: the first is granted what the ledger needs
    and no right to change the audit log, the second only reads and can hold nothing that writers wait for.
    No step may take longer than $STORES_LEDGER_TIMEOUT_SECONDS: a long log may need more than the default.
    Raises DatabaseUnreachableError, and RefusedError for an account whose wider rights would void the fence.
    """
    database = Database(url, timeouts=chosen_timeouts(os.environ.get(TIMEOUT_VARIABLE)))
    try:
        ensure(database, application=application, reader=reader)
    finally:
        database.close()
    return REVISION


def ensure(database: Database, *, application: str | None = None, reader: str | None = None) -> None:
    """Bring an open ledger to this program's schema. As `migrate`."""
    found = database.read(current)
    _refuse_newer(database, found)
    if found == REVISION and database.is_sqlite:
        return
    # Alembic is a third of this package's start-up time, and hardly ever needed.
    from audit.migrations import upgrade  # noqa: PLC0415

    upgrade.run(database, application, reader)


def check(database: Database) -> None:
    """Return if the ledger has this program's schema. Raises DatabaseUnreachableError with the way to get it."""
    found = database.read(current)
    _refuse_newer(database, found)
    if found != REVISION:
        what = "it is empty" if found is None else f"its schema is {found}, this program needs {REVISION}"
        raise failures.unusable(database.url, what, "run `stores db migrate`")


def current(connection: Connection) -> str | None:
    """Return the schema that the ledger has; None if it has none yet."""
    if not connection.dialect.has_table(connection, _VERSION.name):
        return None
    return connection.execute(select(_VERSION.c.version_num)).scalar_one_or_none()


def _refuse_newer(database: Database, found: str | None) -> None:
    if found is not None and found > REVISION:
        what = f"its schema {found} is newer than this program's {REVISION}"
        raise failures.unusable(database.url, what, "use the newer program that migrated it")
