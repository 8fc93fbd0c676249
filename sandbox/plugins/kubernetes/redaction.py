"""Takes secret values out of texts that other programs wrote, before a person or a log sees them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Final

_MASK: Final = "[secret]"
# Shorter values would tear ordinary words apart, and say little.
_SHORTEST: Final = 4


class Redactor:
    """Knows some secret values, in the notations in which programs repeat them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        notations: set[str] = set()
        for secret in secrets:
            for line in {secret, *secret.splitlines(), *_decoded(secret)}:
                if len(line) >= _SHORTEST:
                    notations |= {line, json.dumps(line)[1:-1], base64.b64encode(line.encode()).decode()}
        # The longest first: a value may be part of another.
        self._notations = sorted(notations, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """Return the text without the values."""
        for notation in self._notations:
            text = text.replace(notation, _MASK)
        return text


def _decoded(secret: str) -> list[str]:
    """Return what a Secret's value says, as it is given in base64."""
    try:
        return base64.b64decode(secret, validate=True).decode().splitlines()
    except (binascii.Error, UnicodeDecodeError):
        return []
