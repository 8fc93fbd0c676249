"""What stores need of the cluster around them, as `stores doctor` finds it: classes, the way in, what must be closed.

Reads only. What the network policies say comes from the settings; here it is compared with where things really are.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final
from urllib.parse import urlsplit

from audit import live
from audit.check import Check
from components.objects import PRIVATE_CIDRS
from stacks.cluster import Cluster
from stacks.settings import Settings, settings_file

_GATEWAY_API: Final = "gateway.networking.k8s.io"


def storage(cluster: Cluster, settings: Settings, values: Mapping[str, Any]) -> Iterator[Check]:
    """Yield whether each storage class of the values is there."""
    classes = cluster.storage_classes()
    wanted = {values["uploads"]["storageClass"]}
    if not values["database"]["external"]["host"]:
        wanted.add(values["database"]["storage"]["storageClass"])
    for name in sorted(wanted - {""}):
        if name in classes:
            yield Check("storage class", "ok", name)
        else:
            known = ", ".join(sorted(classes)) or "none"
            cure = f"make it, or name one of the cluster's ({known}) in values/values-{settings.environment}.yaml"
            yield Check("storage class", "fail", f"{name!r} is not in the cluster", cure)


def way_in(cluster: Cluster, settings: Settings, values: Mapping[str, Any]) -> Iterator[Check]:
    """Yield whether requests can come in: the class or the Gateways, and the pods that the policies admit."""
    ingress = values["ingress"]
    if ingress["kind"] == "HTTPRoute":
        for reference in values["gateway"]["parentRefs"]:
            yield _gateway(cluster, reference)
        if ingress["tls"]["clusterIssuer"]:
            yield _listener_sets(cluster)
    else:
        yield _ingress_class(cluster, ingress["className"])
    namespace = settings.ingress_namespace
    if cluster.namespace(namespace) is None:
        cure = "set stores:ingressNamespace to where the controller runs: the network policies admit only that one"
        yield Check("ingress namespace", "fail", f"{namespace!r} is not in the cluster", cure)
        return
    yield Check("ingress namespace", "ok", namespace)
    yield from _controller(cluster, settings, values["web"]["trustedProxies"])


def api_server(cluster: Cluster, settings: Settings) -> Iterator[Check]:
    """Yield whether the API server's addresses are closed to shops, which may call every public one by HTTPS."""
    found: dict[IPv4Address, str] = {}
    service = live.read(cluster, "v1", "Service", "default", "kubernetes") or {}
    for text in (service.get("spec") or {}).get("clusterIPs") or ():
        _note(found, text, "the Service default/kubernetes")
    endpoints = live.read(cluster, "discovery.k8s.io/v1", "EndpointSlice", "default", "kubernetes") or {}
    for endpoint in endpoints.get("endpoints") or ():
        for text in endpoint["addresses"]:
            _note(found, text, "the endpoints of default/kubernetes")
    host = urlsplit(cluster.address).hostname or ""
    try:
        for *_, where in socket.getaddrinfo(host, None, family=socket.AF_INET):
            _note(found, str(where[0]), "the kubeconfig")
    except OSError as error:
        cure = "find out its addresses, and add those that are public to stores:clusterCidrs"
        yield Check("API server", "warn", f"{host} of the kubeconfig has no address here: {error}", cure)
    closed = [IPv4Network(cidr) for cidr in (*PRIVATE_CIDRS, *settings.cluster_cidrs)]
    opened = sorted(address for address in found if not _within(address, closed))
    line = ", ".join([*settings.cluster_cidrs, *(f"{address}/32" for address in opened)])
    cure = f"write `stores:clusterCidrs: [{line}]` into {settings_file(settings.environment)}, then `stores up`"
    for address in opened:
        yield Check("API server", "warn", f"shops can call {address} (of {found[address]}): it is public", cure)
    if found and not opened:
        yield Check("API server", "ok", f"closed to shops: {', '.join(map(str, sorted(found)))}")


def _ingress_class(cluster: Cluster, wanted: str) -> Check:
    classes = cluster.ingress_classes()
    if wanted in classes:
        return Check("ingress class", "ok", wanted)
    known = ", ".join(sorted(classes)) or "none"
    cure = f"install an ingress controller, or set ingress.className (the cluster has: {known})"
    return Check("ingress class", "fail", f"{wanted!r} is not in the cluster", cure)


def _gateway(cluster: Cluster, reference: Mapping[str, Any]) -> Check:
    name, namespace = str(reference["name"]), reference.get("namespace")
    if namespace is None:
        cure = "name its namespace in gateway.parentRefs, unless you make one in every store's namespace"
        return Check("gateway", "warn", f"{name!r} is looked for in each store's own namespace", cure)
    found = live.read(cluster, f"{_GATEWAY_API}/v1", "Gateway", namespace, name)
    where = f"{namespace}/{name}"
    if found is None:
        cure = "make it (docs/cluster/gateway.yaml), or correct gateway.parentRefs of the values"
        return Check("gateway", "fail", f"{where} is not in the cluster", cure)
    conditions = (found.get("status") or {}).get("conditions") or ()
    programmed = next((one for one in conditions if one["type"] == "Programmed"), {"status": "Unknown"})
    if programmed["status"] == "True":
        return Check("gateway", "ok", where)
    said = programmed.get("message") or "no controller has taken it up"
    return Check("gateway", "fail", f"{where} takes no requests: {said}", "see the log of its controller")


def _listener_sets(cluster: Cluster) -> Check:
    definition = f"listenersets.{_GATEWAY_API}"
    found = live.read(cluster, "apiextensions.k8s.io/v1", "CustomResourceDefinition", "", definition)
    served = [str(version["name"]) for version in found["spec"]["versions"] if version["served"]] if found else []
    if "v1" in served:
        return Check("listener sets", "ok", definition)
    what = f"{definition} is served as {', '.join(served)} alone" if served else f"{definition} is not in the cluster"
    cure = "install Gateway API 1.5 or newer: domains of stores need it with ingress.tls.clusterIssuer"
    return Check("listener sets", "fail", f"{what}, not as v1" if served else what, cure)


def _controller(cluster: Cluster, settings: Settings, trusted: Sequence[str]) -> Iterator[Check]:
    """Yield whether the controller's pods are the admitted ones, and believed when they say who the visitor is."""
    pods = live.pods(cluster, settings.ingress_namespace, settings.ingress_labels)
    if settings.ingress_labels and not pods:
        labels = ", ".join(f"{name}: {value}" for name, value in settings.ingress_labels.items())
        what = f"no pod of {settings.ingress_namespace} has the labels {{{labels}}}, so no request gets in"
        yield Check("ingress pods", "fail", what, "correct stores:ingressLabels")
    addresses = {pod.status.pod_ip for pod in pods if pod.status is not None and pod.status.phase == "Running"}
    networks = [ipaddress.ip_network(cidr, strict=False) for cidr in trusted]
    for text in sorted(addresses - {None}):
        if not any(ipaddress.ip_address(text) in network for network in networks):
            yield Check(
                "trusted proxies",
                "warn",
                f"a pod of {settings.ingress_namespace} has {text}: shops do not believe what it says of visitors, and "
                "take it for each of them",
                "add the range of the cluster's pods to web.trustedProxies of the values, if it is the controller's",
            )


def _note(found: dict[IPv4Address, str], text: str, where: str) -> None:
    """Keep an address with where it was found first. Of IPv6 the policies open nothing."""
    address = ipaddress.ip_address(text)
    if isinstance(address, IPv4Address):
        found.setdefault(address, where)


def _within(address: IPv4Address, networks: Sequence[IPv4Network]) -> bool:
    return any(address in network for network in networks)
