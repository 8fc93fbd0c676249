"""The programs that the tests of the chart need. A missing one is built: a check that did not run proves nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.containers.database import DatabaseServer, database_server
from tests.containers.image import Image
from tests.containers.receiver import Receiver
from tests.containers.serving import REAL_VARIABLE, RECEIVER_IP, ServingShop, whole_shop

from .api_schemas import CUSTOM_RESOURCES, module_folder, write_crd_schemas, write_schemas
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
    for module, version, digest, where in CUSTOM_RESOURCES:
        files = (module_folder(module, version, digest) / where).glob("*.yaml")
        write_crd_schemas((file for file in files if "kind: CustomResourceDefinition" in file.read_text()), folder)
    return folder


@pytest.fixture(scope="session")
def shop(
    chart: Chart, wordpress: Image, mariadb: Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServingShop]:
    """Return a shop that serves, with the stand-in of WooCommerce, or the real one in STORES_TEST_WOOCOMMERCE."""
    real = os.environ.get(REAL_VARIABLE)
    values = {
        "ingress": {"scheme": "https", "port": 443},
        "web": {"trustedProxies": ["127.0.0.1"], "externalRequests": False},
        "webhooks": {"receiverUrl": f"http://{RECEIVER_IP}:9000/hooks/{{store}}"},
    }
    folder, woocommerce = tmp_path_factory.mktemp("whole-shop"), Path(real) if real else None
    with whole_shop(wordpress, mariadb, chart, values, folder, woocommerce=woocommerce) as shop:
        shop.install()
        shop.serve()
        yield shop


@pytest.fixture
def receiver(shop: ServingShop) -> Iterator[Receiver]:
    """Return the receiver, with nothing of earlier tests in it or on its way to it."""
    receiver = Receiver(shop.network)
    shop.settle()
    receiver.deliveries.clear()
    yield receiver
    receiver.close()


@pytest.fixture(scope="session")
def database(mariadb: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """Return a server of the real MariaDB, in a network of its own."""
    with database_server(mariadb, tmp_path_factory.mktemp("mariadb-server")) as server:
        yield server
