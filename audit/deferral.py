"""Writes that wait for the statement behind them, and go to the server together with it.

Each statement is a way to the server and back, on which another process may get the processor first; while a lock is
held, everybody waits for those ways. So a write whose answer nobody reads is executed with `DEFERRED`: on MariaDB it is
kept, in order, and sent with the next statement of its transaction, or with its commit, as one compound statement
(https://mariadb.com/kb/en/begin-end/). On other databases it is executed at once.

An error of a write shows up in the statement that it went with; the transaction is rolled back whole, as it would be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pymysql.connections import Connection as DriverConnection
from sqlalchemy import Connection, Engine, Executable, event
from sqlalchemy.engine.interfaces import ExecutionContext

_OPTION: Final = "stores_deferred"
DEFERRED: Final[Mapping[str, Any]] = {_OPTION: True}
# A compound statement is one packet, and a server takes 16 MiB at most (max_allowed_packet); an entry has 64 KiB.
_TOGETHER: Final = 64


class DeferringConnection(DriverConnection):
    """A connection to MariaDB that can keep writes until the next statement."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._waiting: list[str] = []
        super().__init__(*arguments, **options)

    def defer(self, statement: str) -> None:
        """Keep a statement whose values are in its text."""
        if len(self._waiting) == _TOGETHER:
            self.query("DO 0")
        self._waiting.append(statement)

    def query(self, sql: Any, unbuffered: bool = False) -> int:  # noqa: FBT001, FBT002 - the driver's own signature
        """Send a statement, behind those that wait."""
        if self._waiting:
            sql = self._compound(sql if isinstance(sql, str) else sql.decode(self.encoding, "surrogateescape"))
        affected: int = super().query(sql, unbuffered)
        return affected

    def commit(self) -> None:
        """Commit, in one way with what waits."""
        if self._waiting:
            super().query(self._compound("COMMIT"))
        else:
            super().commit()

    def rollback(self) -> None:
        """Roll back; what waits is dropped."""
        self._waiting.clear()
        super().rollback()

    def _compound(self, last: str) -> str:
        statements = [*self._waiting, last]
        self._waiting.clear()
        return f"BEGIN NOT ATOMIC {'; '.join(statements)}; END"


def install(engine: Engine) -> None:
    """Make an engine of MariaDB keep what is executed with `DEFERRED`."""

    @event.listens_for(engine, "do_connect")
    def _connect(
        _dialect: object, _record: object, arguments: Sequence[Any], options: Mapping[str, Any]
    ) -> DeferringConnection:
        return DeferringConnection(*arguments, **options)

    @event.listens_for(engine, "do_execute")
    def _execute(cursor: Any, statement: str, parameters: Any, context: ExecutionContext) -> bool:
        deferred: bool = context.execution_options.get(_OPTION, False)
        if deferred:
            cursor.connection.defer(cursor.mogrify(statement, parameters))
        return deferred


def later(connection: Connection, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> None:
    """Execute a write for one row or more, with the next statement."""
    if len(rows) == 1:
        connection.execute(statement, rows[0], execution_options=DEFERRED)
    else:
        connection.execute(statement, rows)  # one statement of many rows already
