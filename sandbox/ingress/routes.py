"""What the cluster's Ingress objects ask for, as plain routes. Pure: objects in, routes out.

Objects are taken as the API server sends them. Whatever cannot be served (a backend that is no Service, a Service that
is not there) becomes a route without upstreams, so that its visitors are told, and nobody else's routes suffer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Object: TypeAlias = Mapping[str, Any]

_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_SERVICE_LABEL = "kubernetes.io/service-name"
ANY_HOST = ""
# What a Service says that has no address of its own.
_NO_ADDRESS = "None"


@dataclass(frozen=True)
class Route:
    """Where requests for one host and path go. `upstreams` are `address:port`, each ready to answer."""

    host: str
    path: str
    exact: bool
    upstreams: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that is to be served, in the order in which a request is compared."""

    routes: tuple[Route, ...]
    tls_hosts: tuple[str, ...]


def plan(ingresses: Sequence[Object], services: Sequence[Object], slices: Sequence[Object], class_name: str) -> Plan:
    """Return what the Ingress objects of the class ask for, given the Services and EndpointSlices of the cluster.

    Hosts with a name come before wildcards, those before no host. Exact paths come before prefixes, long before short.
    Where two objects want the same, the older one has it.
    """
    backends = _Backends(services, slices)
    mine = sorted((ingress for ingress in ingresses if has_class(ingress, class_name)), key=_age)
    found: dict[tuple[str, str, bool], Route] = {}
    for ingress in mine:
        for route in _routes_of(ingress, backends):
            found.setdefault((route.host, route.path, route.exact), route)
    tls_sections = [tls for ingress in mine for tls in ingress["spec"].get("tls") or ()]
    tls_hosts = {host for tls in tls_sections for host in tls.get("hosts") or ()}
    return Plan(tuple(sorted(found.values(), key=_precedence)), tuple(sorted(tls_hosts)))


def has_class(ingress: Object, class_name: str) -> bool:
    """Return whether the Ingress object is of the class, by its field or by the older annotation."""
    named = ingress["spec"].get("ingressClassName")
    annotations = ingress["metadata"].get("annotations") or {}
    return bool((named or annotations.get(_CLASS_ANNOTATION)) == class_name)


def _age(ingress: Object) -> tuple[str, str, str]:
    metadata = ingress["metadata"]
    return (metadata.get("creationTimestamp") or "", metadata["namespace"], metadata["name"])


def _precedence(route: Route) -> tuple[bool, bool, str, bool, int, str]:
    wildcard = route.host.startswith("*")
    return (route.host == ANY_HOST, wildcard, route.host, not route.exact, -len(route.path), route.path)


def _routes_of(ingress: Object, backends: _Backends) -> Iterator[Route]:
    namespace = ingress["metadata"]["namespace"]
    for rule in ingress["spec"].get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            # The third type, ImplementationSpecific, is a prefix here.
            exact = path["pathType"] == "Exact"
            wanted = path.get("path") or "/"
            yield Route(
                rule.get("host") or ANY_HOST,
                wanted if exact else wanted.rstrip("/") or "/",
                exact,
                backends.upstreams(namespace, path["backend"]),
            )
    default = ingress["spec"].get("defaultBackend")
    if default:
        yield Route(ANY_HOST, "/", exact=False, upstreams=backends.upstreams(namespace, default))


class _Backends:
    """Finds what answers behind a backend."""

    def __init__(self, services: Sequence[Object], slices: Sequence[Object]) -> None:
        self._services = {_key(service): service for service in services}
        self._slices: dict[tuple[str, str], list[Object]] = {}
        for endpoint_slice in slices:
            metadata = endpoint_slice["metadata"]
            name = (metadata.get("labels") or {}).get(_SERVICE_LABEL)
            if name:
                self._slices.setdefault((metadata["namespace"], name), []).append(endpoint_slice)

    def upstreams(self, namespace: str, backend: Object) -> tuple[str, ...]:
        """Return the Service's own address, or its pods' where it has none; nothing as long as no pod answers.

        The Service's address stays when pods come and go, which they do far more often than Services.
        """
        wanted = backend.get("service") or {}
        service = self._services.get((namespace, wanted.get("name", "")))
        port = _port_of(service, wanted["port"]) if service else None
        if service is None or port is None:
            return ()
        pods = self._pods(_key(service), port.get("name") or "")
        address = service["spec"].get("clusterIP") or _NO_ADDRESS
        return pods if address == _NO_ADDRESS or not pods else (_join(address, port["port"]),)

    def _pods(self, service: tuple[str, str], port_name: str) -> tuple[str, ...]:
        """Return `address:port` of the pods that are ready; of those that still serve while they stop, if none is."""
        endpoints = list(self._endpoints(service, port_name))
        ready = {address for address, conditions in endpoints if conditions.get("ready") is not False}
        serving = {address for address, conditions in endpoints if conditions.get("serving") is True}
        return tuple(sorted(ready or serving))

    def _endpoints(self, service: tuple[str, str], port_name: str) -> Iterator[tuple[str, Object]]:
        for endpoint_slice in self._slices.get(service, ()):
            if endpoint_slice["addressType"] == "FQDN":
                continue
            for port in endpoint_slice.get("ports") or ():
                if (port.get("name") or "") != port_name or port.get("port") is None:
                    continue
                for endpoint in endpoint_slice.get("endpoints") or ():
                    # All addresses of one endpoint are the same pod; the first is enough.
                    yield _join(endpoint["addresses"][0], port["port"]), endpoint.get("conditions") or {}


def _join(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _key(named: Object) -> tuple[str, str]:
    return (named["metadata"]["namespace"], named["metadata"]["name"])


def _port_of(service: Object, wanted: Object) -> Object | None:
    """Return the Service's port that a backend names, by name or by number; None if there is no such port."""
    for port in service["spec"].get("ports") or ():
        if wanted.get("name") == port.get("name", "") or wanted.get("number") == port["port"]:
            found: Object = port
            return found
    return None
