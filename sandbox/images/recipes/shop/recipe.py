"""WordPress with a shop: what the platform's derived image is where there is a container engine.

WooCommerce and Storefront are in no package registry. So the image carries stand-ins of ours, which say so in their
names, versions, footer and generator tag; or the real ones, where somebody has them and names a folder or an archive.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from sandbox.images import tree
from sandbox.images.recipe import Recipe, Workshop
from sandbox.images.recipes.wordpress.recipe import CODE, WEB_SERVER_USER
from sandbox.images.recipes.wordpress.recipe import RECIPE as WORDPRESS
from stacks.errors import UsageError

STAND_IN: Final = Path(__file__).parent / "standin"
_PLACES: Final = {"woocommerce": ("plugins", "woocommerce.php"), "storefront": ("themes", "style.css")}
"""Folder below wp-content, and the file whose header says what it is."""


@dataclass(frozen=True)
class Given:
    """The real plugin and theme, each as a folder or a zip archive; None takes the stand-in."""

    woocommerce: Path | None = None
    storefront: Path | None = None


def shop(content: Given) -> Recipe:
    """Return the recipe of the shop's image. Raises UsageError where a path holds something else."""
    given = {"woocommerce": content.woocommerce, "storefront": content.storefront}
    sources = {name: path or STAND_IN / _PLACES[name][0] / name for name, path in given.items()}
    for name, path in sources.items():
        _require(name, path)
    return Recipe(
        name="wordpress",
        folder=Path(__file__).parent,
        parent=WORDPRESS.name,
        version_of="wordpress",
        sources=tuple(path for path in given.values() if path is not None),
        finish=_placing(sources),
        settings=WORDPRESS.settings,
    )


def _placing(sources: dict[str, Path]) -> Callable[[Workshop], None]:
    def finish(workshop: Workshop) -> None:
        for name, source in sources.items():
            content = workshop.root / CODE / "wp-content" / _PLACES[name][0]
            if source.is_dir():
                shutil.copytree(source, content / name, ignore=shutil.ignore_patterns("__pycache__", ".git"))
            else:
                _unzip(source, name, content)
            tree.own(content / name, WEB_SERVER_USER)

    return finish


def _require(name: str, path: Path) -> None:
    header = _PLACES[name][1]
    where = f"sandbox: {name}"
    cure = f"name the folder that holds {header}, or a zip archive of it"
    if path.is_dir():
        if not (path / header).is_file():
            raise UsageError(where, f"{path} holds no {header}", cure)
        return
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise UsageError(where, f"{path} is neither a folder nor a zip archive", cure)
    with zipfile.ZipFile(path) as archive:
        names = [PurePosixPath(member) for member in archive.namelist()]
    if PurePosixPath(name, header) not in names:
        raise UsageError(where, f"{path} holds no {name}/{header}", cure)
    strange = next((member for member in names if member.is_absolute() or ".." in member.parts), None)
    if strange is not None:
        raise UsageError(where, f"{path} holds {strange}, which leads out of its folder", "get an archive you trust")


def _unzip(source: Path, name: str, folder: Path) -> None:
    with zipfile.ZipFile(source) as archive:
        archive.extractall(folder, [member for member in archive.namelist() if PurePosixPath(member).parts[0] == name])


RECIPE: Final = shop(Given())
