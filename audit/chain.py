"""The hash chain: which bytes of an entry are hashed, and how one entry seals the one before.

The bytes are those of the stored columns, each with its kind and length in front, so that no two different entries
have the same bytes and none can borrow from its neighbour field. Times are whole microseconds, exactly as stored.
Changing anything here breaks the verification of every log there is: a new form needs a new `VERSION`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Final

from audit.records import Metadata

VERSION: Final = b"stores-audit-1"

# The order of the hashed columns. `prev_hash` goes first, by itself; `hash` is the result.
HASHED_COLUMNS: Final = (
    "seq",
    "entry_id",
    "run_id",
    "actor",
    "actor_kind",
    "source_ip",
    "occurred_at",
    "recorded_at",
    "environment",
    "store_id",
    "owner",
    "action",
    "outcome",
    "reason",
    "metadata",
)

Stored = int | str | None


def genesis_hash(chain_id: str) -> str:
    """Return what the first entry of a chain has as `prev_hash`: entries of two ledgers never fit each other."""
    return hashlib.sha256(VERSION + b"\0genesis\0" + chain_id.encode()).hexdigest()


def entry_hash(prev_hash: str, values: Sequence[Stored]) -> str:
    """Return the hash that seals `values`, given in the order of HASHED_COLUMNS as they are stored."""
    parts = [VERSION, bytes.fromhex(prev_hash)]
    for value in values:
        if value is None:
            parts.append(b"-")
        elif isinstance(value, int):
            digits = b"%d" % value
            parts.append(b"i%d:" % len(digits) + digits)
        else:
            text = value.encode()
            parts.append(b"s%d:" % len(text) + text)
    return hashlib.sha256(b"".join(parts)).hexdigest()


def to_json(metadata: Metadata) -> str:
    """Return the one text of `metadata`: keys sorted, no blanks, ASCII only, so that a database cannot recode it."""
    return json.dumps(_plain(metadata), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def from_json(text: str) -> Metadata:
    """Return the metadata that `to_json` wrote."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(f"metadata must be an object, not {type(value).__name__}")
    return value


def _plain(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "items"):
        return {str(key): _plain(item) for key, item in value.items()}
    raise TypeError(f"metadata cannot hold a {type(value).__name__}: give text or numbers")
