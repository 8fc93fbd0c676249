"""What is open on a database until it is closed."""

from __future__ import annotations

from typing import Self

from audit.database import Database


class Opened:
    """A way into one database. Close it, or use it as a context manager."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def close(self) -> None:
        """Leave no connection open."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
