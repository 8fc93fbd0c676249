"""What differs between two property bags, leaf by leaf, in the engine's words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from sandbox.plugins.wire import UNKNOWN

Path = tuple[str | int, ...]


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


class Kind(Enum):
    """What happened to a leaf."""

    ADD = "add"
    DELETE = "delete"
    UPDATE = "update"


@dataclass(frozen=True)
class Change:
    """One leaf, or one whole subtree that appeared or went."""

    path: Path
    kind: Kind
    old: Any
    new: Any

    def __repr__(self) -> str:  # values may be secret
        return f"Change({dotted(self.path)}: {self.kind.value})"


def differences(old: Any, new: Any, path: Path = ()) -> Iterator[Change]:
    """Yield what has to change to get from `old` to `new`. Both without secret marks.

    A value that is not known yet counts as changed: whether it is can only be seen once it is there.
    """
    if new is MISSING:
        if old is not MISSING:
            yield Change(path, Kind.DELETE, old, new)
    elif old is MISSING:
        yield Change(path, Kind.ADD, old, new)
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from differences(old.get(key, MISSING), new.get(key, MISSING), (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            yield from differences(_item(old, index), _item(new, index), (*path, index))
    elif not same(old, new):
        yield Change(path, Kind.UPDATE, old, new)


def same(old: Any, new: Any) -> bool:
    """Say whether two values are equal as JSON: 1 is 1.0, but true is not 1."""
    if old is UNKNOWN or new is UNKNOWN:
        return False
    if isinstance(old, bool) is not isinstance(new, bool):
        return False
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    return bool(old == new)


def _item(items: Sequence[Any], index: int) -> Any:
    return items[index] if index < len(items) else MISSING


def value_at(document: Any, path: Path) -> Any:
    """Return what is at `path`, or MISSING."""
    for segment in path:
        if isinstance(segment, str):
            document = document.get(segment, MISSING) if isinstance(document, dict) else MISSING
        else:
            document = _item(document, segment) if isinstance(document, list) else MISSING
    return document


def dotted(path: Path) -> str:
    """Return the path as the engine writes it: `spec.ports[0]["a.b"]`."""
    text = ""
    for segment in path:
        if isinstance(segment, int):
            text += f"[{segment}]"
        elif any(character in segment for character in '."[]'):
            escaped = segment.replace('"', '\\"')
            text += f'["{escaped}"]'
        else:
            text += f".{segment}" if text else segment
    return text


def parse(text: str) -> Path:
    """Return the segments of a path in the engine's form; `*` stands for any one segment."""
    segments: list[str | int] = []
    rest = text
    while rest:
        if rest.startswith('["'):
            end = _closing_quote(rest)
            segments.append(rest[2:end].replace('\\"', '"'))
            rest = rest[end + 2 :]
        elif rest.startswith("["):
            inner, _, rest = rest[1:].partition("]")
            segments.append(int(inner) if inner.isdigit() else inner)
        else:
            rest = rest.removeprefix(".")
            length = next((index for index, character in enumerate(rest) if character in ".["), len(rest))
            segments.append(rest[:length])
            rest = rest[length:]
    return tuple(segments)


def _closing_quote(text: str) -> int:
    index = 2
    while index < len(text) and text[index] != '"':
        index += 2 if text[index] == "\\" else 1
    return index


def covered(path: Path, by: Iterable[Path]) -> bool:
    """Say whether `path` is, or lies below, one of the paths of `by`."""
    return any(
        len(prefix) <= len(path) and all(mine in ("*", theirs) for mine, theirs in zip(prefix, path, strict=False))
        for prefix in by
    )
