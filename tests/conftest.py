"""What tests of every part share: the programs of the sandbox, and one cluster for the whole run.

The cluster is an instance of its own. It never has anything to do with the user's stores, state or ledger.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sandbox import cache, instance, programs
from sandbox.progress import Progress

ROOT = Path(__file__).parent.parent
SANDBOX = "test"
KEEP_VARIABLE = "STORES_KEEP_SANDBOX"


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the checkout."""
    return ROOT


@pytest.fixture(scope="session", name="programs")
def built_programs() -> Mapping[str, Path]:
    """Return every program that is built from Go modules, those for tests included."""
    return programs.build(cache.root(), _print, for_tests=True)


@pytest.fixture(scope="session")
def sandbox_instance() -> Iterator[instance.Instance]:
    """Return the running sandbox of the tests.

    One that runs already is used as it is. STORES_KEEP_SANDBOX=1 leaves it running, which saves a start each time.
    """
    yield instance.up(ROOT, SANDBOX, http_port=0, report=_print)
    if os.environ.get(KEEP_VARIABLE) != "1":
        instance.down(ROOT, SANDBOX)


def _print(progress: Progress) -> None:
    # Shown when the set-up fails, or with `pytest -s`.
    print(f"{progress.step}: {progress.detail}")
