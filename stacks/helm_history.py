"""What Helm knows of a store's release: its revisions, as the Secrets that Helm keeps tell. Pure.

The format is Helm's `helm.sh/release.v1`, the same for Helm 3 and 4: JSON, compressed, in base64, in the base64 of the
Secret. Nothing here may print a release's values: an operator may have put a secret there.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_WAS_LIVE: Final = frozenset({"deployed", "superseded"})


@dataclass(frozen=True)
class Revision:
    """One revision, as its Secret's labels describe it. `status` is Helm's word, such as `deployed` or `failed`."""

    number: int
    status: str

    @property
    def was_live(self) -> bool:
        """Whether it once was what the cluster ran: only such a one can be gone back to."""
        return self.status in _WAS_LIVE


@dataclass(frozen=True)
class RevisionContent:
    """One revision in full. `values` are those that were given, which for the platform's releases are complete."""

    number: int
    status: str
    description: str
    values: Mapping[str, Any]

    @property
    def image_tag(self) -> str | None:
        """The tag of the WordPress image, where the values name one."""
        image = self.values.get("image")
        tag = image.get("tag") if isinstance(image, Mapping) else None
        return None if tag is None else str(tag)


def revisions(labels: Iterable[Mapping[str, str]]) -> tuple[Revision, ...]:
    """Return the revisions that the labels of Helm's Secrets tell of, the oldest first."""
    found = [Revision(int(one["version"]), one["status"]) for one in labels if "version" in one and "status" in one]
    return tuple(sorted(found, key=lambda revision: revision.number))


def content(text: str) -> RevisionContent:
    """Return the revision that a Secret's key `release` holds, without the Secret's own base64."""
    raw = base64.b64decode(text)
    # Very old records are not compressed.
    document = json.loads(gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw)
    info = document.get("info") or {}
    return RevisionContent(
        number=int(document["version"]),
        status=str(info.get("status", "unknown")),
        description=str(info.get("description", "")),
        values=document.get("config") or {},
    )


def secret_name(release: str, number: int) -> str:
    """Return the name of the Secret that holds a revision."""
    return f"sh.helm.release.v1.{release}.v{number}"
