"""Images from recipes, into the cache.

An image's place in the cache is named by everything it is made of: this code, its recipe and its parents', the version
of every package, its reference. So what is there is right, and what is not there is built beside its place and moved.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from sandbox import cache as cache_folder
from sandbox.images import facts, layer, tools, tree
from sandbox.images.debian import NEWER_RELEASE, RELEASE, STAND_INS, Archive, Package, preferences
from sandbox.images.layer import Layer, Snapshot
from sandbox.images.recipe import Recipe, Workshop
from sandbox.images.recipes import FOR_TESTS, RECIPES, chain
from sandbox.progress import Progress, Report
from stacks.errors import UsageError

_HERE: Final = Path(__file__).parent
TESTS_PLACE: Final = "images-for-tests"
_KEPT_S: Final = 7 * 24 * 3600
Resolution = Mapping[str, tuple[Package, ...]]


def build(
    cache: Path,
    references: Mapping[str, str],
    report: Report,
    *,
    refresh: bool = False,
    for_tests: bool = False,
    replaced: Mapping[str, Recipe] | None = None,
) -> list[Path]:
    """Make an archive of every image that `references` names (name to reference) exist, and return them in its order.

    Recipes of `replaced` are used instead of those of the same name; they must ask for the same packages.

    What was built before is used, without asking the mirror for news, unless `refresh` says so or a recipe has changed.
    With `for_tests` the images that only tests need are known too; they, and what they are made of, are kept apart.
    Raises UsageError where images cannot be built, or name an unknown recipe.
    """
    recipes = {**(FOR_TESTS if for_tests else RECIPES), **(replaced or {})}
    unknown = [name for name in references if name not in recipes]
    if unknown:
        raise UsageError("sandbox images", f"no recipe for {', '.join(unknown)}", f"one of: {', '.join(recipes)}")
    folder = cache / (TESTS_PLACE if for_tests else "images")
    waiting = partial(report, Progress("images", "waiting for another build"))
    with cache_folder.locked(folder / "build.lock", waiting=waiting):
        known = None if refresh else _known(folder)
        if known is None or any(not e.is_dir() for e in _entries(folder, references, known, recipes).values()):
            known = _Builder(folder, cache, report, recipes).build(references)
        entries = _entries(folder, references, known, recipes)
        for entry in entries.values():
            os.utime(entry)
        _remove_old(folder)
        _replace(folder / "current.json", json.dumps([entry.name for entry in entries.values()]))
    return [facts.load(entry / "facts.json").archive for entry in entries.values()]


def describe(cache: Path) -> list[facts.ImageFacts]:
    """Return the facts of the images that the last `build` returned; empty if there was none."""
    folder = cache / "images"
    current = folder / "current.json"
    if not current.exists():
        return []
    entries = (folder / entry / "facts.json" for entry in json.loads(current.read_text()))
    return [facts.load(entry) for entry in entries if entry.exists()]


@dataclass(frozen=True)
class _Stage:
    """A recipe's tree as it is while images are built on it."""

    root: Path
    layers: tuple[Layer, ...]
    snapshot: Snapshot
    packages: tuple[Package, ...]
    newest_at: int


class _Builder:
    """One build: its folder for unfinished things, and the trees that several images share."""

    def __init__(self, folder: Path, cache: Path, report: Report, recipes: Mapping[str, Recipe]) -> None:
        tools.require()
        self._recipes = recipes
        self._folder = folder
        self._cache = cache
        self._report = report
        self._archive = Archive.at(folder / "debian")
        self._stages: dict[str, _Stage] = {}

    def build(self, references: Mapping[str, str]) -> Resolution:
        """Build what is missing, and return the versions it was made of."""
        for left in (*self._folder.glob("building-*"), *self._folder.glob("*.unfinished")):
            shutil.rmtree(left)
        wanted = list(dict.fromkeys(recipe.name for name in references for recipe in chain(name, self._recipes)))
        if any(self._recipes[name].packages for name in wanted):
            self._archive.update(self._report)
        resolution = {name: self._resolve(name) for name in wanted}
        entries = _entries(self._folder, references, resolution, self._recipes)
        missing = [name for name, entry in entries.items() if not entry.is_dir()]
        self._share_downloads()
        for name in missing:
            self._archive.download(resolution[name], self._report)
        with tempfile.TemporaryDirectory(prefix="building-", dir=self._folder) as work:
            for done, name in enumerate(missing):
                self._report(Progress("images", f"building {name}", done=done, total=len(missing)))
                make = partial(self._make, name, references[name], resolution, Path(work))
                cache_folder.ensure(entries[name], make)
        self._archive.forget([package for packages in resolution.values() for package in packages])
        _replace(self._folder / "resolution.json", json.dumps(_as_json(resolution, self._folder)))
        return resolution

    def _share_downloads(self) -> None:
        """Have what another place of the same cache has fetched: most packages are the same ones."""
        self._archive.debs.mkdir(parents=True, exist_ok=True)
        for file in self._cache.glob("images*/debian/cache/archives/*.deb"):
            mine = self._archive.debs / file.name
            if not mine.exists():
                shutil.copyfile(file, mine)

    def _resolve(self, name: str) -> tuple[Package, ...]:
        names = [package for recipe in chain(name, self._recipes) for package in recipe.packages]
        return self._archive.resolve(names) if names else ()

    def _make(self, name: str, reference: str, resolution: Resolution, work: Path, entry: Path) -> None:
        """Write the archive and the facts of one image into `entry`."""
        stage = self._stage(name, resolution, work)
        recipe = self._recipes[name]
        version = self._version(recipe, stage)
        config = layer.configuration(
            recipe.settings, stage.layers, facts.labels(name, version, stage.packages),
            architecture=self._archive.architecture, created=datetime.fromtimestamp(stage.newest_at, UTC).isoformat(),
        )  # fmt: skip
        archive = entry / f"{name}.tar"
        layer.write_image(archive, config, stage.layers, reference)
        packages = {package.name: package.version for package in stage.packages}
        found = facts.ImageFacts(name, reference, version, packages, f"sha256:{layer.bytes_digest(config)}", archive)
        facts.save(entry / "facts.json", found)

    def _stage(self, name: str, resolution: Resolution, work: Path) -> _Stage:
        if name not in self._stages:
            self._stages[name] = self._lay(self._recipes[name], resolution, work)
        return self._stages[name]

    def _lay(self, recipe: Recipe, resolution: Resolution, work: Path) -> _Stage:
        root = work / recipe.name
        below: _Stage | None = None
        if recipe.parent:
            below = self._stage(recipe.parent, resolution, work)
            tree.copy(below.root, root)
        else:
            root.mkdir()
        there = set(below.packages) if below else set()
        packages = [package for package in resolution[recipe.name] if package not in there]
        before: Snapshot = below.snapshot if below else {}
        self._report(Progress("images", f"unpacking {len(packages)} packages for {recipe.name}"))
        tree.unpack([self._archive.debs / package.file_name for package in packages], root)
        newest_at = max(below.newest_at if below else 0, layer.newest(root, before))
        tree.finish(recipe, Workshop(root, self._cache, self._archive.architecture))
        stage = _Stage(root, (), before, (*(below.packages if below else ()), *packages), newest_at)
        if recipe.version_of or recipe.version:
            releases = (RELEASE, NEWER_RELEASE) if recipe.packages else ()
            content = facts.document(recipe.name, self._version(recipe, stage), releases, stage.packages)
            tree.write(root, facts.INSIDE, json.dumps(content, indent=1) + "\n")
        self._report(Progress("images", f"packing {recipe.name}"))
        written = layer.write_layer(root, before, work / f"{recipe.name}.layer.tar", not_after=newest_at)
        layers = (*(below.layers if below else ()), written)
        return _Stage(root, layers, layer.snapshot(root), stage.packages, newest_at)

    def _version(self, recipe: Recipe, stage: _Stage) -> str:
        if recipe.version:
            return recipe.version(Workshop(stage.root, self._cache, self._archive.architecture))
        return next(package.upstream for package in stage.packages if package.name == recipe.version_of)


def _entries(
    folder: Path, references: Mapping[str, str], resolution: Resolution, recipes: Mapping[str, Recipe]
) -> dict[str, Path]:
    """Return the place of each image in the cache."""
    return {
        name: folder / _key(name, reference, resolution, chain(name, recipes)) for name, reference in references.items()
    }


def _key(name: str, reference: str, resolution: Resolution, recipes: Sequence[Recipe]) -> str:
    parts: list[str | bytes] = [name, reference, os.uname().machine]
    for recipe in recipes:
        parts.extend(str(package) for package in resolution.get(recipe.name, ()))
        # A recipe of which nothing is known yet must not look like one that needs no packages.
        parts.append("resolved" if recipe.name in resolution else "unknown")
        for source in (recipe.folder, *recipe.sources):
            parts.extend(_content(source))
    for module in sorted(_HERE.glob("*.py")):
        parts.extend(_content(module))
    return cache_folder.key_of(*parts)


def _content(source: Path) -> list[bytes | str]:
    files = [source] if source.is_file() else sorted(file for file in source.rglob("*") if file.is_file())
    found: list[bytes | str] = []
    for file in files:
        if "__pycache__" not in file.parts:
            found.extend((str(file.relative_to(source)), str(os.access(file, os.X_OK)), file.read_bytes()))
    return found


def _known(folder: Path) -> Resolution | None:
    """Return the versions that the last build took, unless other packages are wanted since."""
    file = folder / "resolution.json"
    if not file.exists():
        return None
    content = json.loads(file.read_text())
    if content["asked"] != _asked(folder):
        return None
    return {name: tuple(Package(*package) for package in packages) for name, packages in content["packages"].items()}


def _as_json(resolution: Resolution, folder: Path) -> dict[str, object]:
    packages = {
        name: [[package.name, package.version, package.architecture] for package in found]
        for name, found in resolution.items()
    }
    return {"asked": _asked(folder), "packages": packages}


def _asked(folder: Path) -> str:
    """Return a key of all that decides which packages are taken, except the archive's state."""
    recipes = FOR_TESTS if folder.name == TESTS_PLACE else RECIPES
    wanted = [package for recipe in recipes.values() for package in recipe.packages]
    return cache_folder.key_of(RELEASE, preferences(), *STAND_INS, *wanted)


def _replace(file: Path, text: str) -> None:
    beside = file.with_name(f"{file.name}.new")
    beside.write_text(text)
    beside.replace(file)


def _remove_old(folder: Path) -> None:
    """Remove images that nobody has asked for in a while: another checkout may use other versions at the same time."""
    for found in folder.glob("*/facts.json"):
        if time.time() - found.parent.stat().st_mtime > _KEPT_S:
            shutil.rmtree(found.parent)
            found.parent.with_name(f"{found.parent.name}.lock").unlink(missing_ok=True)
