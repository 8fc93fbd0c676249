"""The programs that the tests of the chart need.

A missing one fails the tests: a check that did not run proves nothing.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from .api_schemas import write_schemas
from .rendering import KUBERNETES, Chart, Rendered


def _program(request: pytest.FixtureRequest, name: str) -> Path:
    """Return the program that STORES_<NAME> names, that the sandbox built, or that is on PATH, in this order."""
    variable = f"STORES_{name.upper()}"
    if os.environ.get(variable):
        return Path(os.environ[variable])
    try:
        built = request.getfixturevalue("programs")
    except pytest.FixtureLookupError:
        built = {}
    found = built.get(name) or shutil.which(name)
    if not found:
        pytest.fail(f"{name} is nowhere to be found; name it by {variable}, put it on PATH, or run `stores sandbox up`")
    return Path(found)


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
