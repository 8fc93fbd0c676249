"""Whom a shop's webhooks go to: it takes everything, remembers it, and answers what it is told to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .network import Network
from .serving import RECEIVER_IP


@dataclass(frozen=True)
class Delivery:
    """One request that the receiver got."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)

    @property
    def topic(self) -> str:
        return self.headers.get("X-WC-Webhook-Topic", "")

    def is_signed(self, secret: str) -> bool:
        """Return whether the request was signed as WooCommerce does, with this secret."""
        wanted = base64.b64encode(hmac.new(secret.encode(), self.body, hashlib.sha256).digest()).decode()
        return hmac.compare_digest(wanted, self.headers.get("X-WC-Webhook-Signature", ""))


class Receiver:
    """A receiver of webhooks at an address of a network."""

    def __init__(
        self, network: Network, port: int = 9000, *, host: str = RECEIVER_IP, context: ssl.SSLContext | None = None
    ) -> None:
        self.deliveries: list[Delivery] = []
        # The status of each answer: the next of these, and 200 when there is none.
        self.answers: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.deliveries.append(Delivery(dict(self.headers.items()), body))
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer((host, port), Handler, bind_and_activate=False)
        self._server.socket.close()
        listening = network.listen(host, port)
        self._server.socket = context.wrap_socket(listening, server_side=True) if context else listening
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of(self, topic: str) -> list[Delivery]:
        return [delivery for delivery in self.deliveries if delivery.topic == topic]


def urls(deliveries: Sequence[Delivery]) -> list[str]:
    """Return the topics in order, for messages."""
    return [delivery.topic or delivery.body.decode(errors="replace") for delivery in deliveries]
