"""Random passwords and strings: which arguments they take, and how one is drawn."""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sandbox.plugins.random import bcrypt

_SPECIAL: Final = "!@#$%&*()-_=+[]{}<>:?"
# Class of characters, the argument that allows it, the argument that asks for a minimum of it.
_CLASSES: Final = (
    ("lower", "minLower", string.ascii_lowercase),
    ("upper", "minUpper", string.ascii_uppercase),
    ("numeric", "minNumeric", string.digits),
    ("special", "minSpecial", _SPECIAL),
)

TYPES: Final[Mapping[str, type]] = {
    "length": int,
    **{flag: bool for flag, _, _ in _CLASSES},
    **{minimum: int for _, minimum, _ in _CLASSES},
    "number": bool,
    "overrideSpecial": str,
    "keepers": dict,
}
DEFAULTS: Final[Mapping[str, Any]] = {
    **{flag: True for flag, _, _ in _CLASSES},
    **{minimum: 0 for _, minimum, _ in _CLASSES},
    "number": True,
    "overrideSpecial": None,
    "keepers": None,
}


def effective(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments with their defaults. `number` is the old name of `numeric`; either sets both."""
    filled = {**DEFAULTS, **arguments}
    if "numeric" not in arguments:
        filled["numeric"] = filled["number"]
    filled["number"] = filled["numeric"]
    return filled


def problems(arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (argument, what is wrong with it) for known arguments of the right types."""
    if arguments.get("number", arguments.get("numeric")) != arguments.get("numeric", arguments.get("number")):
        yield "number", "`number` is the old name of `numeric` and must not differ from it; leave it out"
    filled = effective(arguments)
    least = sum(filled[minimum] for _, minimum, _ in _CLASSES)
    if filled["length"] < 1:
        yield "length", f"length is {filled['length']}; it must be at least 1"
    elif filled["length"] < least:
        yield "length", f"length is {filled['length']}, but the minimums add up to {least}; make it at least that"
    if not any(filled[flag] for flag, _, _ in _CLASSES):
        yield "lower", "no class of characters is allowed; set one of lower, upper, numeric, special to true"


def draw(arguments: Mapping[str, Any]) -> str:
    """Return a text that holds the minimums; every text that does is equally likely up to their placing."""
    alphabets = {flag: alphabet for flag, _, alphabet in _CLASSES}
    if arguments["overrideSpecial"] is not None:
        alphabets["special"] = arguments["overrideSpecial"]
    characters = [secrets.choice(alphabets[flag]) for flag, minimum, _ in _CLASSES for _ in range(arguments[minimum])]
    everything = "".join(alphabets[flag] for flag, _, _ in _CLASSES if arguments[flag])
    characters += [secrets.choice(everything) for _ in range(arguments["length"] - len(characters))]
    secrets.SystemRandom().shuffle(characters)
    return "".join(characters)


def password(arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return id and results of a fresh password. The id tells nothing."""
    return "none", _password_results(draw(arguments))


def text(arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return id and results of a fresh string."""
    result = draw(arguments)
    return result, {"result": result}


def imported_password(value: str) -> tuple[str, dict[str, Any]]:
    """Return id and outputs of a password that exists; the import id is the password itself."""
    return "none", effective({"length": len(value)}) | _password_results(value)


def imported_text(value: str) -> tuple[str, dict[str, Any]]:
    """Return id and outputs of a string that exists; the import id is the string itself."""
    return value, effective({"length": len(value)}) | {"result": value}


def _password_results(value: str) -> dict[str, Any]:
    hashed = bcrypt.digest(value)
    # Without bcrypt in the system the output is left out: an absent value is honest, an empty one is not.
    return {"result": value} | ({"bcryptHash": hashed} if hashed else {})
