"""Ledgers for the tests: each gets an empty one, on SQLite and on a MariaDB server of the run's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit.ledger import Ledger
from audit.migrations import migrate
from tests.audit import mariadb_server


class FakeClock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def move(self, **step: float) -> None:
        """Move the clock; `step` as for timedelta."""
        self.moment += timedelta(**step)


@pytest.fixture
def clock() -> FakeClock:
    """Return the clock of the test's `ledger`."""
    return FakeClock()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[mariadb_server.MariadbServer]:
    """Return the run's MariaDB server, installed if need be."""
    try:
        with mariadb_server.running(*mariadb_server.NOT_DURABLE) as server:
            yield server
    except mariadb_server.MissingServerError as error:
        pytest.fail(str(error))


@pytest.fixture
def mariadb_url(mariadb: mariadb_server.MariadbServer) -> str:
    """Return the URL of an empty, migrated ledger on MariaDB."""
    url = mariadb.url(mariadb.new_database())
    migrate(url)
    return url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Return the URL of an SQLite ledger that does not exist yet."""
    return f"sqlite:///{tmp_path / 'ledger.sqlite'}"


@pytest.fixture(params=["sqlite", "mariadb"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty ledger, once on each database."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def ledger(ledger_url: str, clock: FakeClock) -> Iterator[Ledger]:
    """Return an empty ledger whose time is `clock`'s, once on each database."""
    with Ledger.open(ledger_url, now=clock) as opened:
        yield opened
