"""The real images, built once into the user's cache (or found there) and unpacked for the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import cache, contents, images
from sandbox.progress import silent

from .container import Image, unpack


@pytest.fixture(scope="session")
def sandbox_cache() -> Path:
    """Return the user's cache: what is built for tests is what the sandbox uses."""
    return cache.root()


@pytest.fixture(scope="session")
def archives(root: Path, sandbox_cache: Path) -> dict[str, Path]:
    """Return the archive of every image that the sandbox uses."""
    return {file.stem: file for file in images.build(sandbox_cache, contents.references(root), silent)}


@pytest.fixture(scope="session")
def wordpress(archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Return the WordPress image. No test may change it."""
    return unpack(archives["wordpress"], tmp_path_factory.mktemp("wordpress"))


@pytest.fixture(scope="session")
def mariadb(archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Return the MariaDB image. No test may change it."""
    return unpack(archives["mariadb"], tmp_path_factory.mktemp("mariadb"))
