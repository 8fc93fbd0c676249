"""What the tests of the plugins share: a provider on the sandbox's cluster, and namespaces of their own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from pulumi.runtime.proto import provider_pb2

from sandbox.instance import Instance
from sandbox.plugins import install
from sandbox.plugins.kubernetes import kubeconfig
from sandbox.plugins.kubernetes.client import Client
from sandbox.plugins.kubernetes.provider import KubernetesProvider

from .engine_double import EngineDouble, Messages

CHART = Path(__file__).parent / "chart"


@pytest.fixture(scope="session")
def client(sandbox_instance: Instance) -> Iterator[Client]:
    """Return a connection to the API server, to see and to do what a person would by kubectl."""
    connected = Client(kubeconfig.load(str(sandbox_instance.kubeconfig)))
    yield connected
    connected.close()


@pytest.fixture
def namespace(client: Client) -> Iterator[str]:
    """Return a namespace of the test's own."""
    name = f"plugins-{secrets.token_hex(4)}"
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    client.apply(f"/api/v1/namespaces/{name}", document, manager="test")
    yield name
    # Nothing waits for it: the cluster is gone after the run.
    client.delete(f"/api/v1/namespaces/{name}", {})


@pytest.fixture
def messages() -> Messages:
    """Return what the provider tells the engine to show."""
    return Messages()


@pytest.fixture
def engine(sandbox_instance: Instance, messages: Messages, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineDouble]:
    """Return a stack on the sandbox's cluster, in memory."""
    monkeypatch.setenv("STORES_HELM", str(sandbox_instance.programs["helm"]))
    provider = KubernetesProvider(messages)
    provider.configure(
        provider_pb2.ConfigureRequest(variables={"kubernetes:config:kubeconfig": str(sandbox_instance.kubeconfig)})
    )
    yield EngineDouble(provider)
    provider.close()


@pytest.fixture(scope="session")
def pulumi_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a PULUMI_HOME with the plugins of this checkout."""
    home = tmp_path_factory.mktemp("pulumi-home")
    install(home)
    return home
