"""Objects as the API server sends them, with what matters to an ingress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def ingress(
    name: str,
    *paths: Mapping[str, Any],
    namespace: str = "store-a",
    created: str = "2026-01-01T00:00:00Z",
    class_name: str | None = "nginx",
    **spec: Any,
) -> dict[str, Any]:
    """Return an Ingress object with a rule for each path; a path says its host under `host`."""
    rules = [
        {**({"host": path["host"]} if path["host"] else {}), "http": {"paths": [{**path, "host": None}]}}
        for path in paths
    ]
    if class_name is not None:
        spec["ingressClassName"] = class_name
    if rules:
        spec["rules"] = rules
    metadata = {"namespace": namespace, "name": name, "uid": f"{namespace}/{name}", "creationTimestamp": created}
    return {"metadata": metadata, "spec": spec, "status": {"loadBalancer": {}}}


def path(host: str, path: str = "/", kind: str = "Prefix", service: str = "web", port: Any = 80) -> dict[str, Any]:
    """Return one path of a rule, to a Service's port by number or by name."""
    named = {"number": port} if isinstance(port, int) else {"name": port}
    return {"host": host, "path": path, "pathType": kind, "backend": {"service": {"name": service, "port": named}}}


def service(
    name: str = "web",
    namespace: str = "store-a",
    address: str = "10.43.0.10",
    ports: Sequence[tuple[str, int]] = (("http", 80),),
) -> dict[str, Any]:
    """Return a Service; a port is (name, number)."""
    listed = [{**({"name": port_name} if port_name else {}), "port": number} for port_name, number in ports]
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"clusterIP": address, "ports": listed}}


def endpoints(
    *pods: tuple[str, Mapping[str, bool]],
    service: str = "web",
    namespace: str = "store-a",
    ports: Sequence[tuple[str, int]] = (("http", 8080),),
) -> dict[str, Any]:
    """Return an EndpointSlice of a Service; a pod is (address, conditions)."""
    return {
        "metadata": {"namespace": namespace, "name": f"{service}-x", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": name, "port": number} for name, number in ports],
        "endpoints": [{"addresses": [address], "conditions": dict(conditions)} for address, conditions in pods],
    }


READY = {"ready": True, "serving": True, "terminating": False}
STOPPING = {"ready": False, "serving": True, "terminating": True}
STARTING = {"ready": False, "serving": False, "terminating": False}
