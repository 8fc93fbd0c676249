"""Pieces of Caddy's configuration that the front and the router share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


def server(listen: str, *protocols: str) -> Json:
    """Return a server without routes."""
    return {
        "listen": [listen],
        "protocols": list(protocols),
        # No request is sent from http to https: from outside the sandbox the ports are others than here, so the new
        # address would lead nowhere.
        "automatic_https": {"disable": True},
    }


def text(status: int | str, body: str, headers: Mapping[str, list[str]] | None = None) -> Json:
    """Return a handler that answers with a line of text."""
    return {
        "handler": "static_response",
        "status_code": status,
        "headers": {"Content-Type": ["text/plain; charset=utf-8"], **(headers or {})},
        "body": body,
    }
