"""A network that has nothing but a loopback, and sockets in it for programs of this process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CLONE_NEWNET: Final = 0x40000000
_HOLD: Final = """
set -eu
ip link set lo up
for address in "$@"; do ip address add "$address/32" dev lo; done
echo up
exec sleep infinity
"""


@dataclass(frozen=True)
class Network:
    """A network that exists as long as the process `pid`."""

    pid: int

    @property
    def path(self) -> Path:
        """What other processes enter it by."""
        return Path(f"/proc/{self.pid}/ns/net")

    def connect(self, host: str, port: int) -> socket.socket:
        """Return a connection to an address of the network; raises OSError."""
        return self._inside(lambda: socket.create_connection((host, port), timeout=60))

    def listen(self, host: str, port: int) -> socket.socket:
        """Return a socket that listens on an address of the network."""
        return self._inside(lambda: socket.create_server((host, port)))

    def _inside(self, make: Callable[[], socket.socket]) -> socket.socket:
        """Return a socket that was made inside: a socket stays in the network of the thread that made it."""
        with ThreadPoolExecutor(max_workers=1, initializer=self._enter) as thread:
            return thread.submit(make).result()

    def _enter(self) -> None:
        with self.path.open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextlib.contextmanager
def network(*addresses: str) -> Iterator[Network]:
    """Give a network until the context ends; its loopback has these IPv4 addresses beside its own."""
    command = ["unshare", "--net", "sh", "-c", _HOLD, "network", *addresses]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"up\n"
            yield Network(holder.pid)
        finally:
            holder.kill()
