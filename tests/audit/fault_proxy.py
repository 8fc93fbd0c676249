"""A proxy between the ledger and MariaDB that breaks one commit, at the moment and in the way that a test names."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

# A query that is a commit alone (the command for a query, and its text), or that ends with one.
_COMMITS = (b"\x03COMMIT", b"; COMMIT; END")


class Fault(Enum):
    """What happens to the next commit: does it reach the server, and how does its client learn nothing of it."""

    DONE_THEN_RESET = (True, False)
    LOST_AND_RESET = (False, False)
    DONE_THEN_SILENCE = (True, True)
    LOST_IN_SILENCE = (False, True)

    @property
    def reaches_server(self) -> bool:
        return self.value[0]

    @property
    def is_silent(self) -> bool:
        return self.value[1]


@dataclass
class _Pair:
    """A client's connection and the one that was made for it."""

    client: socket.socket
    server: socket.socket
    fault: Fault | None = None

    def end(self) -> None:
        for connection in (self.client, self.server):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class FaultProxy:
    """Listens on a unix socket and hands everything on, but for the commit that was named by `break_next_commit`."""

    def __init__(self, path: Path, upstream: Path) -> None:
        self.path = path
        self._upstream = upstream
        self._fault: Fault | None = None
        self.broken = 0
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def break_next_commit(self, fault: Fault) -> None:
        """Arm the proxy, once."""
        self._fault = fault

    def close(self) -> None:
        """End every connection."""
        for connection in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._upstream))
            self._open += [client, server]
            pair = _Pair(client, server)
            for direction in (self._to_server, self._to_client):
                threading.Thread(target=direction, args=(pair,), daemon=True).start()

    def _to_server(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while chunk := pair.client.recv(65536):
                if self._fault is not None and any(commit in chunk for commit in _COMMITS):
                    pair.fault, self._fault = self._fault, None
                    self.broken += 1
                    if not pair.fault.reaches_server:
                        if not pair.fault.is_silent:
                            break
                        continue
                pair.server.sendall(chunk)
        if pair.fault is not Fault.LOST_IN_SILENCE:
            pair.end()

    def _to_client(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while chunk := pair.server.recv(65536):
                if pair.fault is None:
                    pair.client.sendall(chunk)
                elif not pair.fault.is_silent:
                    break  # this was the answer to the commit
        if pair.fault is None or not pair.fault.is_silent:
            pair.end()
