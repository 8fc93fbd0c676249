"""Projects of the tests' own, each with its own state and ledger, on the tests' own sandbox."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.instance import Instance
from tests.e2e.project import Project, new_project

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def make_project(sandbox_instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    """Return a maker of projects that share nothing but the sandbox's cluster."""

    def make() -> Project:
        return new_project(sandbox_instance, tmp_path_factory.mktemp("project"))

    return make
