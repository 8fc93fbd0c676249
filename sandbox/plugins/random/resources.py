"""The types of pulumi-random that the plugin knows, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from sandbox.plugins.random import numbers, text

Outcome = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Definition:
    """One type: its arguments, and how an instance comes to be."""

    types: Mapping[str, type]
    required: tuple[str, ...]
    draw: Callable[[Mapping[str, Any]], Outcome]
    """Arguments with defaults -> id and results."""
    imported: Callable[[str], Outcome]
    """Import id -> id, and all outputs. Raises ValueError."""
    results: tuple[str, ...]
    secrets: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    problems: Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]] = lambda _: ()
    effective: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None

    def filled(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments with their defaults."""
        if self.effective is not None:
            return self.effective(arguments)
        return {**dict.fromkeys(self.types), **self.defaults, **arguments}


_TEXT: Final[dict[str, Any]] = {
    "types": text.TYPES,
    "required": ("length",),
    "problems": text.problems,
    "effective": text.effective,
}

DEFINITIONS: Final[Mapping[str, Definition]] = {
    "random:index/randomPassword:RandomPassword": Definition(
        **_TEXT,
        draw=text.password,
        imported=text.imported_password,
        results=("result", "bcryptHash"),
        secrets=frozenset({"result", "bcryptHash"}),
    ),
    "random:index/randomString:RandomString": Definition(
        **_TEXT, draw=text.text, imported=text.imported_text, results=("result",)
    ),
    "random:index/randomId:RandomId": Definition(
        types={"byteLength": int, "prefix": str, "keepers": dict},
        required=("byteLength",),
        draw=numbers.identifier,
        imported=numbers.imported_identifier,
        results=("b64Url", "b64Std", "hex", "dec"),
        problems=partial(numbers.length_problems, "byteLength"),
    ),
    "random:index/randomUuid:RandomUuid": Definition(
        types={"keepers": dict},
        required=(),
        draw=numbers.universal,
        imported=numbers.imported_universal,
        results=("result",),
    ),
    "random:index/randomInteger:RandomInteger": Definition(
        types={"min": int, "max": int, "seed": str, "keepers": dict},
        required=("min", "max"),
        draw=numbers.integer,
        imported=numbers.imported_integer,
        results=("result",),
        problems=numbers.integer_problems,
    ),
    "random:index/randomBytes:RandomBytes": Definition(
        types={"length": int, "keepers": dict},
        required=("length",),
        draw=numbers.octets,
        imported=numbers.imported_octets,
        results=("base64", "hex"),
        secrets=frozenset({"base64", "hex"}),
        problems=partial(numbers.length_problems, "length"),
    ),
}
