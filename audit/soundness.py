"""Whether the ledger's database is as it must be: version, isolation, durability, schema, clock, and its fences.

The fences are tried, not read: what must be refused is asked for and rolled back, so a right that came from anywhere (a
role, a wider grant, another host's account) is found. It goes on after every finding.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from audit import counters, failures, migrations
from audit.database import Database

State = Literal["ok", "warn", "fail"]

OLDEST_MARIADB: Final = (10, 6)
OLDEST_SQLITE: Final = (3, 37)
CLOCK_APART: Final = timedelta(seconds=5)

_GRANT: Final = "run `stores db migrate` as the owner, with --application or --reader naming this account"
_REFUSED: Final = frozenset({1142, 1143, 1044, 1227, 1370})
# What nobody but the owner may do. None of it touches a row even if it is allowed; all of it is rolled back.
_LOG_WRITES: Final = (
    ("change entries", "UPDATE audit_logs SET owner = owner WHERE seq < 0"),
    ("delete entries", "DELETE FROM audit_logs WHERE seq < 0"),
    ("replace entries", "REPLACE INTO audit_logs SELECT * FROM audit_logs WHERE seq < 0"),
    (
        "overwrite entries",
        "INSERT INTO audit_logs SELECT * FROM audit_logs WHERE seq < 0 ON DUPLICATE KEY UPDATE owner = 'x'",
    ),
    ("remove the log's end", "DELETE FROM audit_head WHERE id < 0"),
    ("make the log another one", "UPDATE audit_head SET chain_id = chain_id WHERE id < 0"),
    ("move the log's beginning", "UPDATE audit_head SET purged_seq = purged_seq WHERE id < 0"),
)
# Without ever running them: each would commit by itself.
_LOG_RIGHTS: Final = ("DROP", "ALTER", "TRIGGER", "DELETE", "INDEX", "REFERENCES", "ALL PRIVILEGES")
_LOCKS: Final = (
    ("lock the log's end", "SELECT seq FROM audit_head WHERE id < 0 FOR UPDATE"),
    ("lock the counters", "SELECT used FROM slots WHERE used < 0 FOR UPDATE"),
    ("lock the leases", "SELECT pid FROM leases WHERE pid < 0 FOR UPDATE"),
    ("lock the log", "SELECT seq FROM audit_logs WHERE seq < 0 FOR UPDATE"),
    ("share the log", "SELECT seq FROM audit_logs WHERE seq < 0 LOCK IN SHARE MODE"),
    ("lock the stores", "SELECT store_id FROM stores WHERE store_id = '' FOR UPDATE"),
    ("share the stores", "SELECT store_id FROM stores WHERE store_id = '' LOCK IN SHARE MODE"),
    ("lock the intents", "SELECT run_id FROM intents WHERE run_id = '' FOR UPDATE"),
    ("share the intents", "SELECT run_id FROM intents WHERE run_id = '' LOCK IN SHARE MODE"),
    # Not a SELECT, so that it locks what it reads.
    ("hold what it counts", "DO (SELECT COUNT(*) FROM audit_logs WHERE seq < 0)"),
)
_WORK: Final = (
    ("append entries", "INSERT INTO audit_logs SELECT * FROM audit_logs WHERE seq < 0"),
    ("move the log's end", "UPDATE audit_head SET seq = seq, hash = hash WHERE id < 0"),
    ("count stores", "UPDATE slots SET used = used WHERE used < 0"),
    ("change stores", "UPDATE stores SET status = status WHERE store_id = ''"),
    ("take leases", "UPDATE leases SET pid = pid WHERE pid < 0"),
)


_ASKS: Final = (
    ("read the log", "CALL read_entries('', '', '', '', '', '', '', 0, 0, 0, 0, 0, 1)"),
    ("read an entry", "CALL read_entry(-1, '')"),
    ("read the stores", "CALL read_stores('')"),
    ("read the creations", "CALL read_starts('', 0)"),
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `cure` is empty unless something is to be done."""

    name: str
    state: State
    detail: str
    cure: str = ""


def examine(database: Database, *, role: Literal["application", "reader", "owner"], now: datetime) -> list[Finding]:
    """Return what was found. `role`: what the account is meant to be; `now`: this machine's time.

    Raises DatabaseUnreachableError when there is no connection.
    """
    return database.read(lambda connection: list(_examine(database, connection, role, now)))


def _examine(database: Database, connection: Connection, role: str, now: datetime) -> Iterator[Finding]:
    yield Finding("connection", "ok", database.url.render_as_string(hide_password=True))
    yield from _schema(connection)
    yield _clock(database, connection, now)
    if role != "reader" and migrations.current(connection) == migrations.REVISION:
        yield _counters(connection)
    if database.is_sqlite:
        yield from _sqlite(connection)
        return
    yield from _server(connection)
    if role == "owner":
        yield Finding("grants", "ok", "the owner's own are not tried: the account may do everything")
        return
    yield from _fences(connection, role)


def _schema(connection: Connection) -> Iterator[Finding]:
    found = migrations.current(connection)
    if found == migrations.REVISION:
        yield Finding("schema", "ok", f"{found}, which this program needs")
    elif found is not None and found > migrations.REVISION:
        yield Finding(
            "schema", "fail", f"{found}, newer than this program's {migrations.REVISION}", "update the program"
        )
    else:
        yield Finding("schema", "fail", f"{found}, needed is {migrations.REVISION}", "run `stores db migrate`")


def _clock(database: Database, connection: Connection, now: datetime) -> Finding:
    there: datetime = connection.execute(select(database.clock)).scalar_one()
    apart = abs(there - now)
    detail = f"{apart.total_seconds():.1f} s from this machine's"
    if apart <= CLOCK_APART:
        return Finding("clock", "ok", detail)
    return Finding("clock", "warn", detail, "limits go by the database's time: let both machines keep time by NTP")


def _counters(connection: Connection) -> Finding:
    found = counters.drifts(connection)
    if not found:
        return Finding("counters", "ok", "each says how many stores hold a slot")
    cure = "run `stores reconcile --env ENV`, which corrects them on record, and find out who wrote past the program"
    return Finding("counters", "fail", "; ".join(map(str, found)), cure)


def _sqlite(connection: Connection) -> Iterator[Finding]:
    version = str(connection.exec_driver_sql("SELECT sqlite_version()").scalar_one())
    yield _version("SQLite", version, OLDEST_SQLITE)
    mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    cure = "" if mode == "wal" else "open it once with this program, when nobody else does"
    yield Finding("journal", "ok" if mode == "wal" else "warn", str(mode), cure)
    whole = connection.exec_driver_sql("PRAGMA quick_check").scalar_one()
    cure = "" if whole == "ok" else "restore it from a backup, and keep the broken file"
    yield Finding("file", "ok" if whole == "ok" else "fail", str(whole), cure)
    yield Finding("grants", "ok", "an SQLite file has none: whoever can write it can change it")


def _server(connection: Connection) -> Iterator[Finding]:
    version = str(connection.exec_driver_sql("SELECT VERSION()").scalar_one())
    yield _version("MariaDB", version, OLDEST_MARIADB)
    wanted = {
        "tx_isolation": ("READ-COMMITTED", "fail", "report this: the program sets it for its own connections"),
        "innodb_flush_log_at_trx_commit": ("1", "fail", "set it to 1: else an acknowledged entry can be lost"),
        "sync_binlog": ("1", "warn", "set it to 1 where a binary log is kept, or a replica may miss an entry"),
        "read_only": ("0", "fail", "use the primary server"),
    }
    for name, (value, state, cure) in wanted.items():
        found = str(connection.exec_driver_sql(f"SELECT @@{name}").scalar_one())
        if name == "sync_binlog" and str(connection.exec_driver_sql("SELECT @@log_bin").scalar_one()) == "0":
            continue
        right = found == value
        label = "isolation" if name == "tx_isolation" else name
        yield Finding(label, "ok" if right else _state(state), found, "" if right else cure)


def _state(text_: str) -> State:
    return "fail" if text_ == "fail" else "warn"


def _version(kind: str, found: str, oldest: tuple[int, int]) -> Finding:
    numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    if kind == "MariaDB" and "mariadb" not in found.lower():
        return Finding("server", "fail", found, "use MariaDB: its rights and locks are what was tested")
    if numbers < oldest:
        return Finding("server", "fail", found, f"use {kind} {oldest[0]}.{oldest[1]} or newer")
    return Finding("server", "ok", f"{kind} {found}")


def _fences(connection: Connection, role: str) -> Iterator[Finding]:
    forbidden = [*_LOG_WRITES, *(_LOCKS if role == "reader" else ())]
    forbidden += [(f"{what} (a reader)", statement) for what, statement in _WORK] if role == "reader" else []
    open_ = [what for what, statement in forbidden if _allowed(connection, statement)]
    open_ += [f"{right} on {table}" for right, table in _rights(connection)]
    if open_:
        yield Finding("fences", "fail", f"this account can: {', '.join(open_)}", _GRANT)
    else:
        yield Finding("fences", "ok", f"{len(forbidden)} ways to change or hold the log were tried and refused")
    needed = _WORK if role == "application" else _ASKS
    lacking = [what for what, statement in needed if not _allowed(connection, statement)]
    if lacking:
        yield Finding("rights", "fail", f"this account cannot: {', '.join(lacking)}", _GRANT)
    else:
        yield Finding("rights", "ok", "it can do its work")


def _allowed(connection: Connection, statement: str) -> bool:
    """Return whether the statement is allowed; whatever it did is taken back."""
    try:
        connection.execute(text(statement))
    except DBAPIError as error:
        if failures.code_of(error) in _REFUSED:
            return False
        if failures.code_of(error) == 1644:  # a trigger refused what the rights allowed
            return True
        raise
    finally:
        with contextlib.suppress(DBAPIError):
            connection.rollback()
    return True


def _rights(connection: Connection) -> Iterator[tuple[str, str]]:
    """Yield the rights that would let the account take a fence down, by statements that cannot be tried."""
    for line in connection.execute(text("SHOW GRANTS")).scalars():
        found = re.match(r"GRANT (?P<rights>.+?) ON (?P<scope>\S+) TO ", str(line))
        if found is None or found["rights"] == "USAGE":
            continue
        scope: Any = found["scope"]
        named = scope.split(".")[-1].strip("`")
        if named not in ("*", "audit_logs", "audit_head"):
            continue
        for right in re.split(r", (?![^(]*\))", found["rights"]):
            if right.split(" (")[0] in _LOG_RIGHTS:
                yield right, scope
