"""Random identifiers, bytes and integers."""

from __future__ import annotations

import base64
import binascii
import secrets
import uuid
from collections.abc import Iterator, Mapping
from typing import Any


def identifier(arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return id and results of fresh bytes in five notations, each with the prefix."""
    return _identifier(secrets.token_bytes(arguments["byteLength"]), arguments["prefix"])


def imported_identifier(value: str) -> tuple[str, dict[str, Any]]:
    """Return id and outputs; the import id is `<url-safe base64>`, or `<prefix>,<url-safe base64>`."""
    prefix, comma, encoded = value.rpartition(",")
    raw = _decoded(encoded, b"-_", value)
    name, results = _identifier(raw, prefix if comma else None)
    return name, results | {"byteLength": len(raw), "prefix": prefix if comma else None, "keepers": None}


def _identifier(raw: bytes, prefix: str | None) -> tuple[str, dict[str, Any]]:
    url_safe = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    notations = {
        "b64Url": url_safe,
        "b64Std": base64.b64encode(raw).decode(),
        "hex": raw.hex(),
        "dec": str(int.from_bytes(raw)),
    }
    return url_safe, {name: (prefix or "") + notation for name, notation in notations.items()}


def universal(_arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return id and results of a fresh UUID of version 4."""
    result = str(uuid.uuid4())
    return result, {"result": result}


def imported_universal(value: str) -> tuple[str, dict[str, Any]]:
    """Return id and outputs; the import id is the UUID."""
    result = str(uuid.UUID(value))
    return result, {"result": result, "keepers": None}


def integer(arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return id and results of a fresh integer between `min` and `max`, both possible."""
    result = arguments["min"] + secrets.randbelow(arguments["max"] - arguments["min"] + 1)
    return str(result), {"result": result}


def integer_problems(arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (argument, what is wrong with it)."""
    if arguments["min"] > arguments["max"]:
        yield "min", f"min {arguments['min']} is over max {arguments['max']}; swap them"
    if arguments.get("seed") is not None:
        yield "seed", "the sandbox's plugin cannot repeat the official plugin's seeded numbers; leave seed out"


def imported_integer(value: str) -> tuple[str, dict[str, Any]]:
    """Return id and outputs; the import id is `<result>,<min>,<max>`."""
    parts = value.split(",")
    if len(parts) != 3:
        raise ValueError(f"import id '{value}' is not <result>,<min>,<max>")
    result, low, high = (int(part) for part in parts)
    return str(result), {"result": result, "min": low, "max": high, "keepers": None, "seed": None}


def octets(arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return id and results of fresh bytes."""
    return _octets(secrets.token_bytes(arguments["length"]))


def imported_octets(value: str) -> tuple[str, dict[str, Any]]:
    """Return id and outputs; the import id is the bytes in base64."""
    raw = _decoded(value, b"+/", value)
    name, results = _octets(raw)
    return name, results | {"length": len(raw), "keepers": None}


def _octets(raw: bytes) -> tuple[str, dict[str, Any]]:
    encoded = base64.b64encode(raw).decode()
    return encoded, {"base64": encoded, "hex": raw.hex()}


def length_problems(name: str, arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a number of bytes."""
    if arguments[name] < 1:
        yield name, f"{name} is {arguments[name]}; it must be at least 1"


def _decoded(encoded: str, alphabet: bytes, shown: str) -> bytes:
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=alphabet, validate=True)
    except binascii.Error as error:
        raise ValueError(f"import id '{shown}' is not base64: {error}") from error
