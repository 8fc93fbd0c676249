"""The kubernetes provider's own settings, and the kubeconfigs behind them. No cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.proto import provider_pb2

from sandbox.plugins.failures import NotSupportedError, PluginError
from sandbox.plugins.kubernetes import kubeconfig
from sandbox.plugins.kubernetes.client import Throttle
from sandbox.plugins.kubernetes.provider import KubernetesProvider
from sandbox.plugins.kubernetes.settings import problems, settings
from sandbox.plugins.wire import UNKNOWN, encode

from .engine_double import Messages


def document(server: str = "https://a:1", user: dict[str, Any] | None = None, **cluster: Any) -> str:
    return json.dumps(
        {
            "clusters": [
                {"name": "c", "cluster": {"server": server, **cluster}},
                {"name": "d", "cluster": {"server": "https://d:1"}},
            ],
            "users": [{"name": "u", "user": user or {"token": "secret-token"}}],
            "contexts": [
                {"name": "k", "context": {"cluster": "c", "user": "u", "namespace": "n"}},
                {"name": "l", "context": {"cluster": "d", "user": "u"}},
            ],
            "current-context": "k",
        }
    )


def test_the_current_context_says_where_and_who() -> None:
    access = kubeconfig.load(document())
    assert (access.server, access.token, access.namespace) == ("https://a:1", "secret-token", "n")


def test_context_cluster_and_namespace_can_be_chosen() -> None:
    assert kubeconfig.load(document(), context="l").server == "https://d:1"
    assert kubeconfig.load(document(), context="l").namespace == "default"
    assert kubeconfig.load(document(), cluster="d", namespace="m").namespace == "m"
    assert kubeconfig.load(document(), cluster="d").server == "https://d:1"


def test_paths_in_a_kubeconfig_start_at_its_folder(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("PEM")
    (tmp_path / "token").write_text("t")
    path = tmp_path / "config"
    path.write_text(document(user={"tokenFile": "token"}, **{"certificate-authority": "ca.pem"}))
    access = kubeconfig.load(str(path))
    assert access.authority_pem == "PEM"
    assert access.token_file == tmp_path / "token"


def test_without_a_setting_the_environment_says_which_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    path.write_text(document())
    monkeypatch.setenv("KUBECONFIG", str(path))
    assert kubeconfig.load(None).server == "https://a:1"
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "gone"))
    with pytest.raises(PluginError, match="gone not found"):
        kubeconfig.load(None)


def test_one_access_can_be_written_as_a_kubeconfig_of_its_own() -> None:
    access = kubeconfig.load(document(**{"insecure-skip-tls-verify": True, "tls-server-name": "x"}))
    assert kubeconfig.load(access.document()) == access


@pytest.mark.parametrize("key", ["exec", "auth-provider", "username", "as"])
def test_ways_to_sign_in_that_need_more_are_refused_by_name(key: str) -> None:
    with pytest.raises(NotSupportedError, match=f"`{key}`.*official plugin"):
        kubeconfig.load(document(user={key: {"command": "x"}}))


@pytest.mark.parametrize(
    "text",
    ["nothing here", "a: [", "clusters: []\ncurrent-context: x", document().replace('"name": "c"', '"name": "z"')],
)
def test_a_broken_kubeconfig_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(PluginError) as error:
        kubeconfig.load(text)
    assert "kubeconfig" in str(error.value)
    assert "secret-token" not in str(error.value)


def test_a_token_does_not_show_itself() -> None:
    assert "secret-token" not in repr(kubeconfig.load(document()))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kubeconfg", "x"),
        ("renderYamlToDirectory", "out"),
        ("enableServerSideApply", "false"),
        ("enableServerSideApply", False),
        ("skipUpdateUnreachable", "true"),
        ("kubeClientSettings", '{"qps": 0}'),
        ("kubeClientSettings", '{"speed": 1}'),
        ("helmReleaseSettings", '{"driver": "configmap"}'),
        ("context", 3.5),
    ],
)
def test_settings_that_cannot_be_honoured_are_refused(name: str, value: Any) -> None:
    assert len(list(problems({name: value}))) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kubeconfig", UNKNOWN),
        ("kubeconfig", ""),
        ("version", "4.34.2"),
        ("enableServerSideApply", "true"),
        ("renderYamlToDirectory", ""),
        ("skipUpdateUnreachable", "false"),
        ("suppressHelmHookWarnings", "true"),
        ("clusterIdentifier", "x"),
        ("kubeClientSettings", '{"qps": 50.5, "burst": 100, "timeout": 30}'),
        ("helmReleaseSettings", '{"driver": "secret", "repositoryCache": "/tmp/x"}'),
    ],
)
def test_other_settings_are_taken(name: str, value: Any) -> None:
    assert list(problems({name: value})) == []


def test_switches_come_from_the_program_or_else_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_K8S_ENABLE_SECRET_MUTABLE", "true")
    monkeypatch.setenv("PULUMI_K8S_ENABLE_PATCH_FORCE", "true")
    found = settings({"kubernetes:config:enablePatchForce": "false", "kubernetes:config:upsertExistingObjects": "true"})
    assert {"enableSecretMutable", "upsertExistingObjects"} <= found.switches
    assert "enablePatchForce" not in found.switches


def test_unknown_settings_fail_the_configuration_too() -> None:
    with pytest.raises(PluginError, match="provider setting nope: unknown"):
        settings({"kubernetes:config:nope": "x"})


OTHER = document(server="https://b:1")


@pytest.mark.parametrize(
    ("old", "new", "changed", "replaced"),
    [
        ({"kubeconfig": document()}, {"kubeconfig": document()}, set(), set()),
        ({"kubeconfig": document()}, {"kubeconfig": OTHER}, {"kubeconfig"}, {"kubeconfig"}),
        ({"kubeconfig": document()}, {"kubeconfig": document(user={"token": "new"})}, {"kubeconfig"}, set()),
        ({"kubeconfig": document()}, {"kubeconfig": document(), "context": "l"}, {"context"}, {"context"}),
        ({"kubeconfig": document()}, {"kubeconfig": UNKNOWN}, {"kubeconfig"}, {"kubeconfig"}),
        (
            {"kubeconfig": document(), "clusterIdentifier": "x"},
            {"kubeconfig": OTHER, "clusterIdentifier": "x"},
            {"kubeconfig"},
            set(),
        ),
        (
            {"kubeconfig": document(), "clusterIdentifier": "x"},
            {"kubeconfig": UNKNOWN, "clusterIdentifier": "x"},
            {"kubeconfig"},
            set(),
        ),
        (
            {"kubeconfig": document(), "clusterIdentifier": "x"},
            {"kubeconfig": document(), "clusterIdentifier": "y"},
            {"clusterIdentifier"},
            {"clusterIdentifier"},
        ),
        (
            {"kubeconfig": document()},
            {"kubeconfig": document(), "clusterIdentifier": "x"},
            {"clusterIdentifier"},
            set(),
        ),
        ({"kubeconfig": "/gone/config"}, {"kubeconfig": document()}, {"kubeconfig"}, set()),
        ({"namespace": "a"}, {"namespace": "b"}, {"namespace"}, set()),
    ],
)
def test_another_cluster_is_another_provider_and_the_identifier_decides(
    old: dict[str, Any], new: dict[str, Any], changed: set[str], replaced: set[str]
) -> None:
    provider = KubernetesProvider(Messages())
    response = provider.diff_config(
        provider_pb2.DiffRequest(olds=encode(old), old_inputs=encode(old), news=encode(new))
    )
    assert set(response.diffs) == changed
    assert set(response.replaces) == replaced
    assert (response.changes == provider_pb2.DiffResponse.DIFF_SOME) == bool(changed)


def test_a_throttle_lets_a_burst_through_and_delays_the_rest() -> None:
    now = 100.0
    throttle = Throttle(per_second=10, burst=3, clock=lambda: now)
    assert [throttle.delay_s() for _ in range(6)] == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3])
    now = 200.0
    assert [throttle.delay_s() for _ in range(4)] == pytest.approx([0, 0, 0, 0.1])
