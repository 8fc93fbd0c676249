"""The programs that the tests of the chart need. A missing one is built: a check that did not run proves nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from .api_schemas import write_schemas
from .rendering import KUBERNETES, Chart, Rendered


def _program(request: pytest.FixtureRequest, name: str) -> Path:
    """Return the program that STORES_<NAME> names (to try another version of it), else the one of the sandbox."""
    named = os.environ.get(f"STORES_{name.upper()}")
    if named:
        return Path(named)
    built: Mapping[str, Path] = request.getfixturevalue("programs")
    return built[name]


@pytest.fixture(scope="session")
def chart(request: pytest.FixtureRequest) -> Chart:
    """Return the chart, to be rendered."""
    return Chart(_program(request, "helm"))


@pytest.fixture(scope="session")
def rendered(chart: Chart) -> Rendered:
    """Return the chart rendered with nothing but its own values."""
    return chart.render()


@pytest.fixture(scope="session")
def kubeconform(request: pytest.FixtureRequest) -> Path:
    """Return the program that compares objects with schemas."""
    return _program(request, "kubeconform")


@pytest.fixture(scope="session")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the strict schemas of every kind that the chart uses, made from Kubernetes' own sources."""
    folder = tmp_path_factory.mktemp("schemas")
    write_schemas(KUBERNETES, folder)
    return folder
