"""Amounts of memory, storage and CPU: text as people and Kubernetes write it, whole numbers inside.

The grammar is Kubernetes' own (reference page "Quantity" of its API documentation) without signs, exponents and
fractions of a byte or of a thousandth of a CPU: nobody means those in a manifest.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

BINARY_SUFFIXES: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
DECIMAL_SUFFIXES: Final = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}

NUMBER: Final = r"(?:[0-9]{1,19}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})"
BYTES_PATTERN: Final = rf"^{NUMBER}(?:[KMGTPE]i|[kMGTPE])?$"
CPU_PATTERN: Final = rf"^{NUMBER}m?$"

_PARTS: Final = re.compile(rf"(?P<number>{NUMBER})(?P<suffix>[A-Za-z]*)")
_BYTE_UNITS: Final = {**BINARY_SUFFIXES, **DECIMAL_SUFFIXES, "": 1}
_CPU_UNITS: Final = {"": 1000, "m": 1}


class QuantityError(ValueError):
    """A text is no quantity of its kind: `what` is wrong with it, `cure` is what to write."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what}; {cure}")
        self.what = what
        self.cure = cure


def parse_bytes(text: str) -> int:
    """Return the number of bytes that `text` names, e.g. `768Mi` or `1.5Gi`. Raises QuantityError."""
    number, suffix = _split(text, "write a number with Mi or Gi, e.g. 768Mi")
    if suffix not in _BYTE_UNITS:
        raise QuantityError(f"{text} has the unknown unit {suffix}", f"write {_byte_suggestion(number, suffix)}")
    return _whole(number * _BYTE_UNITS[suffix], f"{text} is not a whole number of bytes")


def parse_cpu_millis(text: str) -> int:
    """Return the thousandths of a CPU that `text` names, e.g. 500 for `500m`, 2000 for `2`. Raises QuantityError."""
    number, suffix = _split(text, "write CPUs or thousandths of one, e.g. 500m")
    if suffix not in _CPU_UNITS:
        raise QuantityError(f"{text} has the unit {suffix}, which CPU has not", "write e.g. 500m, or 2 for two CPUs")
    return _whole(number * _CPU_UNITS[suffix], f"{text} is finer than a thousandth of a CPU")


def format_bytes(count: int) -> str:
    """Return the one text that the platform writes for `count` bytes; `parse_bytes` gives `count` back."""
    for suffixes in (BINARY_SUFFIXES, DECIMAL_SUFFIXES):
        for suffix, size in reversed(suffixes.items()):
            if count and count % size == 0:
                return f"{count // size}{suffix}"
    return str(count)


def format_cpu_millis(count: int) -> str:
    """Return the one text that the platform writes for `count` thousandths of a CPU: `2`, `500m`."""
    return str(count // 1000) if count % 1000 == 0 else f"{count}m"


def _split(text: str, cure: str) -> tuple[Decimal, str]:
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise QuantityError(f"{text or 'an empty text'} is not an amount", cure)
    return Decimal(parts["number"]), parts["suffix"]


def _whole(amount: Decimal, what: str) -> int:
    if amount != amount.to_integral_value():
        raise QuantityError(what, "round it up")
    return int(amount)


def _byte_suggestion(number: Decimal, suffix: str) -> str:
    """Return what was probably meant: `9GB` is 9Gi, and `500m` (half a byte) is 500Mi."""
    letter = suffix[0].upper()
    return f"{number}{letter}i" if f"{letter}i" in BINARY_SUFFIXES else f"{number}Mi or {number}Gi"
