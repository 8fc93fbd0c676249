from __future__ import annotations

import asyncio
import socket

from sandbox import forwarder

TIMEOUT_S = 20.0


async def echo_after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer only when the other side has said everything, as some protocols do."""
    writer.write((await reader.read()).upper())
    await writer.drain()
    writer.close()


def listener() -> socket.socket:
    found = socket.socket()
    found.bind(("127.0.0.1", 0))
    found.listen()
    found.settimeout(0)
    return found


def test_the_targets_of_a_command_line_are_read() -> None:
    assert forwarder.parse("5=10.99.0.1:80") == (5, "10.99.0.1", 80)


def test_an_answer_that_comes_after_the_end_of_the_question_is_carried() -> None:
    payload = b"x" * 3_000_000

    async def talk() -> bytes:
        upstream = await asyncio.start_server(echo_after_the_end, "127.0.0.1", 0)
        front = listener()
        serving = asyncio.create_task(forwarder.serve(front, *upstream.sockets[0].getsockname()))
        reader, writer = await asyncio.open_connection(*front.getsockname())
        writer.write(payload)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        serving.cancel()
        upstream.close()
        return answer

    assert asyncio.run(asyncio.wait_for(talk(), TIMEOUT_S)) == payload.upper()


def test_a_connection_that_leads_nowhere_is_closed_and_the_next_one_served() -> None:
    async def talk() -> list[bytes]:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            port = nobody.getsockname()[1]
            front = listener()
            serving = asyncio.create_task(forwarder.serve(front, "127.0.0.1", port))
            answers = []
            for _ in range(2):
                reader, writer = await asyncio.open_connection(*front.getsockname())
                answers.append(await reader.read())
                writer.close()
            serving.cancel()
            return answers

    assert asyncio.run(asyncio.wait_for(talk(), TIMEOUT_S)) == [b"", b""]
