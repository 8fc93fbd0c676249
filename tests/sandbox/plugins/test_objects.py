"""Objects on a real API server, one call at a time."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.proto import provider_pb2

from sandbox.instance import Instance
from sandbox.plugins.failures import PartialFailureError, PluginError
from sandbox.plugins.kubernetes.client import ApiError, Client
from sandbox.plugins.kubernetes.provider import KubernetesProvider
from sandbox.plugins.wire import UNKNOWN, Secret, has_unknown, plain

from .engine_double import CheckError, EngineDouble, Messages

pytestmark = pytest.mark.cluster

CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
SECRET = "kubernetes:core/v1:Secret"
NAMESPACE = "kubernetes:core/v1:Namespace"
QUOTA = "kubernetes:core/v1:ResourceQuota"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
SERVICE = "kubernetes:core/v1:Service"
JOB = "kubernetes:batch/v1:Job"


def named(namespace: str, name: str = "a", **metadata: Any) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, **metadata}


def config_map(namespace: str, **data: str) -> dict[str, Any]:
    return {"metadata": named(namespace), "data": data}


def config_map_path(namespace: str, name: str = "a") -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}"


def edit(client: Client, path: str, api_version: str, kind: str, **fields: Any) -> dict[str, Any]:
    """Change an object as somebody at a keyboard would."""
    name = path.rpartition("/")[2]
    document = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}
    return client.apply(path, document, manager="somebody", force=True)


def test_an_object_is_made_changed_replaced_and_deleted(engine: EngineDouble, client: Client, namespace: str) -> None:
    inputs = {"metadata": named(namespace), "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/a"
    assert engine.up(POLICY, "p", inputs) == "create"
    assert engine.kept(POLICY, "p").id == f"{namespace}/a"
    assert engine.up(POLICY, "p", inputs) == "same"

    inputs["spec"]["policyTypes"] = ["Ingress", "Egress"]
    assert engine.up(POLICY, "p", inputs) == "update"
    assert client.get(path)["spec"]["policyTypes"] == ["Ingress", "Egress"]

    inputs["metadata"] = named(namespace, "b")
    assert engine.diff(POLICY, "p", inputs).replaces == {"metadata.name"}
    assert engine.up(POLICY, "p", inputs) == "replace"
    with pytest.raises(ApiError, match=r"not found"):
        client.get(path)

    engine.destroy(POLICY, "p")
    with pytest.raises(ApiError, match=r"not found"):
        client.get(path.removesuffix("/a") + "/b")


def test_creating_takes_nothing_over_and_says_how_to_adopt(
    engine: EngineDouble, messages: Messages, client: Client, namespace: str
) -> None:
    edit(client, config_map_path(namespace), "v1", "ConfigMap", data={"mine": "1"})
    engine.preview(CONFIG_MAP, "c", config_map(namespace, mine="2"))
    assert "the run will fail here" in messages.warnings[0]
    with pytest.raises(
        PluginError, match=rf"exists already.*pulumi import --generate-code=false {CONFIG_MAP} NAME {namespace}/a"
    ):
        engine.up(CONFIG_MAP, "c", config_map(namespace, mine="2"))
    assert client.get(config_map_path(namespace))["data"] == {"mine": "1"}
    assert engine.state == {}


def test_of_two_that_create_the_same_object_at_once_one_wins(
    engine: EngineDouble, client: Client, namespace: str
) -> None:
    outcomes: list[str] = []

    def create(name: str) -> None:
        try:
            outcomes.append(engine.up(CONFIG_MAP, name, config_map(namespace, by=name)))
        except PluginError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=create, args=(f"c{index}",)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("create") == 1
    assert sum("exists already" in outcome for outcome in outcomes) == 5
    (winner,) = engine.state.values()
    assert client.get(config_map_path(namespace))["data"] == plain(winner.outputs["data"])


def test_an_object_of_a_fixed_name_is_deleted_before_it_is_replaced(engine: EngineDouble, namespace: str) -> None:
    engine.up(CONFIG_MAP, "c", config_map(namespace, a="1"))
    diff = engine.diff(CONFIG_MAP, "c", config_map(namespace, a="2"))
    assert (diff.replaces, diff.delete_before_replace) == ({"data.a"}, True)
    assert engine.up(CONFIG_MAP, "c", config_map(namespace, a="2")) == "replace"


def test_an_object_without_a_name_gets_one_keeps_it_and_is_made_before_its_predecessor_goes(
    engine: EngineDouble, namespace: str
) -> None:
    inputs: dict[str, Any] = {"metadata": {"namespace": namespace}, "data": {"a": "1"}}
    engine.up(CONFIG_MAP, "c", inputs)
    kept = engine.kept(CONFIG_MAP, "c")
    assert kept.outputs["metadata"]["name"].startswith("c-")
    assert kept.outputs["metadata"]["annotations"] == {"pulumi.com/autonamed": "true"}
    assert engine.up(CONFIG_MAP, "c", inputs) == "same"
    diff = engine.diff(CONFIG_MAP, "c", inputs | {"data": {"a": "2"}})
    assert (diff.replaces, diff.delete_before_replace) == ({"data.a"}, False)


def test_automatic_naming_can_be_proposed_and_switched_off(engine: EngineDouble, namespace: str) -> None:
    options = provider_pb2.CheckRequest.AutonamingOptions
    request = provider_pb2.CheckRequest(urn=f"urn:pulumi:s::p::{CONFIG_MAP}::c", type=CONFIG_MAP, name="c")
    request.news.update({"metadata": {"namespace": namespace}})
    request.autonaming.CopyFrom(options(proposed_name="proposed", mode=options.ENFORCE))
    assert engine.provider.check(request).inputs["metadata"]["name"] == "proposed"
    request.autonaming.CopyFrom(options(mode=options.DISABLE))
    assert engine.provider.check(request).failures[0].property == "metadata.name"


def test_an_object_without_a_namespace_is_in_the_default_one(engine: EngineDouble) -> None:
    assert engine.check(CONFIG_MAP, "c", {"metadata": {"name": "a"}})["metadata"]["namespace"] == "default"
    assert "namespace" not in engine.check(NAMESPACE, "n", {"metadata": {"name": "a"}})["metadata"]


def test_a_preview_changes_nothing_and_knows_what_can_be_known(
    engine: EngineDouble, client: Client, namespace: str
) -> None:
    foretold = engine.preview(
        SERVICE, "s", {"metadata": named(namespace), "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}
    )
    assert foretold["spec"]["type"] == "ClusterIP"
    assert foretold["spec"]["clusterIP"] is UNKNOWN
    assert foretold["metadata"]["uid"] is UNKNOWN
    assert "status" not in foretold
    with pytest.raises(ApiError, match=r"not found"):
        client.get(f"/api/v1/namespaces/{namespace}/services/a")

    engine.up(CONFIG_MAP, "c", config_map(namespace, a="1"))
    labelled = config_map(namespace, a="1")
    labelled["metadata"]["labels"] = {"x": "y"}
    assert engine.preview(CONFIG_MAP, "c", labelled)["metadata"]["labels"] == {"x": "y"}
    assert "labels" not in client.get(config_map_path(namespace))["metadata"]


def test_a_preview_works_before_the_namespace_is_there_and_with_unknown_values(engine: EngineDouble) -> None:
    assert engine.preview(CONFIG_MAP, "c", config_map("not-there", a="1"))["data"] == {"a": "1"}
    unknown = engine.preview(CONFIG_MAP, "c", {"metadata": {"name": "a", "namespace": UNKNOWN}, "data": {}})
    assert unknown["metadata"]["namespace"] is UNKNOWN
    secret = engine.preview(SECRET, "s", {"metadata": named("not-there"), "stringData": {"a": Secret(UNKNOWN)}})
    assert has_unknown(secret["data"])


def test_a_preview_finds_what_the_api_server_will_refuse(engine: EngineDouble, namespace: str) -> None:
    with pytest.raises(PluginError, match=r"invalid.*policyTypes"):
        engine.preview(POLICY, "p", {"metadata": named(namespace), "spec": {"policyTypes": ["Sideways"]}})


def test_unknown_fields_are_refused_and_never_dropped(engine: EngineDouble, namespace: str) -> None:
    with pytest.raises(PluginError, match=r"polcyTypes"):
        engine.up(POLICY, "p", {"metadata": named(namespace), "spec": {"podSelector": {}, "polcyTypes": []}})


def test_a_kind_that_is_not_there_is_said_so(engine: EngineDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.plugins.kubernetes.applying._PAUSES_S", ())
    token = "kubernetes:stable.example.com/v1:Shop"
    assert engine.preview(token, "s", {"metadata": {"name": "a"}, "spec": 1})["spec"] == 1
    with pytest.raises(PluginError, match=r"no such kind"):
        engine.up(token, "s", {"metadata": {"name": "a"}})


def test_data_of_a_secret_is_secret_in_inputs_and_outputs(engine: EngineDouble, client: Client, namespace: str) -> None:
    inputs = {"metadata": named(namespace), "stringData": {"password": "hunter22"}, "type": "Opaque"}
    engine.up(SECRET, "s", inputs)
    kept = engine.kept(SECRET, "s")
    assert isinstance(kept.outputs["data"], Secret)
    assert isinstance(kept.inputs["data"], Secret)
    assert isinstance(kept.outputs["__inputs"]["data"], Secret)
    live = client.get(f"/api/v1/namespaces/{namespace}/secrets/a")
    assert base64.b64decode(live["data"]["password"]) == b"hunter22"
    assert engine.up(SECRET, "s", inputs) == "same"


def test_a_removed_entry_of_a_secret_is_gone_on_the_server(
    engine: EngineDouble, client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sandbox.plugins.kubernetes.cluster.Cluster.is_on", lambda _, name: name == "enableSecretMutable"
    )
    engine.up(SECRET, "s", {"metadata": named(namespace), "stringData": {"a": "first", "b": "second"}})
    assert engine.up(SECRET, "s", {"metadata": named(namespace), "stringData": {"a": "first"}}) == "update"
    assert set(client.get(f"/api/v1/namespaces/{namespace}/secrets/a")["data"]) == {"a"}


def test_what_is_secret_in_the_inputs_is_secret_in_the_outputs(engine: EngineDouble, namespace: str) -> None:
    inputs = config_map(namespace) | {"data": {"open": "1", "hidden": Secret("hunter22")}}
    engine.up(CONFIG_MAP, "c", inputs)
    assert engine.kept(CONFIG_MAP, "c").outputs["data"] == {"open": "1", "hidden": Secret("hunter22")}


def test_no_error_message_holds_a_secret(engine: EngineDouble, namespace: str) -> None:
    inputs = {
        "metadata": named(namespace, labels={"a": Secret("not a label: hunter22!")}),
        "spec": {"podSelector": {}},
    }
    with pytest.raises(PluginError) as error:
        engine.up(POLICY, "p", inputs)
    assert "[secret]" in str(error.value)
    assert "hunter22" not in str(error.value)


def test_a_refresh_without_a_change_changes_nothing(engine: EngineDouble, namespace: str) -> None:
    inputs = {"metadata": named(namespace), "spec": {"hard": {"pods": "10", "requests.cpu": "2000m"}}}
    engine.up(QUOTA, "q", inputs)
    before = engine.kept(QUOTA, "q").inputs
    kept = engine.refresh(QUOTA, "q")
    assert kept is not None
    assert kept.inputs == before
    assert engine.up(QUOTA, "q", inputs) == "same"


def test_a_refresh_shows_drift_and_the_next_run_asks_before_it_takes_a_field_back(
    engine: EngineDouble, client: Client, namespace: str
) -> None:
    inputs = {"metadata": named(namespace), "spec": {"hard": {"pods": "10"}}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/a"
    engine.up(QUOTA, "q", inputs)
    edit(client, path, "v1", "ResourceQuota", spec={"hard": {"pods": "99"}})
    assert engine.up(QUOTA, "q", inputs) == "same"

    kept = engine.refresh(QUOTA, "q")
    assert kept is not None
    assert kept.inputs["spec"]["hard"]["pods"] == "99"
    assert engine.diff(QUOTA, "q", inputs).paths == {"spec.hard.pods"}
    with pytest.raises(PluginError, match=r"spec\.hard\.pods.*somebody.*patchForce.*ignore_changes"):
        engine.up(QUOTA, "q", inputs)

    inputs["metadata"]["annotations"] = {"pulumi.com/patchForce": "true"}
    assert engine.up(QUOTA, "q", inputs) == "update"
    assert client.get(path)["spec"]["hard"] == {"pods": "10"}


def test_a_field_that_is_ignored_stays_with_whoever_set_it(
    engine: EngineDouble, client: Client, namespace: str
) -> None:
    inputs = {"metadata": named(namespace), "spec": {"hard": {"pods": "10", "services": "1"}}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/a"
    engine.up(QUOTA, "q", inputs)
    edit(client, path, "v1", "ResourceQuota", spec={"hard": {"pods": "99"}})
    inputs["spec"]["hard"]["services"] = "2"
    assert engine.up(QUOTA, "q", inputs, ignore_changes=("spec.hard.pods",)) == "update"
    assert client.get(path)["spec"]["hard"] == {"pods": "99", "services": "2"}


@pytest.mark.parametrize("labels", [{"team": "shops"}, None], ids=["set here", "set by nobody"])
def test_metadata_that_is_ignored_as_a_whole_stays_while_the_rest_is_changed(
    engine: EngineDouble, client: Client, namespace: str, labels: dict[str, str] | None
) -> None:
    marks = {"labels": labels} if labels else {}
    inputs = {"metadata": {**named(namespace), **marks}, "spec": {"hard": {"pods": "10"}}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/a"
    engine.up(QUOTA, "q", inputs)
    changed = {"metadata": {**named(namespace), "labels": {"team": "other"}}, "spec": {"hard": {"pods": "11"}}}
    assert engine.up(QUOTA, "q", changed, ignore_changes=("metadata",)) == "update"
    live = client.get(path)
    assert (live["spec"]["hard"], live["metadata"].get("labels")) == ({"pods": "11"}, labels)


def test_an_object_that_was_deleted_by_hand_is_gone_after_a_refresh(
    engine: EngineDouble, client: Client, namespace: str
) -> None:
    engine.up(CONFIG_MAP, "c", config_map(namespace, a="1"))
    client.delete(config_map_path(namespace), {})
    assert engine.refresh(CONFIG_MAP, "c") is None
    assert engine.up(CONFIG_MAP, "c", config_map(namespace, a="1")) == "create"


def test_an_update_never_makes_an_object_that_is_gone(engine: EngineDouble, client: Client, namespace: str) -> None:
    inputs = {"metadata": named(namespace), "spec": {"hard": {"pods": "10"}}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/a"
    engine.up(QUOTA, "q", inputs)
    client.delete(path, {})
    inputs["spec"]["hard"]["pods"] = "11"
    with pytest.raises(PluginError, match=r"gone.*pulumi refresh"):
        engine.up(QUOTA, "q", inputs)
    with pytest.raises(ApiError, match=r"not found"):
        client.get(path)


def test_only_the_object_in_the_state_is_deleted(engine: EngineDouble, client: Client, namespace: str) -> None:
    engine.up(CONFIG_MAP, "c", config_map(namespace, a="1"))
    client.delete(config_map_path(namespace), {})
    edit(client, config_map_path(namespace), "v1", "ConfigMap", data={"another": "1"})
    with pytest.raises(PluginError, match=r"another one has its name.*pulumi refresh"):
        engine.destroy(CONFIG_MAP, "c")
    assert client.get(config_map_path(namespace))["data"] == {"another": "1"}


def test_deleting_what_is_gone_already_is_fine(engine: EngineDouble, client: Client, namespace: str) -> None:
    engine.up(CONFIG_MAP, "c", config_map(namespace, a="1"))
    client.delete(config_map_path(namespace), {})
    engine.destroy(CONFIG_MAP, "c")


def test_a_deletion_waits_and_names_what_holds_the_object(engine: EngineDouble, client: Client, namespace: str) -> None:
    inputs = config_map(namespace, a="1")
    inputs["metadata"]["finalizers"] = ["example.com/hold"]
    engine.up(CONFIG_MAP, "c", inputs)
    with pytest.raises(PluginError, match=r"still there.*finalizers.*example.com/hold"):
        engine.destroy(CONFIG_MAP, "c", timeout_s=1)
    release = threading.Timer(0.5, lambda: _without_finalizers(client, namespace, engine))
    release.start()
    engine.destroy(CONFIG_MAP, "c", timeout_s=30)
    with pytest.raises(ApiError, match=r"not found"):
        client.get(config_map_path(namespace))


def _without_finalizers(client: Client, namespace: str, engine: EngineDouble) -> None:
    manager = engine.kept(CONFIG_MAP, "c").outputs["__fieldManager"]
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    client.apply(config_map_path(namespace), document, manager=manager)


def test_a_namespace_that_is_held_says_by_what(engine: EngineDouble, client: Client) -> None:
    name = f"plugins-{secrets.token_hex(4)}"
    engine.up(NAMESPACE, "n", {"metadata": {"name": name}})
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "finalizers": ["example.com/hold"]}}
    client.apply(config_map_path(name), held, manager="test")
    with pytest.raises(PluginError, match=r"NamespaceFinalizersRemaining.*example.com/hold"):
        engine.destroy(NAMESPACE, "n", timeout_s=6)
    client.apply(config_map_path(name), {**held, "metadata": {"name": "a"}}, manager="test")


def test_an_import_of_a_namespace_shows_no_difference_to_the_program(
    engine: EngineDouble, client: Client, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}"
    edit(client, path, "v1", "Namespace", metadata={"name": namespace, "labels": {"a": "1"}})
    inputs = {"metadata": {"name": namespace, "labels": {"a": "1"}}}
    assert engine.adopt(NAMESPACE, "n", namespace, inputs).paths == frozenset()
    assert engine.up(NAMESPACE, "n", inputs) == "same"


def test_an_import_that_differs_says_where(engine: EngineDouble, namespace: str) -> None:
    inputs = {"metadata": {"name": namespace, "labels": {"a": "2"}}}
    assert engine.adopt(NAMESPACE, "n", namespace, inputs).paths == {"metadata.labels.a"}


@pytest.mark.parametrize(
    ("token", "rest"),
    [
        (SECRET, {"stringData": {"a": "hunter22"}, "type": "Opaque"}),
        (QUOTA, {"spec": {"hard": {"pods": "10", "requests.cpu": "2000m"}}}),
        (POLICY, {"spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 53}]}]}}),
        (
            "kubernetes:core/v1:LimitRange",
            {"spec": {"limits": [{"type": "Container", "default": {"cpu": "100m"}, "max": {"cpu": "1"}}]}},
        ),
        ("kubernetes:core/v1:ServiceAccount", {"automountServiceAccountToken": False}),
    ],
)
def test_a_lost_state_is_rebuilt_by_imports_without_a_difference(
    engine: EngineDouble, namespace: str, token: str, rest: dict[str, Any]
) -> None:
    inputs = {"metadata": named(namespace, labels={"x": "y"}), **rest}
    engine.up(token, "o", inputs)
    kept = engine.kept(token, "o")
    engine.state.clear()
    assert engine.adopt(token, "o", kept.id, inputs).paths == frozenset()
    assert engine.up(token, "o", inputs) == "same"
    inputs["metadata"]["labels"] = {"x": "z"}
    assert engine.up(token, "o", inputs) == "update"


def test_a_quota_is_ready_when_the_controller_has_taken_it_over(engine: EngineDouble, namespace: str) -> None:
    inputs = {"metadata": named(namespace), "spec": {"hard": {"pods": "10"}}}
    engine.up(QUOTA, "q", inputs)
    assert engine.kept(QUOTA, "q").outputs["status"]["hard"] == {"pods": "10"}


def deployment(namespace: str, image: str) -> dict[str, Any]:
    labels = {"app": "a"}
    container = {"name": "main", "image": image, "resources": {"limits": {"cpu": "10m", "memory": "16Mi"}}}
    return {
        "metadata": named(namespace),
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
            },
        },
    }


def test_an_object_that_does_not_become_ready_stays_in_the_state_and_is_tried_again(
    engine: EngineDouble, namespace: str
) -> None:
    inputs = deployment(namespace, "nowhere.invalid/image:1")
    with pytest.raises(PartialFailureError, match=r"not ready after 1 s: 0 of 1 pods are available"):
        engine.up(DEPLOYMENT, "d", inputs, timeout_s=1)
    assert engine.kept(DEPLOYMENT, "d").failed
    with pytest.raises(PartialFailureError):
        engine.refresh(DEPLOYMENT, "d")
    assert engine.kept(DEPLOYMENT, "d").failed

    inputs["metadata"]["annotations"] = {"pulumi.com/skipAwait": "true"}
    assert engine.up(DEPLOYMENT, "d", inputs) == "update"
    assert not engine.kept(DEPLOYMENT, "d").failed
    engine.destroy(DEPLOYMENT, "d")


def test_a_claim_that_waits_for_its_first_pod_is_ready(engine: EngineDouble, namespace: str) -> None:
    inputs = {
        "metadata": named(namespace),
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    assert engine.up(CLAIM, "c", inputs, timeout_s=20) == "create"
    assert engine.kept(CLAIM, "c").outputs["status"]["phase"] == "Pending"
    inputs["spec"]["storageClassName"] = "another"
    assert engine.diff(CLAIM, "c", inputs).replaces == {"spec.storageClassName"}


def test_a_cancel_ends_a_wait_at_once_and_keeps_the_object(engine: EngineDouble, namespace: str) -> None:
    errors: list[Exception] = []

    def create() -> None:
        try:
            engine.up(DEPLOYMENT, "d", deployment(namespace, "nowhere.invalid/image:1"), timeout_s=600)
        except PluginError as error:
            errors.append(error)

    thread = threading.Thread(target=create)
    thread.start()
    while not engine.provider._cluster.client._watching:
        thread.join(0.01)
    engine.provider.interrupt()
    thread.join(30)
    assert not thread.is_alive()
    assert isinstance(errors[0], PartialFailureError)
    assert engine.kept(DEPLOYMENT, "d").failed


def test_a_cluster_that_does_not_answer_is_named(
    sandbox_instance: Instance, messages: Messages, tmp_path: Path
) -> None:
    text = sandbox_instance.kubeconfig.read_text().replace(str(sandbox_instance.api_port), "1")
    provider = KubernetesProvider(messages)
    provider.configure(provider_pb2.ConfigureRequest(variables={"kubernetes:config:kubeconfig": text}))
    engine = EngineDouble(provider)
    assert engine.preview(CONFIG_MAP, "c", config_map("a", b="1"))["data"] == {"b": "1"}
    assert "not tried out in this preview: cluster https://127.0.0.1:1: no answer" in messages.warnings[0]
    with pytest.raises(PluginError, match=r"cluster https://127.0.0.1:1: no answer.*check that it runs"):
        engine.up(CONFIG_MAP, "c", config_map("a", b="1"))


def test_wrong_credentials_are_said_to_be_that(sandbox_instance: Instance, messages: Messages) -> None:
    document = json.loads(sandbox_instance.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": "wrong-token"}
    provider = KubernetesProvider(messages)
    provider.configure(provider_pb2.ConfigureRequest(variables={"kubernetes:config:kubeconfig": json.dumps(document)}))
    with pytest.raises(PluginError, match=r"not allowed.*check the kubeconfig's user") as error:
        EngineDouble(provider).up(NAMESPACE, "n", {"metadata": {"name": "a"}})
    provider.close()
    assert "wrong-token" not in str(error.value)


def test_charts_that_the_sdk_renders_are_refused_with_the_way_out(engine: EngineDouble) -> None:
    with pytest.raises(PluginError, match=r"helm.sh/v4:Chart.*official plugin"):
        engine.provider.construct(provider_pb2.ConstructRequest(type="kubernetes:helm.sh/v4:Chart"))
    with pytest.raises(PluginError, match=r"kubernetes:helm:template.*official plugin"):
        engine.provider.invoke(provider_pb2.InvokeRequest(tok="kubernetes:helm:template"))


def test_a_kind_of_another_group_is_refused_by_check(engine: EngineDouble) -> None:
    with pytest.raises(CheckError) as error:
        engine.check(CONFIG_MAP, "c", {"kind": "Secret", "metadata": {"name": "a"}})
    assert set(error.value.reasons) == {"kind"}
