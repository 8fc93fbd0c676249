"""restic, as the official `restic/restic` image offers it: the program, a POSIX shell, and its small tools."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Final

from sandbox.images.recipe import Recipe, Settings

RECIPE: Final = Recipe(
    name="restic",
    folder=Path(__file__).parent,
    parent="base",
    packages=("restic",),
    version_of="restic",
    removed=("usr/share/fish", "usr/share/zsh", "usr/share/bash-completion/completions/restic"),
    settings=Settings(
        entrypoint=("/usr/bin/restic",),
        environment=MappingProxyType({"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}),
    ),
)
