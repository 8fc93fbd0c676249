"""Who set a field: the entries by which the API server tracks the managers of every object's fields.

The format is that of structured-merge-diff's FieldsV1, of which only fields of maps are looked at: `f:name`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def owns(managed_fields: Iterable[Mapping[str, Any]], manager: str, names: Sequence[str]) -> bool:
    """Say whether `manager` has set the field, or anything below it, by server-side apply."""
    return any(
        entry.get("manager") == manager
        and entry.get("operation") == "Apply"
        and not entry.get("subresource")
        and _reaches(entry.get("fieldsV1") or {}, names)
        for entry in managed_fields
    )


def _reaches(fields: Mapping[str, Any], names: Sequence[str]) -> bool:
    for name in names:
        below = fields.get(f"f:{name}")
        if below is None:
            return False
        if not below:
            return True  # a leaf: all that is below it belongs together
        fields = below
    return True
