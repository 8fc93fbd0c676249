"""The router in the same pod, through its admin address and the server that says what it serves."""

from __future__ import annotations

import http.client
import json

from sandbox.ingress.addresses import READY_PATH, Addresses
from sandbox.ingress.caddy_json import Json

_TIMEOUT_S = 30
_ATTEMPTS = 3


class CaddyError(Exception):
    """Caddy refused a configuration, or cannot be reached."""


def load(config: Json, addresses: Addresses) -> None:
    """Make the router serve the configuration; requests under way are finished by the old one. Raises CaddyError."""
    connection = http.client.HTTPConnection(addresses.router_admin, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", "/load", body=json.dumps(config), headers={"Content-Type": "application/json"})
        response = connection.getresponse()
        said = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise CaddyError(f"the router does not take its configuration: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise CaddyError(f"the router refused its configuration: {response.status} {said}")


def served(addresses: Addresses) -> str | None:
    """Return the marker of the configuration that the router serves; None if it serves none, or does not answer."""
    for _ in range(_ATTEMPTS):
        connection = http.client.HTTPConnection(addresses.router_control, timeout=5)
        try:
            connection.request("GET", READY_PATH)
            response = connection.getresponse()
            return response.read().decode() if response.status == 200 else None
        except ConnectionRefusedError:
            return None
        except (OSError, http.client.HTTPException):
            # A server that was just replaced may drop what it has not read yet.
            continue
        finally:
            connection.close()
    return None
