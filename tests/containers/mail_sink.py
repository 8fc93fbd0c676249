"""A small mail server for tests: STARTTLS or TLS, AUTH, and every mail that it took."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any


@dataclass
class Mail:
    """One mail as it was handed over."""

    sender: str
    recipients: list[str]
    content: bytes
    user: str
    encrypted: bool

    @property
    def message(self) -> EmailMessage:
        parsed = message_from_bytes(self.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed


@dataclass
class MailSink:
    """Takes mail on a socket that listens already."""

    listening: socket.socket
    context: ssl.SSLContext | None = None
    starttls: bool = True
    user: str = ""
    password: str = ""
    refusal: str = ""
    """What to say to each recipient, by 550; `{address}` and `{name}` stand for who that is. Empty: all are welcome."""
    mails: list[Mail] = field(default_factory=list)
    refused_passwords: int = 0
    connections: int = 0

    def __post_init__(self) -> None:
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        # Closing alone leaves the port to the thread that waits on it.
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, plain: socket.socket) -> None:
        # A client that breaks off, for example because it does not trust the certificate, is no failure of the test.
        with contextlib.suppress(OSError, ConnectionError):
            connection: socket.socket = plain
            if self.context is not None and not self.starttls:
                connection = self.context.wrap_socket(plain, server_side=True)
            _Conversation(self, connection).run()


class _Conversation:
    def __init__(self, sink: MailSink, connection: socket.socket) -> None:
        self._sink = sink
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._user = ""
        self._sender = ""
        self._recipients: list[str] = []

    def run(self) -> None:
        self._say(220, "sink")
        while line := self._lines.readline():
            verb, _, rest = line.decode(errors="replace").strip().partition(" ")
            answer = getattr(self, f"_do_{verb.lower()}", None)
            if verb.upper() == "QUIT":
                self._say(221, "bye")
                break
            if answer is None:
                self._say(502, "not known")
            else:
                answer(rest)
        self._connection.close()

    @property
    def _encrypted(self) -> bool:
        return isinstance(self._connection, ssl.SSLSocket)

    def _do_ehlo(self, _rest: str) -> None:
        offers = ["sink", "8BITMIME"]
        if self._sink.context is not None and not self._encrypted and self._sink.starttls:
            offers.append("STARTTLS")
        if self._sink.user and (self._encrypted or self._sink.context is None):
            offers.append("AUTH PLAIN LOGIN")
        for offer in offers[:-1]:
            self._connection.sendall(f"250-{offer}\r\n".encode())
        self._say(250, offers[-1])

    _do_helo = _do_ehlo

    def _do_starttls(self, _rest: str) -> None:
        if self._sink.context is None:
            self._say(502, "not known")
            return
        self._say(220, "go ahead")
        self._connection = self._sink.context.wrap_socket(self._connection, server_side=True)
        self._lines = self._connection.makefile("rb")

    def _do_auth(self, rest: str) -> None:
        mechanism, _, first = rest.partition(" ")
        if mechanism.upper() == "PLAIN":
            _, user, password = _decoded(first or self._asked("")).split("\0")
        else:
            user = _decoded(first) if first else _decoded(self._asked("VXNlcm5hbWU6"))
            password = _decoded(self._asked("UGFzc3dvcmQ6"))
        if (user, password) == (self._sink.user, self._sink.password):
            self._user = user
            self._say(235, "welcome")
        else:
            self._sink.refused_passwords += 1
            self._say(535, "wrong user or password")

    def _do_mail(self, rest: str) -> None:
        if self._sink.user and not self._user:
            self._say(530, "authentication required")
            return
        self._sender = _address(rest)
        self._recipients = []
        self._say(250, "ok")

    def _do_rcpt(self, rest: str) -> None:
        address = _address(rest)
        if self._sink.refusal:
            self._say(550, self._sink.refusal.format(address=address, name=address.partition("@")[0]))
            return
        self._recipients.append(address)
        self._say(250, "ok")

    def _do_data(self, _rest: str) -> None:
        self._say(354, "go on")
        content = bytearray()
        while (line := self._lines.readline()) not in {b".\r\n", b""}:
            content += line.removeprefix(b".") if line.startswith(b"..") else line
        mail = Mail(self._sender, self._recipients, bytes(content), self._user, self._encrypted)
        self._sink.mails.append(mail)
        self._say(250, "taken")

    def _do_rset(self, _rest: str) -> None:
        self._say(250, "ok")

    def _do_noop(self, _rest: str) -> None:
        self._say(250, "ok")

    def _asked(self, challenge: str) -> str:
        self._say(334, challenge)
        return str(self._lines.readline().decode().strip())

    def _say(self, code: int, text: str) -> None:
        self._connection.sendall(f"{code} {text}\r\n".encode())


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()


def _address(rest: str) -> str:
    return rest.partition("<")[2].partition(">")[0]


def server_context(certificate: Any, key: Any) -> ssl.SSLContext:
    """Return what a TLS server needs, from two files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
