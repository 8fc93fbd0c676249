"""The Containerfile and the workflow for places with a container engine: what can be tried without one."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from cli.main import stores
from stacks.desired import environment_values, merge
from tests.containers.image import Done, Image, Mount, volume

from .rendering import Chart

ROOT = Path(__file__).parents[2]
CONTAINERFILE = (ROOT / "images/shop/Containerfile").read_text()
WORKFLOW = ROOT / ".github/workflows/kind.yaml"
PLUGIN = "<?php\n/* Plugin Name: WooCommerce\nVersion: {version} */\n"
THEME = "/*\nTheme Name: Storefront\nVersion: {version}\n*/\n"
# Makes both archives, and builds as the Containerfile does. The bundled folders are writable, as for root.
BAKE = r"""
export PHP_INI_SCAN_DIR=:/usr/local/etc/php/conf.d
php -r '
    $made = [["woocommerce", "woocommerce.php", $argv[1]], ["storefront", "style.css", $argv[2]]];
    foreach ($made as [$slug, $file, $text]) {
        $zip = new ZipArchive(); $zip->open("/tmp/$slug.zip", ZipArchive::CREATE);
        $zip->addFromString("$slug/$file", $text); $zip->close();
    }' "$PLUGIN" "$THEME"
export WOOCOMMERCE_URL=file:///tmp/woocommerce.zip STOREFRONT_URL=file:///tmp/storefront.zip
export WOOCOMMERCE_SHA256=${WOOCOMMERCE_SHA256-$(sha256sum /tmp/woocommerce.zip | cut -d ' ' -f 1)}
export STOREFRONT_SHA256=${STOREFRONT_SHA256-$(sha256sum /tmp/storefront.zip | cut -d ' ' -f 1)}
php /bake/bake.php; echo "ended with $?"
cat /usr/src/wordpress/wp-content/plugins/woocommerce/woocommerce.php
ls -A /usr/src/wordpress/wp-content/plugins /usr/src/wordpress/wp-content
"""


@pytest.fixture
def bake(wordpress: Image, tmp_path: Path) -> Callable[..., Done]:
    """Return a runner of what the Containerfile runs, with these build arguments."""

    def run(**arguments: str) -> Done:
        folder = volume(tmp_path, "/copied", 33)
        sources = re.search(r"^COPY (.*) /bake/$", CONTAINERFILE, re.MULTILINE)
        assert sources is not None
        for source in sources[1].split():
            (folder / Path(source).name).write_bytes((ROOT / source).read_bytes())
        for place in ("plugins", "themes"):
            volume(tmp_path, f"/usr/src/wordpress/wp-content/{place}", 33)
        content = {"WOOCOMMERCE_VERSION": "11.0.1", "STOREFRONT_VERSION": "4.6.2"}
        content |= {"PLUGIN": PLUGIN.format(version="11.0.1"), "THEME": THEME.format(version="4.6.2"), **arguments}
        mounts = [Mount(folder, "/bake"), Mount(volume(tmp_path, "/packages", 33), "/var/lib/store")]
        mounts.append(Mount(volume(tmp_path, "/usr/src/wordpress/wp-content", 33), "/usr/src/wordpress/wp-content"))
        writable = ["/tmp"]  # noqa: S108 - in the container
        return wordpress.run(BAKE, user=33, writable=writable, mounts=mounts, environment=content)

    return run


def test_a_build_puts_the_pinned_archives_into_the_image(bake: Callable[..., Done]) -> None:
    done = bake()
    assert "bake: plugin woocommerce 11.0.1 is in the image\n" in done.out, done
    assert "bake: theme storefront 4.6.2 is in the image\nended with 0\n" in done.out, done
    assert "Version: 11.0.1" in done.out
    assert ".store-" not in done.out


def test_a_build_with_another_checksum_fails(bake: Callable[..., Done]) -> None:
    wrong = hashlib.sha256(b"another").hexdigest()
    done = bake(WOOCOMMERCE_SHA256=wrong)
    assert f"and the build arguments WOOCOMMERCE.sha256 says {wrong}; nothing of it was installed" in done.out, done
    assert "ended with 78\n" in done.out


def test_a_build_without_a_checksum_fails(bake: Callable[..., Done]) -> None:
    done = bake(STOREFRONT_SHA256="")
    assert "bake: the build argument STOREFRONT_SHA256 is missing; pass --build-arg STOREFRONT_SHA256=...\n" in done.out
    assert "ended with 1\n" in done.out


def test_a_build_of_another_version_than_the_archive_has_fails(bake: Callable[..., Done]) -> None:
    done = bake(WOOCOMMERCE_VERSION="11.0.2")
    assert "plugin woocommerce 11.0.2: its archive is of version 11.0.1; " in done.out, done


def test_the_containerfile_pins_copies_what_exists_and_ends_as_nobody_in_particular() -> None:
    lines = CONTAINERFILE.replace("\\\n", " ").splitlines()
    assert [line for line in lines if line and not line.startswith("#")][-1] == "USER 33:33"
    assert "ARG WORDPRESS_IMAGE=docker.io/library/wordpress:7.1.4-php8.4-apache" in lines
    values = YAML(typ="safe").load(ROOT / "charts/store/values.yaml")["image"]
    assert f"ARG WORDPRESS_IMAGE={values['registry']}/{values['repository']}:{values['tag']}" in lines
    for name in ("VERSION", "SHA256"):
        assert f"ARG WOOCOMMERCE_{name}" in lines, "no default: a version without its checksum is not built"
    copied = [word for line in lines if line.startswith("COPY charts/") for word in line.split()[1:-1]]
    assert copied
    assert all((ROOT / source).is_file() for source in copied)


def steps() -> list[Mapping[str, Any]]:
    return list(YAML(typ="safe").load(WORKFLOW)["jobs"]["stores"]["steps"])


def test_the_workflow_may_only_read_and_ends_in_time() -> None:
    workflow = YAML(typ="safe").load(WORKFLOW)
    assert workflow["permissions"] == {"contents": "read"}
    assert set(workflow["on"]) == {"push", "workflow_dispatch"}, "no request of a fork reaches a runner's secrets"
    assert workflow["jobs"]["stores"]["timeout-minutes"] <= 60
    assert workflow["defaults"]["run"]["shell"] == "bash", "without it there is no pipefail"
    assert "secrets." not in WORKFLOW.read_text()


def test_what_others_wrote_is_named_so_that_they_cannot_change_it() -> None:
    lines = [line.strip() for line in WORKFLOW.read_text().splitlines() if "uses: " in line]
    by_tag = [line for line in lines if not re.search(r"uses: [\w/-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+$", line)]
    assert by_tag == ["- uses: azure/setup-helm@v4"]
    assert next(step for step in steps() if step.get("uses") == "azure/setup-helm@v4")["with"]["version"]
    run = "\n".join(step["run"] for step in steps() if "run" in step).replace("\\\n", " ")
    charts = [line for line in run.splitlines() if "helm upgrade" in line]
    assert charts
    assert all("--version " in line for line in charts)


def test_every_command_of_the_workflow_exists() -> None:
    run = "\n".join(step["run"] for step in steps() if "run" in step).replace("\\\n", " ")
    commands = re.findall(r"\.venv/bin/stores ([^|\n]*)", run)
    assert len(commands) >= 4
    for command in commands:
        words = shlex.split(command)
        result = CliRunner().invoke(stores, [words[0], "--help"])
        assert result.exit_code == 0, command
        assert all(word in result.output for word in words[1:] if word.startswith("--")), command
    makefile = (ROOT / "Makefile").read_text()
    assert "READY := .venv/.ready\n" in makefile
    assert "\n$(READY):" in makefile


def test_every_file_that_the_workflow_names_exists() -> None:
    text = WORKFLOW.read_text()
    named = set(re.findall(r"(?:tests|images|values)/[\w./-]+\.(?:yaml|py)|images/shop/Containerfile", text))
    assert len(named) >= 6
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert all(list(ROOT.glob(pattern)) for pattern in YAML(typ="safe").load(WORKFLOW)["on"]["push"]["paths"])


def test_the_workflows_values_render_with_the_baked_versions(chart: Chart) -> None:
    values = YAML(typ="safe").load(ROOT / "tests/kind/values-kind.yaml")
    rendered = chart.render(values)
    assert rendered.container("install")["image"] == "localhost/stores/shop:ci"
    environment = YAML(typ="safe").load(WORKFLOW)["env"]
    assert environment["SHOP_IMAGE"] == "localhost/stores/shop:ci"
    for name in ("woocommerce", "storefront"):
        assert values[name]["version"] == environment[f"{name.upper()}_VERSION"]
    assert merge(environment_values(ROOT, "local"), values)["ingress"]["port"] == 8080
