"""What an image is made of, as data.

A recipe names Debian packages and says what the packages' install scripts would have done, because none of them runs.
Whatever cannot be said as data is a `finish` function in the recipe's own folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True)
class User:
    """An account with a group of the same name and number."""

    name: str
    uid: int
    home: str


@dataclass(frozen=True)
class Folder:
    """A folder that must exist with this owner and mode, inside the image."""

    path: str
    mode: int = 0o755
    uid: int = 0


@dataclass(frozen=True)
class Settings:
    """How a container of the image starts, in the words of the image specification."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    working_folder: str = ""
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""


@dataclass(frozen=True)
class Workshop:
    """What a `finish` function gets: the tree that becomes the image, and where it may keep downloads."""

    root: Path
    cache: Path
    architecture: str


Finish: TypeAlias = Callable[[Workshop], None]


def nothing_more(_workshop: Workshop) -> None:
    """Leave the tree as it is."""


@dataclass(frozen=True)
class Recipe:
    """One layer, and the image that ends with it. A recipe without `version_of` is only a parent of others."""

    name: str
    folder: Path
    parent: str | None = None
    packages: tuple[str, ...] = ()
    version_of: str = ""
    """The package whose upstream version is the image's."""
    users: tuple[User, ...] = ()
    folders: tuple[Folder, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    """Path of the link to its target, both as seen from inside."""
    removed: tuple[str, ...] = ()
    """Patterns of paths that the image does without."""
    finish: Finish = nothing_more
    version: Callable[[Workshop], str] | None = None
    """Tells the upstream version where no package does."""
    sources: tuple[Path, ...] = ()
    """Files outside of the recipe's folder that go into the image."""
    settings: Settings = field(default_factory=Settings)
