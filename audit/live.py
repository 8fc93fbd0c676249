"""What the gate itself changes in the cluster, apart from the engine: few things, each of them here.

The platform's own namespace; the Secret of one Job; the number of web pods while a store is restored; Helm's record of
an operation that was cut short. Nothing of what the engine has made is ever deleted here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from components import naming
from stacks.cluster import Cluster

_PLURALS: Final[Mapping[str, str]] = {"NetworkPolicy": "networkpolicies"}
_TIMEOUTS_S: Final = (5, 20)


def apply(cluster: Cluster, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """Make one object exist as it says there, and return it. What others have written into it stays."""
    query = [("fieldManager", naming.FIELD_MANAGER), ("force", "true")]
    path = f"{_collection(wanted)}/{wanted['metadata']['name']}"
    return _call(cluster, "PATCH", path, wanted, content_type="application/apply-patch+yaml", query=query)


def create(cluster: Cluster, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """Make a new object, and return it."""
    return _call(cluster, "POST", _collection(wanted), wanted)


def patch(cluster: Cluster, version: str, kind: str, where: tuple[str, str], change: Mapping[str, Any]) -> None:
    """Change one object, `where` its namespace and name, by a merge patch."""
    namespace, name = where
    path = f"{_collection({'apiVersion': version, 'kind': kind, 'metadata': {'namespace': namespace}})}/{name}"
    _call(cluster, "PATCH", path, change, content_type="application/merge-patch+json")


def delete(cluster: Cluster, version: str, kind: str, where: tuple[str, str], resource_version: str) -> None:
    """Remove one object, `where` its namespace and name, as it was seen: one that was changed since stays.

    Raises ClusterUnreachableError then.
    """
    namespace, name = where
    path = f"{_collection({'apiVersion': version, 'kind': kind, 'metadata': {'namespace': namespace}})}/{name}"
    wish = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"resourceVersion": resource_version}}
    _call(cluster, "DELETE", path, wish)


def read(cluster: Cluster, version: str, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
    """Return one object, or None."""
    path = f"{_collection({'apiVersion': version, 'kind': kind, 'metadata': {'namespace': namespace}})}/{name}"
    return _call(cluster, "GET", path, None) or None


def pods(cluster: Cluster, namespace: str, labels: Mapping[str, str]) -> Sequence[Any]:
    """Return the pods with these labels, those that are ending included."""
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    found = cluster.ask(
        lambda: cluster.core.list_namespaced_pod(namespace, label_selector=selector, _request_timeout=_TIMEOUTS_S),
        f"the pods of {namespace}",
    )
    return found.items if found is not None else ()


def claims(cluster: Cluster, namespace: str) -> Sequence[Any]:
    """Return the volume claims of a namespace; none where it does not exist. Raises where they may not be listed."""
    found = cluster.ask(
        lambda: cluster.core.list_namespaced_persistent_volume_claim(namespace, _request_timeout=_TIMEOUTS_S),
        f"the volume claims of {namespace}",
    )
    return found.items if found is not None else ()


def _collection(wanted: Mapping[str, Any]) -> str:
    version, kind = wanted["apiVersion"], wanted["kind"]
    namespace = wanted["metadata"].get("namespace")
    group = f"/apis/{version}" if "/" in version else f"/api/{version}"
    plural = _PLURALS.get(kind, f"{kind.lower()}s")
    return f"{group}/namespaces/{namespace}/{plural}" if namespace else f"{group}/{plural}"


def _call(
    cluster: Cluster,
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
    *,
    content_type: str = "application/json",
    query: Sequence[tuple[str, str]] = (),
) -> Mapping[str, Any]:
    api = cluster.core.api_client
    headers = {"Content-Type": content_type, "Accept": "application/json"}

    def send() -> Any:
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415 - see stacks.cluster

        request = api.param_serialize(
            method, path, query_params=list(query), header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        response = api.call_api(*request, _request_timeout=_TIMEOUTS_S)
        text = response.read().decode()
        if response.status >= 400:
            raise ApiException.from_response(http_resp=response, body=text, data=None)
        return json.loads(text)

    name = path.rsplit("/", 1)[-1]
    answer: Mapping[str, Any] = cluster.ask(send, f"{method} {name}") or {}
    return answer
