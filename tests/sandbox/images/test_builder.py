"""Images in the cache are complete, right for what they are named by, and built only when they must be."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from sandbox import contents, images
from sandbox.images import builder, recipes
from sandbox.images.recipe import Recipe, Workshop
from sandbox.progress import Progress, silent
from stacks.errors import UsageError

REFERENCE = "example.invalid/thing:1"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a setter of the only recipe, `thing`, whose one file has the given content; it returns its folder."""

    def set_recipe(content: str = "first", finish: Callable[[Workshop], None] | None = None) -> Path:
        folder = tmp_path / "recipe"
        (folder / "rootfs/etc").mkdir(parents=True, exist_ok=True)
        (folder / "rootfs/etc/content").write_text(content)
        thing = Recipe(
            name="thing", folder=folder, finish=finish or (lambda _workshop: None), version=lambda _workshop: "1.2.3"
        )
        table = MappingProxyType({"thing": thing})
        monkeypatch.setattr(recipes, "RECIPES", table)
        monkeypatch.setattr(builder, "RECIPES", table)
        return folder

    return set_recipe


class Reports:
    """Everything that a build told."""

    def __init__(self) -> None:
        self.details: list[str] = []

    def __call__(self, progress: Progress) -> None:
        self.details.append(progress.detail)

    @property
    def built(self) -> bool:
        """Whether anything was built."""
        return any(detail.startswith("building") for detail in self.details)


def build(cache: Path, reference: str = REFERENCE) -> tuple[Path, bool]:
    """Return the archive, and whether it was built."""
    reports = Reports()
    (archive,) = images.build(cache, {"thing": reference}, reports)
    return archive, reports.built


def test_an_image_is_built_once(recipe: Callable[..., Path], tmp_path: Path) -> None:
    recipe()
    first, built = build(tmp_path / "cache")
    assert built
    second, built_again = build(tmp_path / "cache")
    assert (second, built_again) == (first, False)
    with tarfile.open(first) as archive:
        assert json.load(archive.extractfile("manifest.json"))[0]["RepoTags"] == [REFERENCE]  # type: ignore[arg-type]


def test_another_file_of_the_recipe_is_another_image(recipe: Callable[..., Path], tmp_path: Path) -> None:
    recipe("first")
    first, _ = build(tmp_path / "cache")
    folder = recipe("second")
    second, built = build(tmp_path / "cache")
    assert built
    assert second != first
    (folder / "rootfs/etc/content").chmod(0o755)
    assert build(tmp_path / "cache")[1], "a file that became executable is another image"


def test_another_reference_is_another_archive_of_the_same_layer(recipe: Callable[..., Path], tmp_path: Path) -> None:
    recipe()
    first, _ = build(tmp_path / "cache")
    (second, built) = build(tmp_path / "cache", "example.invalid/thing:2")
    assert built
    layers = []
    for archive in (first, second):
        with tarfile.open(archive) as opened:
            layers.append(json.load(opened.extractfile("manifest.json"))[0]["Layers"])  # type: ignore[arg-type]
    assert layers[0] == layers[1]


def test_a_recipe_on_another_adds_a_layer_and_shares_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def recipe_of(name: str, parent: str | None) -> Recipe:
        folder = tmp_path / name
        (folder / "rootfs").mkdir(parents=True)
        (folder / "rootfs" / name).write_text(name)
        return Recipe(
            name=name, folder=folder, parent=parent, finish=lambda _workshop: made.append(name),
            version=lambda _workshop: "1",
        )  # fmt: skip

    table = {name: recipe_of(name, parent) for name, parent in (("low", None), ("left", "low"), ("right", "low"))}
    monkeypatch.setattr(recipes, "RECIPES", table)
    monkeypatch.setattr(builder, "RECIPES", table)
    layers, files = {}, {}
    for archive in images.build(tmp_path / "cache", {name: f"{name}:1" for name in table}, silent):
        with tarfile.open(archive) as opened:
            layers[archive.stem] = json.load(opened.extractfile("manifest.json"))[0]["Layers"]  # type: ignore[arg-type]
            with tarfile.open(fileobj=opened.extractfile(layers[archive.stem][-1])) as last:
                files[archive.stem] = {name for name in last.getnames() if not name.startswith("etc")}
    assert made == ["low", "left", "right"]
    assert layers["left"][0] == layers["right"][0] == layers["low"][0]
    assert [len(layers[name]) for name in ("low", "left", "right")] == [1, 2, 2]
    assert files == {"low": {"low"}, "left": {"left"}, "right": {"right"}}


def test_the_same_recipe_is_the_same_image_on_every_machine(recipe: Callable[..., Path], tmp_path: Path) -> None:
    recipe()
    assert build(tmp_path / "one")[0].read_bytes() == build(tmp_path / "two")[0].read_bytes()


def test_a_build_that_failed_leaves_nothing_that_could_be_taken_for_an_image(
    recipe: Callable[..., Path], tmp_path: Path
) -> None:
    def broken(_workshop: Workshop) -> None:
        raise RuntimeError("half way")

    recipe(finish=broken)
    with pytest.raises(RuntimeError, match="half way"):
        build(tmp_path / "cache")
    assert not list((tmp_path / "cache/images").glob("*/*.tar"))
    recipe()
    assert build(tmp_path / "cache")[1]
    left = {path.name.partition("-")[0] for path in (tmp_path / "cache/images").iterdir() if path.is_dir()}
    assert "building" not in left


def test_what_a_killed_build_left_is_removed(recipe: Callable[..., Path], tmp_path: Path) -> None:
    recipe()
    left = [tmp_path / "cache/images" / name for name in ("building-x1y2", "0123.unfinished")]
    for folder in left:
        (folder / "root").mkdir(parents=True)
    build(tmp_path / "cache")
    assert not any(folder.exists() for folder in left)


def test_an_image_that_nobody_asked_for_in_a_while_is_removed(recipe: Callable[..., Path], tmp_path: Path) -> None:
    recipe()
    first, _ = build(tmp_path / "cache")
    second, _ = build(tmp_path / "cache", "example.invalid/thing:2")
    assert first.exists()
    long_ago = time.time() - builder._KEPT_S - 60
    os.utime(first.parent, (long_ago, long_ago))
    build(tmp_path / "cache", "example.invalid/thing:2")
    assert (first.exists(), second.exists()) == (False, True)


def test_an_image_says_inside_and_outside_what_it_is(recipe: Callable[..., Path], tmp_path: Path) -> None:
    recipe()
    assert images.describe(tmp_path / "cache") == []
    archive, _ = build(tmp_path / "cache")
    (facts,) = images.describe(tmp_path / "cache")
    assert (facts.name, facts.reference, facts.version, facts.archive) == ("thing", REFERENCE, "1.2.3", archive)
    with tarfile.open(archive) as opened:
        manifest = json.load(opened.extractfile("manifest.json"))[0]  # type: ignore[arg-type]
        assert facts.digest == f"sha256:{manifest['Config'].removesuffix('.json')}"
        labels = json.load(opened.extractfile(manifest["Config"]))["config"]["Labels"]  # type: ignore[arg-type]
    assert labels["stores.sandbox/official"] == "false"
    assert labels["org.opencontainers.image.version"] == "1.2.3"


def test_a_name_without_a_recipe_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no recipe for nginx; one of: base, wordpress-core, wordpress"):
        images.build(tmp_path, {"nginx": "nginx:1"}, silent)


def test_every_recipe_names_files_and_parents_that_exist() -> None:
    for name, found in recipes.RECIPES.items():
        assert found.name == name
        assert (found.folder / "recipe.py").exists()
        assert all(source.exists() for source in found.sources)
        assert recipes.chain(name, recipes.RECIPES)[-1] is found


def test_the_real_images_are_of_the_lines_that_their_references_name(
    archives: Mapping[str, Path], root: Path, sandbox_cache: Path
) -> None:
    wanted = contents.references(root)
    found = {facts.name: facts for facts in images.describe(sandbox_cache)}
    assert set(found) == set(archives) == set(wanted)
    assert {name: facts.reference for name, facts in found.items()} == dict(wanted)
    for name in ("wordpress", "mariadb", "ingress"):
        # Debian's archive moves on within a line, so the last number may be another; `stores doctor` tells which.
        line = found[name].version.rpartition(".")[0]
        assert wanted[name].rpartition(":")[2].startswith(f"{line}."), (name, found[name].version)
    assert found["wordpress"].packages["libapache2-mod-php8.4"].startswith("8.4.")
    assert found["mariadb"].packages["mariadb-server"].startswith("1:11.8.")


def test_a_real_image_holds_its_own_facts_and_no_right_to_become_another_user(wordpress: Any, mariadb: Any) -> None:
    for image, name in ((wordpress, "wordpress"), (mariadb, "mariadb")):
        facts = json.loads((image.root / "etc/sandbox-image.json").read_text())
        assert facts["image"] == name
        assert facts["official"] is False
        assert facts["packages"]["libc6"]
        found = subprocess.run(
            ["find", image.root, "-xdev", "-type", "f", "-perm", "/6000"], capture_output=True, text=True, check=True
        )
        assert found.stdout == ""


def test_no_link_of_a_real_image_leads_nowhere(wordpress: Any, mariadb: Any) -> None:
    # These are meant to: a file that people may mount, and what a container gets when it runs.
    allowed = {"etc/php/8.4/apache2/php.ini", "etc/php/8.4/cli/php.ini"}
    for image in (wordpress, mariadb):
        broken: set[str] = set()
        for path in image.root.rglob("*"):
            if path.is_symlink():
                target = path.readlink()
                place = image.root / target.relative_to("/") if target.is_absolute() else path.parent / target
                if not os.path.lexists(place) and not str(target).startswith(("/dev/", "/proc/")):
                    broken.add(str(path.relative_to(image.root)))
        assert broken == allowed & broken, broken
