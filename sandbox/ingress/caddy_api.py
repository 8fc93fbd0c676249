"""Caddy in the same pod, through its admin address and the server that says what it serves."""

from __future__ import annotations

import http.client
import json

from sandbox.ingress.configuration import ADMIN, READY_PATH, READY_PORT, Json

_TIMEOUT_S = 30


class CaddyError(Exception):
    """Caddy refused a configuration, or cannot be reached."""


def load(config: Json) -> None:
    """Make Caddy serve the configuration; requests under way are finished by the old one. Raises CaddyError."""
    connection = http.client.HTTPConnection(ADMIN, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", "/load", body=json.dumps(config), headers={"Content-Type": "application/json"})
        response = connection.getresponse()
        said = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise CaddyError(f"Caddy does not take its configuration: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise CaddyError(f"Caddy refused its configuration: {response.status} {said}")


def served() -> str | None:
    """Return the marker of the configuration that Caddy serves; None if it serves none of ours, or does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", READY_PORT, timeout=5)
    try:
        connection.request("GET", READY_PATH)
        response = connection.getresponse()
        return response.read().decode() if response.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
