"""Copies of the ledger in a file: of one moment, proven to be whole, and to be read back into an empty database.

The file is gzipped JSON lines of the rows as stored, the same for SQLite and MariaDB, so a ledger can also move from
one to the other; its last line holds the digest of all before it. It holds no password and no right: schema and rights
are made anew by `stores db migrate`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Table, func, select, text, type_coerce, update
from sqlalchemy.types import BigInteger

from audit import migrations
from audit.database import Database
from audit.ledger import Ledger
from audit.tables import HEAD_ID, Moment, audit_head, metadata
from audit.verification import Verification
from stacks.errors import AuditIncompleteError, UsageError

_FORMAT: Final = 1
_BATCH: Final = 1000


@dataclass(frozen=True)
class Dump:
    """What a file holds: how many rows of each table, and the log's end."""

    file: Path
    schema: str
    at: str
    chain_id: str
    last_seq: int
    rows: dict[str, int]


def write(database: Database, file: Path) -> Dump:
    """Leave a copy of the ledger as it is at one moment in `file`, on disk; nobody waits meanwhile.

    Raises UsageError if the file exists.
    """
    if file.exists():
        raise UsageError(str(file), "it exists", "name a new file: a backup is never written over")
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as raw:
            with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as stream:
                _with_snapshot(database, stream)
            raw.flush()
            os.fsync(raw.fileno())
        found = check(temporary)
        temporary.rename(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return Dump(file, found.schema, found.at, found.chain_id, found.last_seq, found.rows)


def check(file: Path) -> Dump:
    """Return what the file holds, after reading all of it. Raises AuditIncompleteError for a file that is not whole."""
    rows: dict[str, int] = {}
    first: dict[str, Any] = {}
    head: dict[str, Any] = {}
    for table, row in _rows(file):
        if table is None:
            first = row
            continue
        rows[table] = rows.get(table, 0) + 1
        if table == audit_head.name:
            head = row
    return Dump(file, first["schema"], first["at"], str(head.get("chain_id", "")), int(head.get("seq", 0)), rows)


def restore(url: str, file: Path) -> tuple[Dump, Verification]:
    """Bring a copy back into an empty ledger, and prove the log in it. Schema and rights are made by the program.

    Raises UsageError if the ledger holds anything: a restore never writes over a log.
    """
    dump = check(file)
    if dump.schema != migrations.REVISION:
        cure = f"restore it with the program of schema {dump.schema}, then run `stores db migrate` with this one"
        raise UsageError(str(file), f"it is of schema {dump.schema}, this program needs {migrations.REVISION}", cure)
    database = Database(url)
    try:
        migrations.ensure(database)
        database.write(lambda connection: _load(connection, file))
    finally:
        database.close()
    with Ledger.open(url) as ledger:
        return dump, ledger.verify()


def _with_snapshot(database: Database, stream: gzip.GzipFile) -> None:
    def work(connection: Connection) -> None:
        if not database.is_sqlite:
            # One moment for all tables; it takes no lock. On SQLite every reading transaction is of one moment.
            connection.rollback()
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            connection.execute(text("START TRANSACTION WITH CONSISTENT SNAPSHOT"))
        _write(connection, stream)

    database.read(work)


def _write(connection: Connection, stream: gzip.GzipFile) -> None:
    digest = hashlib.sha256()

    def put(value: object) -> None:
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        digest.update(line)
        stream.write(line)

    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    put({"dump": _FORMAT, "schema": migrations.current(connection), "at": at})
    for table in metadata.sorted_tables:
        put({"table": table.name, "columns": [column.name for column in table.columns]})
        for row in _stored(connection, table):
            put(list(row))
    stream.write(json.dumps({"sha256": digest.hexdigest()}).encode() + b"\n")


def _stored(connection: Connection, table: Table) -> Iterator[tuple[Any, ...]]:
    """Yield the rows as they are stored, by key, in flat memory."""
    columns = [type_coerce(c, BigInteger).label(c.name) if isinstance(c.type, Moment) else c for c in table.columns]
    keys = list(table.primary_key)
    begin = 0
    if len(keys) == 1:
        (key,), after = keys, None
        while True:
            query = select(*columns).order_by(key).limit(_BATCH)
            rows = connection.execute(query if after is None else query.where(key > after)).all()
            yield from map(tuple, rows)
            if len(rows) < _BATCH:
                return
            after = rows[-1]._mapping[key.name]  # noqa: SLF001 - SQLAlchemy's public name for a row's columns
    while True:
        rows = connection.execute(select(*columns).order_by(*keys).limit(_BATCH).offset(begin)).all()
        yield from map(tuple, rows)
        if len(rows) < _BATCH:
            return
        begin += _BATCH


def _rows(file: Path) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Yield the head line with None, then each row with its table. Raises when the file is not whole or no dump."""
    try:
        with gzip.open(file, "rb") as stream:
            yield from _parsed(file, stream)
    except (OSError, EOFError, ValueError, KeyError, TypeError, StopIteration, RuntimeError) as error:
        what = f"it is no whole backup of a ledger: {type(error).__name__}: {error}"
        raise AuditIncompleteError(str(file), what, "use another backup; `stores db backup` writes them") from None


def _parsed(file: Path, stream: Iterable[bytes]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    digest, table, ended = hashlib.sha256(), "", False
    columns: list[str] = []
    for number, line in enumerate(stream):
        value = json.loads(line)
        if ended:
            raise ValueError("something stands behind its end")
        if number == 0:
            yield None, {_FORMAT: value}[value["dump"]]
        elif isinstance(value, list):
            yield table, dict(zip(columns, value, strict=True))
        elif "sha256" in value:
            if value["sha256"] != digest.hexdigest():
                raise ValueError("its digest is not that of its contents")
            ended = True
            continue
        else:
            table, columns = metadata.tables[value["table"]].name, value["columns"]
        digest.update(line)
    if not ended:
        raise ValueError(f"{file.name} breaks off")


def _load(connection: Connection, file: Path) -> None:
    for table in metadata.sorted_tables:
        count = connection.execute(select(func.count()).select_from(table)).scalar_one()
        if count > (table.name == audit_head.name) or (
            table.name == audit_head.name and connection.execute(select(audit_head.c.seq)).scalar_one() != 0
        ):
            raise UsageError("restore", f"the ledger is not empty: {table.name} has rows", "name an empty database")
    batch: list[dict[str, Any]] = []
    current: str | None = None
    for name, row in _rows(file):
        if name is None:
            continue
        if batch and (name != current or len(batch) >= _BATCH):
            _insert(connection, str(current), batch)
            batch = []
        current = name
        batch.append(row)
    if batch:
        _insert(connection, str(current), batch)


def _insert(connection: Connection, name: str, rows: list[dict[str, Any]]) -> None:
    table = metadata.tables[name]
    # As stored: the columns of time take whole microseconds here.
    if name == audit_head.name:
        _replace_head(connection, rows[0])
        return
    names = list(rows[0])
    columns = ", ".join(connection.dialect.identifier_preparer.quote(column) for column in names)
    values = ", ".join(f":{column}" for column in names)
    connection.execute(text(f"INSERT INTO {table.name} ({columns}) VALUES ({values})"), rows)  # noqa: S608 - our names


def _replace_head(connection: Connection, row: dict[str, Any]) -> None:
    """Make the new ledger's log the restored one. Its trigger lets a chain never change, so it is put aside."""
    if connection.dialect.name == "sqlite":
        query = text("SELECT sql FROM sqlite_master WHERE name = 'audit_head_no_update'")
        made = str(connection.execute(query).scalar_one())
    else:
        found = connection.execute(text("SHOW CREATE TRIGGER audit_head_no_update")).one()
        made = str(found[2])
    connection.execute(text("DROP TRIGGER audit_head_no_update"))
    connection.execute(update(audit_head).where(audit_head.c.id == HEAD_ID).values(**row))
    connection.exec_driver_sql(made.replace("%", "%%") if connection.dialect.name != "sqlite" else made)
