"""What `stores doctor` says of the cluster around the stores; each answer of the cluster is given by hand."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from audit import live, surroundings
from audit.check import Check
from stacks.settings import Settings

GATEWAY = ("Gateway", "gateway", "stores")
DEFINITION = ("CustomResourceDefinition", "", "listenersets.gateway.networking.k8s.io")
SERVICE = ("Service", "default", "kubernetes")
ENDPOINTS = ("EndpointSlice", "default", "kubernetes")


@dataclass
class Cluster:
    """A cluster with these objects, by kind, namespace and name, and these pods."""

    objects: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    pods: list[Any] = field(default_factory=list)
    address: str = "https://10.0.0.1:6443"
    namespaces: tuple[str, ...] = ("ingress-nginx", "envoy")
    asked_for: list[Any] = field(default_factory=list)

    def ingress_classes(self) -> frozenset[str]:
        return frozenset({"traefik"})

    def namespace(self, name: str) -> object | None:
        return object() if name in self.namespaces else None


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Check]]:
    """Return what examines a cluster."""

    def read(cluster: Cluster, _version: str, kind: str, namespace: str, name: str) -> Any:
        return cluster.objects.get((kind, namespace, name))

    def pods(cluster: Cluster, namespace: str, labels: Any) -> Any:
        cluster.asked_for.append((namespace, dict(labels)))
        return cluster.pods

    monkeypatch.setattr(live, "read", read)
    monkeypatch.setattr(live, "pods", pods)
    return lambda examination, *arguments: list(examination(*arguments))


def config(**more: Any) -> Settings:
    return Settings(environment="prod", protected=True, **more)


def values(**more: Any) -> dict[str, Any]:
    ingress = {"kind": "Ingress", "className": "nginx", "tls": {"clusterIssuer": ""}}
    found: dict[str, Any] = {
        "ingress": ingress,
        "gateway": {"parentRefs": [{"name": "stores", "namespace": "gateway"}]},
        "web": {"trustedProxies": ["10.0.0.0/8", "172.16.0.0/12"]},
    }
    found["ingress"] = {**ingress, **more}
    return found


def pod(address: str | None, phase: str = "Running") -> Any:
    return SimpleNamespace(status=SimpleNamespace(pod_ip=address, phase=phase))


def gateway(**condition: Any) -> dict[str, Any]:
    return {"status": {"conditions": [{"type": "Accepted", "status": "True"}, {"type": "Programmed", **condition}]}}


def definition(**served: bool) -> dict[str, Any]:
    return {"spec": {"versions": [{"name": name, "served": on} for name, on in served.items()]}}


def of(name: str, checks: Iterable[Check]) -> list[tuple[str, str]]:
    return [(check.state, check.detail) for check in checks if check.name == name]


def test_an_ingress_needs_its_class(ask: Callable[..., list[Check]]) -> None:
    checks = ask(surroundings.way_in, Cluster(), config(), values())
    assert of("ingress class", checks) == [("fail", "'nginx' is not in the cluster")]
    checks = ask(surroundings.way_in, Cluster(), config(), values(className="traefik"))
    assert of("ingress class", checks) == [("ok", "traefik")]
    assert of("gateway", checks) == []


def test_a_cluster_with_a_gateway_alone_is_in_order(ask: Callable[..., list[Check]]) -> None:
    cluster = Cluster({GATEWAY: gateway(status="True")})
    checks = ask(surroundings.way_in, cluster, config(ingress_namespace="envoy"), values(kind="HTTPRoute"))
    assert [(check.name, check.state) for check in checks] == [("gateway", "ok"), ("ingress namespace", "ok")]


@pytest.mark.parametrize(
    ("found", "detail"),
    [
        (None, "gateway/stores is not in the cluster"),
        ({}, "gateway/stores takes no requests: no controller has taken it up"),
        (gateway(status="False", message="no address"), "gateway/stores takes no requests: no address"),
    ],
)
def test_a_gateway_that_takes_no_requests_is_told(
    ask: Callable[..., list[Check]], found: dict[str, Any] | None, detail: str
) -> None:
    cluster = Cluster({} if found is None else {GATEWAY: found})
    checks = ask(surroundings.way_in, cluster, config(), values(kind="HTTPRoute"))
    assert of("gateway", checks) == [("fail", detail)]


def test_a_gateway_in_the_stores_own_namespaces_cannot_be_looked_at(ask: Callable[..., list[Check]]) -> None:
    wanted = values(kind="HTTPRoute") | {"gateway": {"parentRefs": [{"name": "stores"}]}}
    ((state, _),) = of("gateway", ask(surroundings.way_in, Cluster(), config(), wanted))
    assert state == "warn"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, ("fail", f"{DEFINITION[2]} is not in the cluster")),
        (definition(v1=True), ("ok", DEFINITION[2])),
        (definition(v1=False, v1alpha1=True), ("fail", f"{DEFINITION[2]} is served as v1alpha1 alone, not as v1")),
    ],
)
def test_domains_with_certificates_behind_a_gateway_need_listener_sets(
    ask: Callable[..., list[Check]], found: dict[str, Any] | None, expected: tuple[str, str]
) -> None:
    cluster = Cluster({GATEWAY: gateway(status="True")} | ({} if found is None else {DEFINITION: found}))
    wanted = values(kind="HTTPRoute", tls={"clusterIssuer": "letsencrypt"})
    assert of("listener sets", ask(surroundings.way_in, cluster, config(), wanted)) == [expected]


def test_labels_that_no_pod_of_the_controller_has_let_nobody_in(ask: Callable[..., list[Check]]) -> None:
    cluster = Cluster()
    checks = ask(surroundings.way_in, cluster, config(ingress_labels={"app": "traefik"}), values())
    told = "no pod of ingress-nginx has the labels {app: traefik}, so no request gets in"
    assert of("ingress pods", checks) == [("fail", told)]
    assert cluster.asked_for == [("ingress-nginx", {"app": "traefik"})]
    assert of("ingress pods", ask(surroundings.way_in, cluster, config(), values())) == []


def test_a_controller_that_shops_do_not_believe_is_told(ask: Callable[..., list[Check]]) -> None:
    cluster = Cluster(
        pods=[pod("10.1.0.4"), pod("172.31.255.255"), pod("100.64.0.9"), pod(None), pod("1.1.1.1", "Failed")]
    )
    told = of("trusted proxies", ask(surroundings.way_in, cluster, config(), values()))
    assert [state for state, _ in told] == ["warn"]
    assert told[0][1].startswith("a pod of ingress-nginx has 100.64.0.9: ")


def api_server(*, service: str = "10.96.0.1", endpoint: str = "10.0.0.5", host: str = "10.0.0.1") -> Cluster:
    found = {
        SERVICE: {"spec": {"clusterIPs": [service, "fd00::1"]}},
        ENDPOINTS: {"endpoints": [{"addresses": [endpoint]}, {"addresses": ["2001:db8::5"]}]},
    }
    return Cluster(found, address=f"https://{host}:6443")


def test_an_api_server_in_closed_ranges_is_in_order(ask: Callable[..., list[Check]]) -> None:
    assert ask(surroundings.api_server, api_server(), config()) == [
        Check("API server", "ok", "closed to shops: 10.0.0.1, 10.0.0.5, 10.96.0.1")
    ]


@pytest.mark.parametrize(
    ("public", "where"),
    [("service", "the Service default/kubernetes"), ("endpoint", "the endpoints of default/kubernetes"),
     ("host", "the kubeconfig")],
)  # fmt: skip
def test_an_api_server_with_a_public_address_is_told_with_the_line_to_write(
    ask: Callable[..., list[Check]], public: str, where: str
) -> None:
    cluster = api_server(**{public: "203.0.113.9"})
    (check,) = ask(surroundings.api_server, cluster, config(cluster_cidrs=("198.51.100.0/24",)))
    assert (check.state, check.detail) == ("warn", f"shops can call 203.0.113.9 (of {where}): it is public")
    line = "`stores:clusterCidrs: [198.51.100.0/24, 203.0.113.9/32]`"
    assert check.cure == f"write {line} into Pulumi.prod.yaml, then `stores up`"
    written = config(cluster_cidrs=("198.51.100.0/24", "203.0.113.9/32"))
    assert [one.state for one in ask(surroundings.api_server, cluster, written)] == ["ok"]


def test_every_address_of_the_kubeconfigs_host_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[..., list[Check]]
) -> None:
    def resolve(host: str, *_: object, **__: object) -> list[Any]:
        assert host == "api.example.com"
        return [(0, 0, 0, "", (address, 0)) for address in ("203.0.113.9", "203.0.113.10", "10.0.0.5")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    checks = ask(surroundings.api_server, api_server(host="api.example.com"), config())
    assert [check.detail.split()[3] for check in checks] == ["203.0.113.9", "203.0.113.10"]
    assert all("[203.0.113.9/32, 203.0.113.10/32]" in check.cure for check in checks)


def test_a_host_that_has_no_address_here_is_told(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[..., list[Check]]
) -> None:
    def resolve(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    told = of("API server", ask(surroundings.api_server, api_server(host="api.example.com"), config()))
    assert [state for state, _ in told] == ["warn", "ok"]
