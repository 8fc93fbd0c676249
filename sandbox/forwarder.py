"""Carries connections from the machine into an instance's network.

The listening sockets were made by the machine's side and are inherited: a socket stays in the network it was made in,
while this process is in the node's. So no cable joins the two networks, and the way in ends with the instance.
Called as `python -m sandbox.forwarder DESCRIPTOR=ADDRESS:PORT ...`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Sequence
from typing import Final

_CHUNK_BYTES: Final = 256 * 1024
_CONNECT_TIMEOUT_S: Final = 10.0


async def serve(listener: socket.socket, host: str, port: int) -> None:
    """Forward every connection of `listener` to host:port until cancelled."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                upstream = await asyncio.open_connection(host, port, limit=_CHUNK_BYTES)
            try:
                await asyncio.gather(_copy(reader, upstream[1]), _copy(upstream[0], writer))
            finally:
                upstream[1].close()
        writer.close()

    server = await asyncio.start_server(forward, sock=listener, limit=_CHUNK_BYTES, backlog=512)
    async with server:
        await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # The end of one direction is passed on alone: the other side may still have an answer to give.
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


def parse(argument: str) -> tuple[int, str, int]:
    """Return descriptor, host and port of `DESCRIPTOR=ADDRESS:PORT`."""
    descriptor, _, target = argument.partition("=")
    host, _, port = target.rpartition(":")
    return int(descriptor), host, int(port)


async def run(arguments: Sequence[str]) -> None:
    """Serve every forward that the arguments name."""
    async with asyncio.TaskGroup() as group:
        for descriptor, host, port in map(parse, arguments):
            listener = socket.socket(fileno=descriptor)
            listener.settimeout(0)
            group.create_task(serve(listener, host, port))


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1:]))
