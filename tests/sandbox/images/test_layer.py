"""Layers and archives: complete, only what changed, and the same every time."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from sandbox.images import layer
from sandbox.images.recipe import Settings

OLD = 1_700_000_000
LATE = 1_800_000_000


def put(root: Path, path: str, content: str = "x", *, time_s: int = OLD, mode: int = 0o644) -> Path:
    """Make a file."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    file.chmod(mode)
    os.utime(file, (time_s, time_s))
    return file


def members(found: layer.Layer) -> dict[str, tarfile.TarInfo]:
    """Return what a layer holds."""
    with tarfile.open(found.file) as archive:
        return {member.name: member for member in archive}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a tree with a file of each kind."""
    place = tmp_path / "root"
    put(place, "bin/tool", mode=0o755)
    put(place, "etc/settings")
    (place / "etc/link").symlink_to("/nowhere")
    (place / "lib").symlink_to("usr/lib")
    put(place, "usr/lib/file")
    return place


def test_a_first_layer_holds_everything_with_folders_before_what_is_in_them(root: Path, tmp_path: Path) -> None:
    found = members(layer.write_layer(root, {}, tmp_path / "layer.tar", not_after=LATE))
    assert list(found) == [
        "lib", "bin", "bin/tool", "etc", "etc/link", "etc/settings", "usr", "usr/lib", "usr/lib/file",
    ]  # fmt: skip
    assert (found["lib"].linkname, found["etc/link"].linkname) == ("usr/lib", "/nowhere")
    assert found["bin/tool"].mode == 0o755
    assert found["etc/settings"].mtime == OLD


def test_the_next_layer_holds_only_what_changed(root: Path, tmp_path: Path) -> None:
    before = layer.snapshot(root)
    put(root, "new/file")
    put(root, "etc/settings", "longer")
    (root / "bin/tool").chmod(0o700)
    (root / "etc/link").unlink()
    (root / "etc/link").symlink_to("/elsewhere")
    found = members(layer.write_layer(root, before, tmp_path / "layer.tar", not_after=LATE))
    assert set(found) == {"new", "new/file", "etc/settings", "bin/tool", "etc/link"}


def test_a_file_of_the_same_size_that_is_newer_is_a_change(root: Path, tmp_path: Path) -> None:
    before = layer.snapshot(root)
    put(root, "etc/settings", "y", time_s=OLD + 1)
    found = members(layer.write_layer(root, before, tmp_path / "layer.tar", not_after=LATE))
    assert set(found) == {"etc/settings"}


def test_taking_away_what_the_parent_has_is_refused(root: Path, tmp_path: Path) -> None:
    before = layer.snapshot(root)
    (root / "etc/settings").unlink()
    with pytest.raises(ValueError, match="etc/settings"):
        layer.write_layer(root, before, tmp_path / "layer.tar", not_after=LATE)


def test_the_same_tree_is_the_same_layer_whenever_it_was_made(tmp_path: Path) -> None:
    digests = set()
    for number, order in enumerate((("a", "b/c", "d"), ("d", "b/c", "a"))):
        root = tmp_path / str(number)
        for path in order:
            put(root, path, path, time_s=LATE + 100 * number)
        digests.add(layer.write_layer(root, {}, tmp_path / f"{number}.tar", not_after=LATE).digest)
    assert len(digests) == 1


def test_the_newest_file_is_that_of_the_change(root: Path) -> None:
    assert layer.newest(root, {}) >= OLD
    before = layer.snapshot(root)
    assert layer.newest(root, before) == 0
    put(root, "new", time_s=LATE)
    assert layer.newest(root, before) == LATE


def test_an_archive_holds_what_docker_and_containerd_read(root: Path, tmp_path: Path) -> None:
    written = layer.write_layer(root, {}, tmp_path / "layer.tar", not_after=LATE)
    settings = Settings(entrypoint=("run",), environment={"A": "b"}, ports=("80/tcp",), stop_signal="SIGWINCH")
    config = layer.configuration(
        settings, [written], {"label": "value"}, architecture="amd64", created="2026-01-01T00:00:00+00:00"
    )
    layer.write_image(tmp_path / "image.tar", config, [written], "docker.io/library/x:1")
    with tarfile.open(tmp_path / "image.tar") as archive:
        read = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    manifest = json.loads(read["manifest.json"])[0]
    assert manifest["RepoTags"] == ["docker.io/library/x:1"]
    assert manifest["Config"] == f"{layer.bytes_digest(read[manifest['Config']])}.json"
    assert [layer.bytes_digest(read[name]) for name in manifest["Layers"]] == [written.digest]
    document = json.loads(read[manifest["Config"]])
    assert document["rootfs"]["diff_ids"] == [f"sha256:{written.digest}"]
    assert document["config"] == {
        "Labels": {"label": "value"}, "Entrypoint": ["run"], "Env": ["A=b"], "ExposedPorts": {"80/tcp": {}},
        "StopSignal": "SIGWINCH",
    }  # fmt: skip
