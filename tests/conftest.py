"""What tests of every part share: the programs of the sandbox, its images, and one cluster for the whole run.

The cluster is an instance of its own. It never has anything to do with the user's stores, state or ledger.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import hypothesis
import pytest

from sandbox import cache, contents, images, instance, programs
from sandbox.progress import Progress, silent

from .containers.image import Image, unpack
from .figures import Figures

# A claim is about what is true, not about how busy the machine is.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

ROOT = Path(__file__).parent.parent
SANDBOX = "test"
KEEP_VARIABLE = "STORES_KEEP_SANDBOX"


def pytest_configure() -> None:
    """Undo that a shell's background process ignores SIGINT: what tests start would ignore it from its beginning."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the cluster, before tests are chosen by their marks: two runs must not share one."""
    for item in items:
        if "sandbox_instance" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture
def figures() -> Figures:
    """Return where full counts are put on record."""
    return Figures()


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the checkout."""
    return ROOT


@pytest.fixture(scope="session", name="programs")
def built_programs() -> Mapping[str, Path]:
    """Return every program that is built from Go modules, those for tests included."""
    return programs.build(cache.root(), _print, for_tests=True)


@pytest.fixture(scope="session")
def sandbox_instance(request: pytest.FixtureRequest) -> Iterator[instance.Instance]:
    """Return the running sandbox of the tests.

    One that runs already is used as it is. STORES_KEEP_SANDBOX=1 leaves it running, which saves a start each time.
    After a failure its logs are kept beside the archived ledgers.
    """
    started = instance.up(ROOT, SANDBOX, http_port=0, https_port=0, report=_print)
    yield started
    if os.environ.get(KEEP_VARIABLE) == "1":
        return
    if request.session.testsfailed:
        logs = started.folder.parent / "archive" / f"{SANDBOX}-logs"
        shutil.rmtree(logs, ignore_errors=True)
        shutil.copytree(started.folder / "logs", logs)
    instance.down(ROOT, SANDBOX)


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


def _print(progress: Progress) -> None:
    # Shown when the set-up fails, or with `pytest -s`.
    print(f"{progress.step}: {progress.detail}")
