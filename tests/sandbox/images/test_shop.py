"""What goes into the shops' image: stand-ins that say so, or what somebody gives."""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from sandbox.images.recipe import Workshop
from sandbox.images.recipes.shop.recipe import STAND_IN, Given, shop
from stacks.errors import UsageError

HEADER = "<?php\n/* Plugin Name: WooCommerce\nVersion: 11.0.1 */\n"
CONTENT = "usr/src/wordpress/wp-content"


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Return the tree of a WordPress without a shop."""
    root = tmp_path / "root"
    for folder in ("plugins", "themes"):
        (root / CONTENT / folder).mkdir(parents=True)
    return Workshop(root, tmp_path, "amd64")


def placed(workshop: Workshop, given: Given) -> dict[str, str]:
    """Return every file that the recipe puts in, below wp-content."""
    shop(given).finish(workshop)
    content = workshop.root / CONTENT
    return {
        str(file.relative_to(content)): file.read_text(errors="replace")
        for file in content.rglob("*")
        if file.is_file()
    }


def archive(file: Path, *members: tuple[str, str]) -> Path:
    with zipfile.ZipFile(file, "w") as made:
        for name, text in members:
            made.writestr(name, text)
    return file


def test_stand_ins_say_that_they_are_in_name_and_version(workshop: Workshop) -> None:
    found = placed(workshop, Given())
    plugin, theme = found["plugins/woocommerce/woocommerce.php"], found["themes/storefront/style.css"]
    assert "Plugin Name: WooCommerce stand-in\n" in plugin
    assert re.search(r"^ \* Version: .*-standin$", plugin, re.MULTILINE)
    assert "Theme Name: Storefront stand-in\n" in theme
    assert re.search(r"^Version: .*-standin$", theme, re.MULTILINE)


def test_every_file_of_the_stand_ins_has_the_licence_of_what_runs_in_wordpress() -> None:
    files = [*STAND_IN.rglob("*.php"), *STAND_IN.rglob("*.css")]
    assert len(files) > 20
    assert [file.name for file in files if "GPL-2.0-or-later" not in file.read_text()] == []


def test_a_folder_takes_the_place_of_the_stand_in_whole(workshop: Workshop, tmp_path: Path) -> None:
    folder = tmp_path / "woocommerce-11.0.1"
    (folder / "includes").mkdir(parents=True)
    (folder / "woocommerce.php").write_text(HEADER)
    (folder / "includes/a.php").write_text("<?php")
    found = placed(workshop, Given(woocommerce=folder))
    assert [name for name in sorted(found) if name.startswith("plugins/")] == [
        "plugins/woocommerce/includes/a.php",
        "plugins/woocommerce/woocommerce.php",
    ]
    assert found["plugins/woocommerce/woocommerce.php"] == HEADER
    assert "stand-in" in found["themes/storefront/style.css"]
    owner = subprocess.run(
        ["find", workshop.root / CONTENT / "plugins/woocommerce", "!", "-uid", "33"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert owner.stdout == ""


def test_a_zip_archive_takes_the_place_of_the_stand_in_whole(workshop: Workshop, tmp_path: Path) -> None:
    file = archive(tmp_path / "a.zip", ("woocommerce/woocommerce.php", HEADER), ("woocommerce/readme.txt", "x"))
    found = placed(workshop, Given(woocommerce=file))
    names = sorted(name for name in found if name.startswith("plugins/"))
    assert names == ["plugins/woocommerce/readme.txt", "plugins/woocommerce/woocommerce.php"]


def test_another_content_of_what_is_given_is_another_image(tmp_path: Path) -> None:
    (tmp_path / "woocommerce.php").write_text(HEADER)
    assert shop(Given(woocommerce=tmp_path)).sources == (tmp_path,)
    assert shop(Given()).sources == ()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((), "is neither a folder nor a zip archive; name the folder that holds woocommerce.php"),
        ((("readme.txt", "x"),), "holds no woocommerce/woocommerce.php; name the folder that holds woocommerce.php"),
        (
            (("woocommerce/woocommerce.php", HEADER), ("woocommerce/../../evil.php", "x")),
            "holds woocommerce/../../evil.php, which leads out of its folder; get an archive you trust",
        ),
        (
            (("woocommerce/woocommerce.php", HEADER), ("/etc/evil", "x")),
            "holds /etc/evil, which leads out of its folder; get an archive you trust",
        ),
    ],
)
def test_an_archive_that_is_no_plugin_is_refused_before_anything_is_built(
    tmp_path: Path, members: tuple[tuple[str, str], ...], message: str
) -> None:
    file = archive(tmp_path / "a.zip", *members) if members else tmp_path / "missing.zip"
    with pytest.raises(UsageError) as refusal:
        shop(Given(woocommerce=file))
    assert f"sandbox: woocommerce: {file} {message}" in str(refusal.value)


def test_a_folder_that_is_no_theme_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no style\.css; name the folder that holds style\.css, or a zip"):
        shop(Given(storefront=tmp_path))
