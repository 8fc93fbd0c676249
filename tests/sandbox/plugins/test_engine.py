"""The plugins under the real engine, by the Automation API, as the platform itself uses them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random
import pytest
from pulumi import ResourceOptions, automation

from sandbox.instance import Instance
from sandbox.plugins.kubernetes.client import ApiError, Client
from sandbox.plugins.kubernetes.helm import storage

from .conftest import CHART

pytestmark = pytest.mark.cluster

Program = Callable[[], None]


class Stack:
    """One stack of the engine's, whose program a test replaces as it goes."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.state = folder / "state"
        self.state.mkdir()
        self._program: Program = lambda: None
        variables = {**environment, "PULUMI_BACKEND_URL": f"file://{self.state}"}
        workspace = automation.LocalWorkspaceOptions(env_vars=variables)
        self._stack = automation.create_stack(
            stack_name="dev", project_name="plugins", program=self._run, opts=workspace
        )
        self.printed = ""

    def preview(self, program: Program, **options: Any) -> dict[str, int]:
        """Return how many resources would undergo what, the stack and the providers left out."""
        self._program = program
        steps: dict[str, int] = {}

        def count(event: automation.EngineEvent) -> None:
            if event.resource_pre_event is not None:
                step = event.resource_pre_event.metadata
                if not step.type.startswith("pulumi:"):
                    steps[step.op] = steps.get(step.op, 0) + 1

        self._stack.preview(on_event=count, on_output=self._print, **options)
        return steps

    def up(self, program: Program, **options: Any) -> dict[str, Any]:
        self._program = program
        outputs = self._stack.up(on_output=self._print, **options).outputs
        return {name: output.value for name, output in outputs.items()}

    def refresh(self) -> None:
        self._stack.refresh(on_output=self._print)

    def destroy(self) -> None:
        self._stack.destroy(on_output=self._print)

    def resources(self) -> dict[str, Any]:
        """Return the state by logical names."""
        deployment = self._stack.export_stack().deployment
        return {found["urn"].rpartition("::")[2]: found for found in deployment.get("resources", ())}

    def everything_on_disk(self) -> str:
        return "".join(path.read_text() for path in self.state.rglob("*.json*"))

    def _run(self) -> None:
        self._program()

    def _print(self, text: str) -> None:
        self.printed += text


@pytest.fixture
def stack(sandbox_instance: Instance, pulumi_home: Path, tmp_path: Path) -> Iterator[Stack]:
    search_path = os.pathsep.join(
        [str(sandbox_instance.programs[name].parent) for name in ("pulumi", "helm")] + [os.environ["PATH"]]
    )
    before = os.environ["PATH"]
    # The Automation API looks for the engine on this process' own PATH.
    os.environ["PATH"] = search_path
    environment = {
        "PULUMI_HOME": str(pulumi_home),
        "PULUMI_CONFIG_PASSPHRASE": "correct horse",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "KUBECONFIG": str(sandbox_instance.kubeconfig),
        "PATH": search_path,
    }
    yield Stack(tmp_path, environment)
    os.environ["PATH"] = before


def options(sandbox_instance: Instance, **more: Any) -> ResourceOptions:
    provider = k8s.Provider("k8s", kubeconfig=str(sandbox_instance.kubeconfig), cluster_identifier="sandbox")
    return ResourceOptions(provider=provider, **more)


def test_objects_live_from_creation_to_deletion(
    stack: Stack, sandbox_instance: Instance, client: Client, namespace: str
) -> None:
    own = f"{namespace}-own"

    def program(pods: str, config: str, ports: int) -> Program:
        def build() -> None:
            opts = options(sandbox_instance)
            made = k8s.core.v1.Namespace("namespace", metadata={"name": own, "labels": {"a": "1"}}, opts=opts)
            within = {"namespace": made.metadata.name}
            password = random.RandomPassword("password", length=24)
            k8s.core.v1.Secret(
                "secret", metadata={"name": "a", **within}, string_data={"password": password.result}, opts=opts
            )
            k8s.core.v1.ConfigMap("config", metadata={"name": "a", **within}, data={"a": config}, opts=opts)
            k8s.core.v1.ResourceQuota(
                "quota", metadata={"name": "a", **within}, spec={"hard": {"pods": pods}}, opts=opts
            )
            k8s.networking.v1.NetworkPolicy(
                "policy",
                metadata={"name": "a", **within},
                spec={"podSelector": {}, "egress": [{"ports": [{"port": 53 + n}]} for n in range(ports)]},
                opts=opts,
            )
            pulumi.export("uid", made.metadata.uid)
            pulumi.export("password", password.result)

        return build

    first = program(pods="10", config="one", ports=1)
    assert stack.preview(first) == {"create": 6}
    with pytest.raises(ApiError, match="not found"):
        client.get(f"/api/v1/namespaces/{own}")

    outputs = stack.up(first)
    assert outputs["uid"] == client.get(f"/api/v1/namespaces/{own}")["metadata"]["uid"]
    assert len(outputs["password"]) == 24
    assert outputs["password"] not in stack.everything_on_disk()
    assert outputs["password"] not in stack.printed
    assert stack.preview(first, expect_no_changes=True) == {"same": 6}

    second = program(pods="20", config="two", ports=2)
    stack.up(second)
    assert client.get(f"/api/v1/namespaces/{own}/resourcequotas/a")["spec"]["hard"] == {"pods": "20"}
    assert client.get(f"/api/v1/namespaces/{own}/configmaps/a")["data"] == {"a": "two"}
    policy = client.get(f"/apis/networking.k8s.io/v1/namespaces/{own}/networkpolicies/a")
    assert len(policy["spec"]["egress"]) == 2

    stack.destroy()
    with pytest.raises(ApiError, match="not found"):
        client.get(f"/api/v1/namespaces/{own}")


def test_creating_over_an_object_that_exists_fails_and_importing_it_shows_no_difference(
    stack: Stack, sandbox_instance: Instance, namespace: str
) -> None:
    def program(import_id: str | None) -> Program:
        def build() -> None:
            opts = options(sandbox_instance, import_=import_id, retain_on_delete=True)
            k8s.core.v1.Namespace("namespace", metadata={"name": namespace}, opts=opts)

        return build

    with pytest.raises(automation.CommandError, match="exists already and is not in this stack's state"):
        stack.up(program(import_id=None))
    assert "namespace" not in stack.resources()
    stack.up(program(import_id=namespace))
    assert stack.resources()["namespace"]["id"] == namespace
    assert stack.preview(program(import_id=None), expect_no_changes=True) == {"same": 1}


def test_a_refresh_shows_drift(stack: Stack, sandbox_instance: Instance, client: Client, namespace: str) -> None:
    def program() -> None:
        k8s.core.v1.ResourceQuota(
            "quota",
            metadata={"name": "a", "namespace": namespace, "annotations": {"pulumi.com/patchForce": "true"}},
            spec={"hard": {"pods": "10"}},
            opts=options(sandbox_instance),
        )

    stack.up(program)
    edited = {"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": {"pods": "99"}}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/a"
    client.apply(path, {**edited, "metadata": {"name": "a"}}, manager="somebody", force=True)
    stack.refresh()
    assert stack.resources()["quota"]["inputs"]["spec"]["hard"] == {"pods": "99"}
    assert stack.preview(program) == {"update": 1}


def test_a_password_stays_when_its_arguments_are_ignored(stack: Stack) -> None:
    def program(length: int) -> Program:
        def build() -> None:
            opts = ResourceOptions(ignore_changes=["length", "special"])
            password = random.RandomPassword("password", length=length, special=length > 30, opts=opts)
            pulumi.export("password", password.result)

        return build

    before = stack.up(program(24))
    assert stack.up(program(40)) == before


def release(
    name: str, namespace: str, opts: ResourceOptions, values: dict[str, Any], timeout: int = 60
) -> k8s.helm.v3.Release:
    return k8s.helm.v3.Release(
        name,
        k8s.helm.v3.ReleaseArgs(
            chart=str(CHART), name=name, namespace=namespace, values=values, timeout=timeout, max_history=5
        ),
        opts=opts,
    )


def test_one_release_that_fails_stops_neither_the_other_nor_its_own_repair(
    stack: Stack, sandbox_instance: Instance, client: Client, namespace: str
) -> None:
    def program(image: str, text: str) -> Program:
        def build() -> None:
            opts = options(sandbox_instance)
            password = pulumi.Output.secret("hunter22")
            good = release("good", namespace, opts, {"text": text, "password": password})
            release("bad", namespace, opts, {"image": image}, timeout=3)
            pulumi.export("revision", good.status.revision)

        return build

    failing = program("nowhere.invalid/image:1", "one")
    with pytest.raises(automation.CommandError, match="container main: ") as error:
        stack.up(failing, continue_on_error=True)
    assert "hunter22" not in str(error.value)
    assert "hunter22" not in stack.everything_on_disk()
    resources = stack.resources()
    assert resources["good"]["outputs"]["status"]["status"] == "deployed"
    assert resources["bad"]["outputs"]["status"]["status"] == "failed"
    assert "nowhere.invalid" in str(resources["bad"]["initErrors"])

    assert stack.preview(failing) == {"same": 1, "update": 1}
    assert stack.up(program("", "two"))["revision"] == 2
    assert "initErrors" not in stack.resources()["bad"]
    assert storage.records(client, namespace, "bad")[-1].status == "deployed"

    stack.destroy()
    assert storage.records(client, namespace, "good") == []
    assert json.loads(json.dumps(stack.resources())) == {}


def test_what_the_plugin_cannot_do_is_said_with_the_way_out(stack: Stack, sandbox_instance: Instance) -> None:
    def program() -> None:
        k8s.helm.v4.Chart("chart", chart=str(CHART), opts=options(sandbox_instance))

    with pytest.raises(automation.CommandError, match=r"helm\.sh/v4:Chart is not part of the sandbox's plugin"):
        stack.preview(program)
