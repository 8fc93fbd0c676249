"""Volumes of a real size, on this machine's loop devices."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sandbox import sized

MIB = 1024**2

pytestmark = pytest.mark.skipif(
    not Path("/dev/loop-control").exists(), reason="the machine has no loop devices, which class local-path-sized needs"
)


def fill(folder: Path) -> int:
    """Write until the disk is full; return how many MiB went in."""
    before = (folder / "fill").stat().st_size if (folder / "fill").exists() else 0
    done = subprocess.run(["dd", "if=/dev/zero", f"of={folder}/fill", "bs=1M", "oflag=append", "conv=notrunc"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert "No space left on device" in done.stderr
    return ((folder / "fill").stat().st_size - before) // MIB


def test_a_volume_is_full_when_it_holds_its_size_and_can_grow_in_use(tmp_path: Path) -> None:
    folder = tmp_path / "pvc-1"
    folder.mkdir()
    try:
        data = sized.make(folder, 32 * MIB)
        (data / "kept").write_text("here")
        assert 28 < fill(data) < 33
        assert sized.make(folder, 32 * MIB) == data  # again: nothing changes
        assert fill(data) == 0
        sized.grow(folder, 64 * MIB)
        assert 28 < fill(data) < 33
        sized.grow(folder, 8 * MIB)  # never smaller
        assert (data / "kept").read_text() == "here"
        with pytest.raises(sized.SizedError, match="cannot be more than 8 times its first size"):
            sized.grow(folder, 300 * MIB)
    finally:
        sized.remove(folder)
    assert not sized.image_of(folder).exists()
    assert list(folder.iterdir()) == []
    sized.remove(folder)  # again: nothing is there


def test_a_folder_without_a_file_system_of_its_own_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("here")
    sized.remove(tmp_path)
    assert (tmp_path / "data").exists()


def test_what_a_program_says_is_told(tmp_path: Path) -> None:
    with pytest.raises(sized.SizedError, match=r"mount -o loop"):
        sized._run("mount", "-o", "loop", str(tmp_path / "none"), str(tmp_path))
