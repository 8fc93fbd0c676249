"""A project of the tests' own, with a manifest to be read and edited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

OWNERS = """\
version: 1
owners:
  - name: alice
    contact: alice@example.com
  - name: bob
    contact: bob@example.com
    limits: {stores: 3}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a writer of both files of environment `local`; it returns the project's root. None: no such file."""

    def write(stores: str | None, owners: str | None = OWNERS) -> Path:
        folder = tmp_path / "stacks" / "local"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("stores.yaml", stores), ("owners.yaml", owners)):
            if text is None:
                (folder / name).unlink(missing_ok=True)
            else:
                (folder / name).write_bytes(text.encode())
        return tmp_path

    return write
