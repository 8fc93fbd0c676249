"""What a database's error means: whether to try again, whether a commit may have happened, and what a person can do."""

from __future__ import annotations

import sqlite3
from typing import Final

import pymysql
from pymysql.constants import CR
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError

from stacks.errors import DatabaseUnreachableError, InternalError, StoresError

NOTHING_CHANGED: Final = "nothing was changed"
NOT_KNOWN: Final = "whether it was recorded is not known, and nothing else was started"

# Deadlock, lock wait timeout (which rolls back one statement only, so the caller must roll back), and a row that
# changed under a snapshot. The transaction is gone, so the same one can be tried again.
_CONTENTION: Final = frozenset({1213, 1205, 1020})
# A duplicate key: another transaction made the same row first. Tried again, it is found.
_DUPLICATE: Final = frozenset({1062})
# A CHECK constraint (4025) or a trigger (1644).
_REFUSALS: Final = frozenset({4025, 1644})
# The client's own errors, and those of a statement that was ended by a shutdown, a kill or a limit of time.
_CLIENT: Final = frozenset(range(2000, 3000))
_ENDED: Final = frozenset({1053, 1317, 1927, 1969})

_CURES: Final = {
    1044: "give the user of the URL access to this database",
    1045: "check user and password in the ledger's URL",
    1049: "create the database, then run `stores db migrate`",
    1142: "run `stores db migrate` with the application's user named, so that it is granted what it needs",
    1146: "run `stores db migrate`",
    1205: "another run holds the ledger for too long; try again, and see SHOW PROCESSLIST if it stays",
    1213: "try again",
    1290: "the server is read-only; use the primary server",
    2002: "check that the server runs and listens where the ledger's URL says",
    2003: "check that the server runs and listens where the ledger's URL says",
    2006: "check the server and the network to it, then run again",
    2013: "check the server and the network to it, then run again",
}
_SQLITE_CURES: Final = {
    sqlite3.SQLITE_BUSY: "another process holds the ledger for too long; try again when it is done",
    sqlite3.SQLITE_CANTOPEN: "check the path in the ledger's URL and its permissions",
    sqlite3.SQLITE_FULL: "make room on the disk",
    sqlite3.SQLITE_NOTADB: "the ledger's URL names a file that is no ledger; correct it",
    sqlite3.SQLITE_CORRUPT: "restore the ledger from a backup, then run `stores reconcile`",
    sqlite3.SQLITE_READONLY: "make the ledger's file and its folder writable",
}


def code_of(error: DBAPIError) -> int:
    """Return the driver's number for the error (SQLite: the primary result code); 0 where it gives none."""
    original = error.orig
    if isinstance(original, sqlite3.Error):
        return int(getattr(original, "sqlite_errorcode", 0)) & 0xFF
    if isinstance(original, pymysql.err.Error) and original.args and isinstance(original.args[0], int):
        return original.args[0]
    return 0


def may_be_retried(error: DBAPIError) -> bool:
    """Return whether the same transaction, begun anew, may succeed: it lost a race, and nothing of it was kept."""
    if isinstance(error.orig, sqlite3.Error):
        return isinstance(error.orig, sqlite3.IntegrityError) and "UNIQUE" in str(error.orig)
    return code_of(error) in _CONTENTION | _DUPLICATE


def was_lost(error: DBAPIError) -> bool:
    """Return whether the connection turned out dead; one whose server only says nothing any more did not."""
    return bool(error.connection_invalidated) and not isinstance(getattr(error.orig, "__context__", None), TimeoutError)


def was_gone(error: DBAPIError) -> bool:
    """Return whether the connection was dead before anything was sent over it."""
    return code_of(error) == int(CR.CR_SERVER_GONE_ERROR)


def commit_is_unknown(error: DBAPIError) -> bool:
    """Return whether a failed commit may have happened after all.

    An error that the server itself sent means that it did not, unless it ended the statement or the connection from
    outside. A connection that broke says nothing either way.
    """
    broke = error.connection_invalidated or isinstance(error.orig, pymysql.err.InterfaceError)
    return broke or code_of(error) in _CLIENT | _ENDED


def explain(url: URL, error: DBAPIError, changed: str) -> StoresError:
    """Return the error for people: where (without the password), what the driver said, what to do.

    A refusal by a constraint or a trigger is a defect of ours, everything else the database's.
    """
    original = error.orig
    code = code_of(error)
    if isinstance(original, sqlite3.Error):
        said, cure = str(original), _SQLITE_CURES.get(code, "see the message; check the disk and the file")
    else:
        said = str(original.args[1]) if original is not None and len(original.args) > 1 else str(original)
        cure = _CURES.get(code, "check the server, then run again")
    what = f"{said.strip()} ({changed})"
    if isinstance(error, IntegrityError) or code in _REFUSALS:
        return InternalError(_where(url), what, "report this with the trace: the ledger refused what should be right")
    return DatabaseUnreachableError(_where(url), what, cure)


def unusable(url: URL, what: str, cure: str) -> DatabaseUnreachableError:
    """Return the error for a ledger that answers but cannot be used."""
    return DatabaseUnreachableError(_where(url), what, cure)


def without_claim(what: str) -> str:
    """Return what an error says, without what that means for the one call that failed."""
    return what.replace(f" ({NOTHING_CHANGED})", "").replace(f" ({NOT_KNOWN})", "")


def _where(url: URL) -> str:
    return f"ledger {url.render_as_string(hide_password=True)}"
