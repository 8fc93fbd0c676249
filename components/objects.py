"""Every Kubernetes object that surrounds a store's release, as plain data.

Pure functions: the same arguments give the same objects, so a plan can be made, tested and digested with no engine.
`components.store_tenant` registers exactly what stands here. Nothing here knows a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from components import naming

Object = dict[str, Any]

WORDPRESS_PORT: Final = 8080
MARIADB_PORT: Final = 3306
DNS_PORT: Final = 53
HTTPS_PORT: Final = 443
# Where cert-manager's solver of HTTP-01 challenges listens, and the label of its pods, in the store's own namespace.
# Source: https://cert-manager.io/docs/configuration/acme/http01/
SOLVER_PORT: Final = 8089

# Everything that a shop has no business to call: private, carrier-grade, link-local (cloud metadata), loopback and
# multicast ranges, and two more places of cloud metadata: Oracle's in 192.0.0.0/24, and Azure's WireServer, which has a
# public address. Pods and services lie in these on every common cluster; others add theirs by `cluster_cidrs`.
PRIVATE_CIDRS: Final = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)

_SELECTOR: Final = "app.kubernetes.io/component"


@dataclass(frozen=True)
class Quota:
    """What one store may take in all. Quantities are Kubernetes quantities; counts are objects."""

    cpu: str = "2"
    memory: str = "4Gi"
    storage: str = "20Gi"
    persistent_volume_claims: int = 4
    pods: int = 12
    services: int = 6
    secrets: int = 32
    config_maps: int = 20


@dataclass(frozen=True)
class Destination:
    """One place outside of its namespace that pods of a store may call, on one port.

    Pods of `namespace` with `labels`, whose port it is (a Service's own may differ); or addresses in `cidrs`; with
    neither, any public address.
    """

    port: int
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    cidrs: Sequence[str] = ()


@dataclass(frozen=True)
class Surroundings:
    """What the cluster looks like from a store: who may call it, and which ranges it must not call.

    `ingress_cidrs` are where an ingress controller on the nodes' own network calls from, and `dns_cidrs` where a name
    server on it answers: neither is a pod that a selector could name.
    """

    ingress_namespace: str = "ingress-nginx"
    ingress_labels: Mapping[str, str] = field(default_factory=dict)
    """Of the ingress controller's pods; empty: all pods of the namespace."""
    ingress_cidrs: Sequence[str] = ()
    dns_namespace: str = "kube-system"
    dns_labels: Mapping[str, str] = field(default_factory=lambda: {"k8s-app": "kube-dns"})
    dns_ports: Sequence[int] = (DNS_PORT,)
    dns_cidrs: Sequence[str] = ()
    cluster_cidrs: Sequence[str] = ()
    destinations: Sequence[Destination] = ()
    """Where a shop's webhooks and mail go, besides HTTPS to public addresses."""
    database: Destination | None = None
    """The database server that stores share; None: each has its own."""


def namespace(store_id: str, labels: Mapping[str, str]) -> Object:
    """Return the Namespace; it admits only pods of the restricted profile."""
    pod_security = {
        f"pod-security.kubernetes.io/{mode}{suffix}": value
        for mode in ("enforce", "audit", "warn")
        for suffix, value in (("", "restricted"), ("-version", "latest"))
    }
    return {"metadata": {"name": naming.namespace(store_id), "labels": {**labels, **pod_security}}}


def resource_quota(store_id: str, quota: Quota, labels: Mapping[str, str]) -> Object:
    """Return the ResourceQuota: the store's caps, and no way to open a node's or a cloud's port."""
    return {
        "metadata": _metadata(store_id, "store", labels),
        "spec": {
            "hard": {
                "limits.cpu": quota.cpu,
                "limits.memory": quota.memory,
                "requests.cpu": quota.cpu,
                "requests.memory": quota.memory,
                "requests.storage": quota.storage,
                "persistentvolumeclaims": str(quota.persistent_volume_claims),
                "pods": str(quota.pods),
                "services": str(quota.services),
                "services.nodeports": "0",
                "services.loadbalancers": "0",
                "secrets": str(quota.secrets),
                "configmaps": str(quota.config_maps),
            }
        },
    }


def limit_range(store_id: str, quota: Quota, labels: Mapping[str, str]) -> Object:
    """Return the LimitRange: a container that names no resources gets small ones; a claim stays within the quota."""
    return {
        "metadata": _metadata(store_id, "store", labels),
        "spec": {
            "limits": [
                {
                    "type": "Container",
                    "default": {"cpu": "100m", "memory": "128Mi"},
                    "defaultRequest": {"cpu": "10m", "memory": "32Mi"},
                    "max": {"cpu": quota.cpu, "memory": quota.memory},
                },
                {"type": "PersistentVolumeClaim", "min": {"storage": "64Mi"}, "max": {"storage": quota.storage}},
            ]
        },
    }


def service_account(store_id: str, labels: Mapping[str, str]) -> Object:
    """Return the ServiceAccount of all the store's pods; it carries no token."""
    return {
        "metadata": _metadata(store_id, naming.service_account(store_id), labels),
        "automountServiceAccountToken": False,
    }


def network_policies(
    store_id: str, surroundings: Surroundings, labels: Mapping[str, str], repository: Destination | None = None
) -> dict[str, Object]:
    """Return the NetworkPolicies by their short name. Together: nothing in or out but what a shop needs.

    Policies add up, so each one opens a single door in what `default-deny` closed. DNS and MariaDB are matched by pod
    and port, never by address: address rules see traffic before or after translation, depending on the cluster.
    Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/
    """
    wordpress = {"podSelector": {"matchLabels": {_SELECTOR: "wordpress"}}}
    mariadb = {"podSelector": {"matchLabels": {_SELECTOR: "mariadb"}}}
    backup = {"podSelector": {"matchLabels": {_SELECTOR: "backup"}}}
    controller: Object = {"namespaceSelector": _namespace_named(surroundings.ingress_namespace)}
    if surroundings.ingress_labels:
        controller["podSelector"] = {"matchLabels": dict(surroundings.ingress_labels)}
    ingress_controller = [controller, *_blocks(surroundings.ingress_cidrs)]
    # Whom WordPress and backups ask for data. A store without a server of its own has no pod that `mariadb` means.
    database = {"to": [mariadb], "ports": [_tcp(MARIADB_PORT)]}
    if surroundings.database is not None:
        database = door_to(surroundings.database, surroundings)
    dns = dns_peers(surroundings)
    dns_ports = [{"protocol": protocol, "port": port} for port in surroundings.dns_ports for protocol in ("UDP", "TCP")]
    specs: dict[str, Object] = {
        "default-deny": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        "dns": {
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [{"to": dns, "ports": dns_ports}],
        },
        "wordpress": {
            **wordpress,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": ingress_controller, "ports": [_tcp(WORDPRESS_PORT)]}],
            "egress": [
                database,
                door_to(Destination(HTTPS_PORT), surroundings),
                *(door_to(destination, surroundings) for destination in surroundings.destinations),
            ],
        },
        "mariadb": {
            **mariadb,
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [wordpress, backup], "ports": [_tcp(MARIADB_PORT)]}],
        },
        # The pods of a backup and of a restore: nobody calls them.
        "backup": {
            **backup,
            "policyTypes": ["Ingress", "Egress"],
            "egress": [
                database,
                *([door_to(repository, surroundings)] if repository else []),
            ],
        },
        # The certificate authority asks through the ingress controller; cert-manager itself calls no solver. By the
        # port and not by the solver's label: nothing else of a store listens there, and a policy for pods that exist
        # for a minute only reads as a mistake, to people and to kube-score.
        "acme-solver": {
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": ingress_controller, "ports": [_tcp(SOLVER_PORT)]}],
        },
    }
    return {name: {"metadata": _metadata(store_id, name, labels), "spec": spec} for name, spec in specs.items()}


def dns_peers(surroundings: Surroundings) -> list[Object]:
    """Return whom pods may ask for names."""
    servers = {
        "namespaceSelector": _namespace_named(surroundings.dns_namespace),
        "podSelector": {"matchLabels": dict(surroundings.dns_labels)},
    }
    return [servers, *_blocks(surroundings.dns_cidrs)]


def door_to(destination: Destination, surroundings: Surroundings) -> Object:
    """Return the egress rule that opens one destination."""
    public = {"ipBlock": {"cidr": "0.0.0.0/0", "except": sorted({*PRIVATE_CIDRS, *surroundings.cluster_cidrs})}}
    return {"to": _peers(destination) or [public], "ports": [_tcp(destination.port)]}


def credentials_secret(store_id: str, labels: Mapping[str, str], platform_key_version: int) -> Object:
    """Return the credentials Secret without its data, which exists only inside the engine.

    It says from which version of the platform key the webhooks' secret comes, so that a plan shows a new one.
    """
    metadata = _metadata(store_id, naming.credentials_secret(store_id), labels)
    annotations = {naming.PLATFORM_KEY_ANNOTATION: str(platform_key_version)}
    return {"metadata": {**metadata, "annotations": annotations}, "type": "Opaque"}


def _metadata(store_id: str, name: str, labels: Mapping[str, str]) -> Object:
    return {"name": name, "namespace": naming.namespace(store_id), "labels": dict(labels)}


def _namespace_named(name: str) -> Object:
    return {"matchLabels": {"kubernetes.io/metadata.name": name}}


def _blocks(cidrs: Sequence[str]) -> list[Object]:
    return [{"ipBlock": {"cidr": cidr}} for cidr in cidrs]


def _peers(destination: Destination) -> list[Object]:
    peers = _blocks(destination.cidrs)
    if destination.namespace is not None:
        # Both in one peer: pods with these labels in that namespace, and no others in it.
        pods = {"podSelector": {"matchLabels": dict(destination.labels)}}
        peers.insert(0, {"namespaceSelector": _namespace_named(destination.namespace), **pods})
    return peers


def _tcp(port: int) -> Object:
    return {"protocol": "TCP", "port": port}
