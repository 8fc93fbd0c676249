"""Who may do what with which table on MariaDB: the fence around the audit log.

A right that is missing here cannot be had by a defect or a stolen password of the application. The reader gets no
right on `audit_head`, `slots` and `leases`: on MariaDB, SELECT alone lets one lock rows and so stop every writer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
READER: Final[Mapping[str, str]] = dict.fromkeys(
    ("alembic_version", "audit_logs", "stores", "intents", "cells"), "SELECT"
)

_ACCOUNT: Final = re.compile(r"(?P<user>[A-Za-z0-9_.-]{1,80})@(?P<host>[A-Za-z0-9_.:%/-]{1,255})")
_WIDE: Final = re.compile(r"GRANT (?P<rights>.+) ON (?P<scope>\*\.\*|`(?P<database>(?:[^`]|``)+)`\.\*) TO ")


def grant(connection: Connection, account: str, rights: Mapping[str, str]) -> None:
    """Leave the account with the given rights on this database's tables, whatever it had on these tables before.

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
    held = text("SELECT DISTINCT TABLE_NAME FROM information_schema.TABLE_PRIVILEGES"
                " WHERE GRANTEE = :grantee AND TABLE_SCHEMA = DATABASE()")  # fmt: skip
    for table in connection.execute(held, {"grantee": f"'{user}'@'{host}'"}).scalars().all():
        quoted = str(table).replace("`", "``")
        connection.execute(text(f"REVOKE ALL PRIVILEGES ON TABLE `{quoted}` FROM '{user}'@'{host}'"))
    for table, allowed in rights.items():
        connection.execute(text(f"GRANT {allowed} ON TABLE `{table}` TO '{user}'@'{host}'"))


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
