"""Projects of the tests' own, each with its own state and ledger, on the tests' own sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.instance import Instance
from tests.e2e.project import Project, new_project

ROOT = Path(__file__).parents[2]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Choose with each test of a chain the quick ones before it, however it was chosen: it goes on where they ended."""
    every = list(items)
    yield
    chosen = set(items)
    needed: set[pytest.Item] = set()
    modules: set[Path] = set()
    for item in reversed(every):
        if item.get_closest_marker("chain") is None:
            continue
        if item in chosen:
            modules.add(item.path)
        elif item.path in modules and item.get_closest_marker("long") is None:
            needed.add(item)
    items[:] = [item for item in every if item in chosen or item in needed]


@pytest.fixture(scope="session")
def make_project(sandbox_instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    """Return a maker of projects that share nothing but the sandbox's cluster."""

    def make() -> Project:
        return new_project(sandbox_instance, tmp_path_factory.mktemp("project"))

    return make
