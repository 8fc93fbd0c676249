"""MariaDB's image, serving on 127.0.0.1 of a network: a database for each shop."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pymysql

from .image import Contained, Image, Mount
from .network import Network, network

USER: Final = 999
START_S: Final = 120
_FOLDERS: Final = ("/var/lib/mysql", "/run/mysqld", "/tmp")  # noqa: S108 - in the container
# Nothing waits for a disk: a test may end the server in order, and never kills it and reads on.
_SERVE: Final = [
    "docker-entrypoint.sh", "mariadbd", "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync",
    "--skip-innodb-doublewrite", "--innodb-buffer-pool-size=64M", "--skip-name-resolve",
]  # fmt: skip


@dataclass
class DatabaseServer:
    """A server, whose administrator comes through its socket. Its data outlives its process."""

    image: Image
    folder: Path
    network: Network
    root_password: str = field(default_factory=lambda: secrets.token_hex(8))
    arguments: Sequence[str] = ()
    """What the server is started with beside what every test needs."""
    own_mounts: Sequence[Mount] = ()
    _process: Contained | None = None

    def start(self) -> None:
        """Serve; what the data hold stays."""
        mounts = [Mount(self.folder / place.strip("/").replace("/", "-"), place) for place in _FOLDERS]
        for mount in mounts:
            mount.source.mkdir(parents=True, exist_ok=True)
            os.chown(mount.source, USER, USER)
        settings = {"MARIADB_ROOT_PASSWORD": self.root_password, "MARIADB_INITDB_SKIP_TZINFO": "1"}
        log = self.folder / "log"
        with log.open("ab") as output:
            self._process = self.image.start(
                [*_SERVE, *self.arguments],
                user=USER,
                mounts=[*mounts, *self.own_mounts],
                environment=settings,
                network=self.network,
                output=output,
            )
        await_ready(self._process, self._answers, log)

    def stop(self) -> None:
        """End the server as the end of its pod does: it writes what it has, and is gone."""
        self.query("SHUTDOWN")
        assert self._process is not None
        self._process.wait(START_S)

    def kill(self) -> None:
        """End the server at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def connect(self, database: str | None = None) -> pymysql.Connection[pymysql.cursors.Cursor]:
        """Return a connection as the administrator, which commits each statement."""
        return pymysql.connect(
            unix_socket=str(self.socket), user="root", password=self.root_password, database=database, autocommit=True
        )

    def query(self, statement: str, *arguments: object, database: str | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of one statement."""
        with contextlib.closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)
            return list(cursor.fetchall())

    def rows(self, statement: str, *arguments: object, database: str) -> list[dict[str, Any]]:
        """Return the rows of one statement by the names of their columns."""
        with (
            contextlib.closing(self.connect(database)) as connection,
            connection.cursor(pymysql.cursors.DictCursor) as cursor,
        ):
            cursor.execute(statement, arguments or None)
            return list(cursor.fetchall())

    @property
    def socket(self) -> Path:
        """Where the administrator comes in."""
        return self.folder / "run-mysqld/mysqld.sock"

    def _answers(self) -> bool:
        try:
            # Not by PyMySQL, which leaves its socket open when it cannot connect.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.socket))
            # The server that the entrypoint starts to make the root account does not listen on the network.
            return self.query("SELECT @@skip_networking") == [(0,)]
        except (OSError, pymysql.Error):
            return False


@contextlib.contextmanager
def database_server(image: Image, folder: Path, *addresses: str) -> Iterator[DatabaseServer]:
    """Serve MariaDB until the context ends, in a network of its own that has these addresses too."""
    with network(*addresses) as net:
        server = DatabaseServer(image, folder, net)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def await_ready(process: Contained, ready: Callable[[], bool], log: Path) -> None:
    """Return once it is ready. Fails with its log if it ends before that."""
    deadline = time.monotonic() + START_S
    while not ready():
        assert process.poll() is None, f"it ended:\n{log.read_text(errors='replace')}"
        assert time.monotonic() < deadline, f"not ready:\n{log.read_text(errors='replace')}"
        time.sleep(0.05)
