"""Who may do what with which table on MariaDB: the fence around the audit log.

A right that is missing here cannot be had by a defect or a stolen password of the application. The reader gets no
right on any table that is written: on MariaDB, SELECT alone lets one lock rows and so stop every writer. What he may
ask he asks of procedures of the owner, which hold nothing (`versions/0003_reader.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, text

from stacks.errors import RefusedError, UsageError

_CHANGE: Final = "SELECT, INSERT, UPDATE"

APPLICATION: Final[Mapping[str, str]] = {
    "alembic_version": "SELECT",
    "audit_logs": "SELECT, INSERT",
    "audit_head": "SELECT, UPDATE (seq, hash)",
    "slots": _CHANGE,
    "stores": _CHANGE,
    "intents": _CHANGE,
    "idempotency_keys": f"{_CHANGE}, DELETE",
    "leases": _CHANGE,
    "cells": _CHANGE,
}
READER: Final[Mapping[str, str]] = {"alembic_version": "SELECT"}
READER_PROCEDURES: Final = ("read_stores", "read_starts", "read_entries", "read_entry")

# What a reader had up to schema 0002: with exactly these rights, an account is one.
_ONCE_READER: Final = frozenset({"alembic_version", "audit_logs", "stores", "intents", "cells"})

_ACCOUNT: Final = re.compile(r"(?P<user>[A-Za-z0-9_.-]{1,80})@(?P<host>[A-Za-z0-9_.:%/-]{1,255})")
_WIDE: Final = re.compile(r"GRANT (?P<rights>.+) ON (?P<scope>\*\.\*|`(?P<database>(?:[^`]|``)+)`\.\*) TO ")


def grant(connection: Connection, account: str, rights: Mapping[str, str], procedures: Sequence[str] = ()) -> None:
    """Leave the account with the given rights on this database's tables, whatever it had on these tables before.

    `procedures` are those that it may call.

    Raises UsageError for a name that is no account or does not exist, and RefusedError if it has rights on the whole
    database or server, because then no table's rights mean anything.
    """
    match = _ACCOUNT.fullmatch(account)
    if match is None:
        raise UsageError(f"account '{account}'", "is no MariaDB account", "write it as user@host")
    user, host = match["user"], match["host"]
    exists = text("SELECT COUNT(*) FROM information_schema.USER_PRIVILEGES WHERE GRANTEE = :grantee")
    if not connection.execute(exists, {"grantee": f"'{user}'@'{host}'"}).scalar_one():
        raise UsageError(f"account '{account}'", "does not exist", "create it with CREATE USER, then run this again")
    _refuse_wide_rights(connection, account, user, host)
    held = text("SELECT TABLE_NAME FROM information_schema.TABLE_PRIVILEGES"
                " WHERE GRANTEE = :grantee AND TABLE_SCHEMA = DATABASE()"
                " UNION SELECT TABLE_NAME FROM information_schema.COLUMN_PRIVILEGES"
                " WHERE GRANTEE = :grantee AND TABLE_SCHEMA = DATABASE()")  # fmt: skip
    for table in connection.execute(held, {"grantee": f"'{user}'@'{host}'"}).scalars().all():
        quoted = str(table).replace("`", "``")
        connection.execute(text(f"REVOKE ALL PRIVILEGES ON TABLE `{quoted}` FROM '{user}'@'{host}'"))
    for table, allowed in rights.items():
        connection.execute(text(f"GRANT {allowed} ON TABLE `{table}` TO '{user}'@'{host}'"))
    for procedure in procedures:
        connection.execute(text(f"GRANT EXECUTE ON PROCEDURE `{procedure}` TO '{user}'@'{host}'"))


def former_readers(connection: Connection) -> list[str]:
    """Return the accounts that have exactly what a reader had up to schema 0002, with which he could stop writers.

    An owner who may not see the rights of others finds none; `stores db check --as reader` still tells.
    """
    query = text("SELECT GRANTEE, TABLE_NAME, PRIVILEGE_TYPE FROM information_schema.TABLE_PRIVILEGES"
                 " WHERE TABLE_SCHEMA = DATABASE()")  # fmt: skip
    held: dict[str, set[tuple[str, str]]] = {}
    for grantee, table, privilege in connection.execute(query):
        held.setdefault(str(grantee), set()).add((str(table), str(privilege)))
    once = {(table, "SELECT") for table in _ONCE_READER}
    accounts = [grantee.replace("'", "") for grantee, rights in sorted(held.items()) if rights == once]
    return [account for account in accounts if _ACCOUNT.fullmatch(account)]


def _refuse_wide_rights(connection: Connection, account: str, user: str, host: str) -> None:
    here = connection.execute(text("SELECT DATABASE()")).scalar_one()
    for line in connection.execute(text(f"SHOW GRANTS FOR '{user}'@'{host}'")).scalars():
        wide = _WIDE.match(str(line))
        if wide is None or wide["rights"] == "USAGE":
            continue
        pattern = (wide["database"] or str(here)).replace("``", "`")
        if wide["scope"] == "*.*" or _covers(pattern, str(here)):
            raise RefusedError(
                f"account '{account}'",
                f"has {wide['rights']} on {wide['scope']}, so it could change the audit log",
                "revoke that right, or use an account of the ledger's own",
            )


def _covers(pattern: str, database: str) -> bool:
    """Return whether a database pattern of a grant (`%`, `_`, escaped by a backslash) matches the name."""
    expression = "".join(
        re.escape(part[1:]) if part.startswith("\\") else {"%": ".*", "_": "."}.get(part, re.escape(part))
        for part in re.findall(r"\\.|.", pattern)
    )
    return re.fullmatch(expression, database) is not None
