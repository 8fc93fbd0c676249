"""A MariaDB server of the tests' own: data, socket and log in one temporary folder, no network, never as root."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql

# The programs alone: no service, no system database.
SERVER_PACKAGES = ("mariadb-server-core", "mariadb-client-core")
START_S = 60

# For tests that never kill the server: nothing waits for a disk.
NOT_DURABLE = ("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--skip-innodb-doublewrite",
               "--skip-sync-frm")  # fmt: skip


class MissingServerError(Exception):
    """There is no MariaDB server, and it cannot be installed here."""


@dataclass
class MariadbServer:
    """A running server. Its administrator needs no password, but can only come through the socket."""

    folder: Path
    process: subprocess.Popen[bytes]
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def socket_path(self) -> Path:
        return self.folder / "socket"

    def url(self, database: str, user: str = "root", password: str = "") -> str:
        """Return the URL of a database for the ledger."""
        secret = f":{password}" if password else ""
        return f"mariadb://{user}{secret}@localhost/{database}?unix_socket={self.socket_path}"

    def connect(
        self, database: str | None = None, *, user: str = "root", password: str = ""
    ) -> pymysql.Connection[pymysql.cursors.Cursor]:
        """Return a plain connection, which commits each statement."""
        return pymysql.connect(
            unix_socket=str(self.socket_path),
            user=user,
            password=password,
            database=database,
            autocommit=True,
            read_timeout=30,
        )

    def execute(self, *statements: str, database: str | None = None) -> None:
        """Run statements as the administrator."""
        with contextlib.closing(self.connect(database)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def new_database(self) -> str:
        """Return the name of a database that nobody has used."""
        name = f"ledger_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return name


def program(name: str) -> str:
    """Return the path of a program of the server, which is installed if that is possible."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
    found = shutil.which(name, path=path)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "-y", "--no-install-recommends", *SERVER_PACKAGES]):
            subprocess.run(["apt-get", "-qq", *command], check=True, env=environment, stdout=subprocess.DEVNULL)
        found = shutil.which(name, path=path)
    if found is None:
        raise MissingServerError(f"{name} is missing; install Debian's {' and '.join(SERVER_PACKAGES)}")
    return found


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Return the process of a server over the data in `folder`, which answers."""
    log = (folder / "log").open("ab")
    process = subprocess.Popen(
        [
            program("mariadbd"),
            "--no-defaults",
            f"--datadir={folder / 'data'}",
            f"--socket={folder / 'socket'}",
            f"--pid-file={folder / 'pid'}",
            f"--tmpdir={folder / 'tmp'}",
            "--skip-networking",
            "--skip-log-bin",
            "--max-connections=400",
            "--innodb-buffer-pool-size=128M",
            "--innodb-log-file-size=64M",
            *options,
        ],
        stdout=log,
        stderr=log,
        **_identity(),
    )
    log.close()
    _await(process, folder)
    return process


@contextlib.contextmanager
def running(*options: str) -> Iterator[MariadbServer]:
    """Run a server until the end of the block; leave nothing of it."""
    folder = Path(tempfile.mkdtemp(prefix="stores-mariadb-"))
    try:
        for name in ("data", "tmp"):
            (folder / name).mkdir()
        if os.geteuid() == 0:
            for path in (folder, folder / "data", folder / "tmp"):
                shutil.chown(path, "nobody", "nogroup")
        program("my_print_defaults")  # the other program needs it
        subprocess.run(
            [
                program("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={folder / 'data'}",
                f"--tmpdir={folder / 'tmp'}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **_identity(),
        )
        server = MariadbServer(folder, start(folder, *options))
        try:
            yield server
        finally:
            server.process.kill()
            server.process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _identity() -> dict[str, Any]:
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def _await(process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            # Not by PyMySQL, which leaves its socket open when it cannot connect.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(folder / "socket"))
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"MariaDB did not start:\n{(folder / 'log').read_text()}") from None
            time.sleep(0.05)
        else:
            return
