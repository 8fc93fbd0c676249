"""The way to the ledger's database: bounded in time, one transaction at a time, errors that say what was changed.

A commit whose answer was lost says nothing about whether it happened (tried: the same error 2013 for both). So
whoever writes says how to find out (`find`), and only when that found nothing the work is done again.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Final, TypeVar

import pymysql
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Executable,
    Table,
    bindparam,
    create_engine,
    event,
    literal_column,
)
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from audit import deferral, failures
from audit.deferral import DEFERRED
from audit.tables import Moment, from_us
from stacks.errors import StoresError, UsageError

T = TypeVar("T")

# An expression for the database's time; a statement that takes a lock and selects it reads the time after the lock was
# granted. One object for the life of a Database, so that statements can be made once for each.
Clock = ColumnElement[Any]

# As many connections as there are threads that ask; two are kept. Every transaction is ended here, so the pool need not
# do it again. Values never show up in an error's text.
_POOL: Final[dict[str, Any]] = {
    "pool_size": 2,
    "max_overflow": -1,
    "pool_reset_on_return": None,
    "hide_parameters": True,
}
_LONGEST_S: Final = 600
# After a whole `read_s` of silence, what of the one second more is for a last look; the rest is for its connection.
_LAST_LOOK_S: Final = 0.75
# A lost connection that took longer was no refusal: whoever asks again at once waits as long once more.
_HUNG_S: Final = 1.0
_WRITES: Final = "stores_writes"
# SYSDATE, not NOW: the moment of reading, which is after the lock, and not to be set by `SET timestamp`.
_MARIADB_CLOCK: Final = literal_column("CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)", Moment)
_MARIADB_BEGINNING: Final = literal_column("CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)", Moment)


@dataclass(frozen=True)
class Timeouts:
    """How long anything may take, in seconds. No call takes longer than `read_s` plus one second.

    `connect_s` alone does not bound a connection: a server that accepts and then says nothing is bounded by `read_s`.
    `lock_s` must be below `read_s`, so that a busy ledger is told from a dead one.

    On SQLite `sqlite_busy_s` holds alone: a lock there is another process at work, and all of them share one.
    """

    connect_s: float = 5
    read_s: float = 10
    lock_s: int = 8
    sqlite_busy_s: int = 30


DEFAULT_TIMEOUTS: Final = Timeouts()
TIMEOUT_VARIABLE: Final = "STORES_LEDGER_TIMEOUT_SECONDS"


def chosen_timeouts(text: str | None) -> Timeouts:
    """Return the timeouts for a reading timeout that was chosen as text; None: the default. Raises UsageError."""
    if text is None:
        return DEFAULT_TIMEOUTS
    if not text.isascii() or not text.isdigit() or not 2 <= int(text) <= _LONGEST_S:
        raise UsageError(
            TIMEOUT_VARIABLE, f"{text!r} is no whole number of seconds from 2 to {_LONGEST_S}", "correct it"
        )
    read_s = int(text)
    return Timeouts(connect_s=min(read_s, 5), read_s=read_s, lock_s=max(1, read_s - 2), sqlite_busy_s=read_s)


class _CommitUnknownError(Exception):
    """The connection broke during a commit."""

    def __init__(self, cause: DBAPIError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Database:
    """One database, and how it is read and written."""

    def __init__(
        self, url: str, *, timeouts: Timeouts = DEFAULT_TIMEOUTS, now: Callable[[], datetime] | None = None
    ) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._timeouts = timeouts
        self.clock = _clock(self.url, now)
        self.engine = _engine(self.url, timeouts)
        self.hung: StoresError | None = None
        """Why the database is taken for dead: a call waited for it in vain, and none has succeeded since."""

    def close(self) -> None:
        """Leave no connection open."""
        self.engine.dispose()

    def describe(self, schema: str) -> str:
        """Return which database this is, for people; no password."""
        query = "SELECT sqlite_version()" if self.is_sqlite else "SELECT VERSION()"
        version = self.read(lambda connection: connection.exec_driver_sql(query).scalar_one())
        kind = "SQLite" if self.is_sqlite else "MariaDB"
        return f"{kind} {version}, schema {schema}, {self.url.render_as_string(hide_password=True)}"

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` reads, in one transaction. Raises DatabaseUnreachableError."""

        def look(engine: Engine) -> T:
            with engine.connect() as connection:
                return work(connection)

        return self._again_if_lost(look)

    def write(self, work: Callable[[Connection], T], *, find: Callable[[Connection], T | None] | None = None) -> T:
        """Return what `work` did; it is committed. Raises DatabaseUnreachableError, which says what is known.

        `work` may be tried several times, each time in a new transaction, but is committed once. `find` returns what
        an earlier try did, or None; it begins with the same lock as `work`, so that it waits for a try that the server
        has not ended yet. None: doing the work twice is the same as doing it once.
        """
        started = time.monotonic()
        tries = chain([work], repeat(_found_or_done(find, work)))

        def attempt(engine: Engine) -> T:
            while True:
                try:
                    return self._transact(engine, next(tries))
                except DBAPIError as error:
                    if not failures.may_be_retried(error) or time.monotonic() - started >= self._timeouts.lock_s:
                        raise
                    time.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - spreads the losers of a race

        try:
            return self._again_if_lost(attempt)
        except _CommitUnknownError as unknown:
            return self._settle(next(tries), unknown, started)

    def _again_if_lost(self, call: Callable[[Engine], T]) -> T:
        """Return what `call` does, which is done once more over a fresh connection if the first one was lost.

        One from the pool may be dead since long, and one in use is ended by the server when this process stands still
        for too long. Before the commit, a lost connection means that nothing was kept, however long ago it began. A
        server that says nothing is not asked again: its time is used up.
        """
        started = time.monotonic()
        try:
            try:
                done = call(self.engine)
            except DBAPIError as error:
                if not failures.was_lost(error):
                    raise
                # Who could not even send has waited for nobody.
                waited_s = 0.0 if failures.was_gone(error) else time.monotonic() - started
                with self._fresh(waited_s) as engine:
                    done = call(engine)
        except DBAPIError as error:
            raise self._explained(error, failures.NOTHING_CHANGED, started) from error
        self.hung = None
        return done

    def _transact(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        with engine.connect() as connection:
            connection.execution_options(**{_WRITES: True})
            with _rolled_back_on_error(connection):
                result = work(connection)
            try:
                connection.commit()
            except DBAPIError as error:
                if failures.commit_is_unknown(error):
                    connection.invalidate()
                    raise _CommitUnknownError(error) from error
                # Writes are sent with the commit, so it may fail as they do, and the transaction is open then: what
                # went before would be committed by the next one. SQLAlchemy takes it for ended and sends nothing.
                with contextlib.suppress(pymysql.MySQLError, sqlite3.Error):
                    connection.connection.rollback()
                raise
            self.hung = None
            return result

    def _settle(self, work: Callable[[Connection], T], unknown: _CommitUnknownError, started: float) -> T:
        """Find out what happened over a fresh connection, within the time that is left."""
        try:
            with self._fresh(time.monotonic() - started) as engine:
                return self._transact(engine, work)
        except (DBAPIError, _CommitUnknownError):
            raise self._explained(unknown.cause, failures.NOT_KNOWN, started) from unknown.cause

    @contextlib.contextmanager
    def _fresh(self, waited_s: float) -> Iterator[Engine]:
        """Make new connections that wait no longer than is left after so many seconds."""
        left_s = max(_LAST_LOOK_S, self._timeouts.read_s - waited_s)
        engine = _engine(self.url, Timeouts(connect_s=left_s, read_s=left_s, lock_s=max(1, int(left_s) - 1)))
        try:
            yield engine
        finally:
            engine.dispose()

    def _explained(self, error: DBAPIError, changed: str, started: float) -> StoresError:
        """Return the error for people; remember it where the database kept its caller waiting."""
        told = failures.explain(self.url, error, changed)
        if failures.commit_is_unknown(error) and time.monotonic() - started >= _HUNG_S:
            self.hung = told
        return told


def beginning(clock: Clock) -> Clock:
    """Return an expression for a moment before the clock's, which does not change within a statement.

    What is compared with it can be found by an index.
    """
    return _MARIADB_BEGINNING if clock is _MARIADB_CLOCK else clock


def insert_if_missing(connection: Connection, into: Table, values: Mapping[str, object]) -> None:
    """Leave a row with the key in `values`: this one, or the one that is there already, as it is."""
    connection.execute(_insert_if_missing(connection.dialect.name, into), dict(values), execution_options=DEFERRED)


@lru_cache(maxsize=16)
def _insert_if_missing(dialect: str, into: Table) -> Executable:
    if dialect == "sqlite":
        return sqlite.insert(into).on_conflict_do_nothing()
    key = next(iter(into.primary_key))
    return mysql.insert(into).on_duplicate_key_update({key.name: key})


def parse_url(url: str) -> URL:
    """Return the ledger's URL, with the driver that we use. Raises UsageError."""
    cure = "use sqlite:///<absolute path> or mariadb://<user>@<host>/<database>"
    try:
        parsed = make_url(url)
    except ArgumentError:
        # The text may hold a password, so it is not shown.
        raise UsageError("ledger", "its URL cannot be read", cure) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise UsageError("ledger", "a ledger in memory would forget the limits and the audit log", cure)
        return parsed
    if backend in ("mysql", "mariadb"):
        return parsed.set(drivername="mariadb+pymysql")
    raise UsageError("ledger", f"its URL names the database '{backend}'", cure)


def _clock(url: URL, now: Callable[[], datetime] | None) -> Clock:
    if now is None and url.get_backend_name() != "sqlite":
        return _MARIADB_CLOCK
    # SQLite has no clock of its own, so its time is this machine's. Its write lock is held before any statement.
    return bindparam("clock", callable_=now or _machine_time, type_=Moment)


def _machine_time() -> datetime:
    return from_us(time.time_ns() // 1000)


def _engine(url: URL, timeouts: Timeouts) -> Engine:
    return _sqlite(url, timeouts) if url.get_backend_name() == "sqlite" else _mariadb(url, timeouts)


def _mariadb(url: URL, timeouts: Timeouts) -> Engine:
    settings = {
        "innodb_lock_wait_timeout": str(timeouts.lock_s),
        # A client that vanished without a word (a pulled cable) would else hold its locks for eight hours.
        "idle_transaction_timeout": str(int(timeouts.read_s) + 5),
        "sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,NO_AUTO_CREATE_USER,ERROR_FOR_DIVISION_BY_ZERO'",
        "time_zone": "'+00:00'",
    }
    arguments: dict[str, Any] = {
        "charset": "utf8mb4",
        "connect_timeout": timeouts.connect_s,
        "read_timeout": timeouts.read_s,
        "write_timeout": timeouts.read_s,
        "init_command": "SET SESSION " + ", ".join(f"{name} = {value}" for name, value in settings.items()),
    }
    # READ COMMITTED: at MariaDB's default, what was read before a lock stays old after it (tried: 109 of 100 stores).
    engine = create_engine(url, connect_args=arguments, isolation_level="READ COMMITTED", pool_recycle=60, **_POOL)
    deferral.install(engine)
    return engine


def _sqlite(url: URL, timeouts: Timeouts) -> Engine:
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": timeouts.sqlite_busy_s}, **_POOL)

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and wants to write later is refused at once when another wrote between, however
        # long the timeout (tried: 296 of 320 gave up). So a writer takes the write lock before it reads.
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _found_or_done(
    find: Callable[[Connection], T | None] | None, work: Callable[[Connection], T]
) -> Callable[[Connection], T]:
    if find is None:
        return work

    def found_or_done(connection: Connection) -> T:
        found = find(connection)
        return work(connection) if found is None else found

    return found_or_done


@contextlib.contextmanager
def _rolled_back_on_error(connection: Connection) -> Iterator[None]:
    """Roll back whatever goes wrong inside; an error in doing so never hides the first one."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(DBAPIError):
            connection.rollback()
        raise
