"""Writes that wait: they go in order and with the next statement, and are kept or dropped with their transaction."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from audit import deferral
from audit.database import Database
from audit.deferral import DEFERRED
from tests.audit.mariadb_server import MariadbServer

NOTES = Table(
    "notes",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("text", String(200), nullable=False),
    mariadb_default_charset="utf8mb4",
)
HOSTILE = ["'; DROP TABLE notes; --", "100 % \\' \" ; END", "snow ☃ and %(name)s", "\\", "a\nb\x00c"]


@pytest.fixture
def database(mariadb: MariadbServer) -> Iterator[Database]:
    """Return a database with an empty table of notes."""
    opened = Database(mariadb.url(mariadb.new_database()))
    with opened.engine.begin() as connection:
        NOTES.metadata.create_all(connection)
    yield opened
    opened.close()


def note(connection: Connection, number: int, text: str) -> None:
    connection.execute(insert(NOTES), {"id": number, "text": text}, execution_options=DEFERRED)


def texts(database: Database) -> list[str]:
    return list(
        database.read(lambda connection: connection.execute(select(NOTES.c.text).order_by(NOTES.c.id)).scalars())
    )


def questions(connection: Connection) -> int:
    """Return how many statements the client of this connection has sent."""
    return int(connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Questions'").one()[1])


def test_writes_go_with_the_statement_behind_them_which_sees_them(database: Database) -> None:
    def work(connection: Connection) -> None:
        before = questions(connection)
        note(connection, 1, "one")
        connection.execute(update(NOTES).values(text="two"), execution_options=DEFERRED)
        note(connection, 2, "three")
        found = connection.execute(select(NOTES.c.text).order_by(NOTES.c.id)).scalars().all()
        assert found == ["two", "three"]
        # The server counts what a compound statement consists of as no question of the client.
        assert questions(connection) - before == 2

    database.write(work)
    assert texts(database) == ["two", "three"]


def test_nothing_is_left_waiting_at_the_end_of_a_transaction(database: Database) -> None:
    database.write(lambda connection: note(connection, 1, "last"))
    assert texts(database) == ["last"]


def test_what_waits_is_dropped_with_its_transaction(database: Database) -> None:
    def work(connection: Connection) -> None:
        note(connection, 1, "dropped")
        connection.rollback()
        note(connection, 2, "kept")

    database.write(work)
    assert texts(database) == ["kept"]


def test_an_error_of_a_waiting_write_keeps_nothing_of_its_transaction(database: Database) -> None:
    with database.engine.connect() as connection:
        note(connection, 1, "one")
        note(connection, 1, "the same key")
        with pytest.raises(IntegrityError):
            connection.execute(select(func.count()).select_from(NOTES))
        connection.rollback()
    assert texts(database) == []


@pytest.mark.parametrize("text", HOSTILE)
def test_a_value_is_a_value_also_in_a_compound_statement(database: Database, text: str) -> None:
    def work(connection: Connection) -> None:
        note(connection, 1, text)
        note(connection, 2, text)

    database.write(work)
    assert texts(database) == [text, text]


def test_many_rows_are_written_behind_what_waits(database: Database) -> None:
    def work(connection: Connection) -> None:
        note(connection, 1, "first")
        deferral.later(connection, insert(NOTES), [{"id": number, "text": "more"} for number in (2, 3)])
        connection.execute(update(NOTES).where(NOTES.c.id == 2).values(text="second"), execution_options=DEFERRED)

    database.write(work)
    assert texts(database) == ["first", "second", "more"]


def test_more_writes_than_go_together_are_all_written_in_order(database: Database) -> None:
    def work(connection: Connection) -> None:
        for number in range(200):
            note(connection, number + 1, str(number))

    database.write(work)
    assert texts(database) == [str(number) for number in range(200)]
