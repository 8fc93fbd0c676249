"""Who set a field: the entries by which the API server tracks the managers of every object's fields.

The format is that of structured-merge-diff's FieldsV1: `f:name` is a field of a map, `k:{"name":"x"}` an item of a
list by its keys, `v:value` an item of a set, `i:0` an item by position, and "." the item itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.plugins.difference import Path


def owns(managed_fields: Iterable[Mapping[str, Any]], manager: str, path: Path, live: Mapping[str, Any]) -> bool:
    """Say whether `manager` has set the field at `path`, or anything below it, by server-side apply."""
    return any(
        entry.get("manager") == manager
        and entry.get("operation") == "Apply"
        and not entry.get("subresource")
        and _reaches(entry.get("fieldsV1") or {}, path, live)
        for entry in managed_fields
    )


def _reaches(fields: Mapping[str, Any], path: Path, live: Any) -> bool:
    if not path:
        return True
    head, rest = path[0], path[1:]
    if isinstance(head, str):
        below = fields.get(f"f:{head}")
        value = live.get(head) if isinstance(live, dict) else None
    else:
        value = live[head] if isinstance(live, list) and head < len(live) else None
        below = _item(fields, head, value)
    if below is None:
        return False
    # An empty entry is a leaf: all that is below it belongs together.
    return not below or _reaches(below, rest, value)


def _item(fields: Mapping[str, Any], index: int, value: Any) -> Mapping[str, Any] | None:
    for key, below in fields.items():
        if key.startswith("k:") and isinstance(value, dict):
            wanted = json.loads(key[2:])
            if all(value.get(name) == content for name, content in wanted.items()):
                return dict(below)
        elif key == f"i:{index}" or (key.startswith("v:") and json.loads(key[2:]) == value):
            return dict(below)
    return None
