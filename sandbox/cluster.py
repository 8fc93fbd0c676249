"""The instance's cluster as its administrator sees it: what is there, what is ready, and what we put into it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import urllib3
from kubernetes import client, config, dynamic
from kubernetes.client import ApiException
from ruamel.yaml import YAML

from stacks.errors import ClusterUnreachableError

FIELD_MANAGER: Final = "stores-sandbox"
SYSTEM_NAMESPACE: Final = "kube-system"
_POLL_S: Final = 0.25

T = TypeVar("T")


@dataclass(frozen=True)
class Pod:
    """One pod, in short."""

    namespace: str
    name: str
    ready: bool
    phase: str


class Cluster:
    """Talks to the API server of one kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        self._api = config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
        # Polling must find out by itself that nothing answers, at once.
        self._api.rest_client.pool_manager.connection_pool_kw["retries"] = False
        self._core = client.CoreV1Api(self._api)

    def answers(self) -> bool:
        """Return whether the API server serves what is in its database."""
        try:
            self._core.read_namespace(SYSTEM_NAMESPACE, _request_timeout=(2, 5))
        except (ApiException, OSError, urllib3.exceptions.HTTPError):
            return False
        return True

    def apply(self, file: Path) -> None:
        """Make every object of a YAML file exist as it says there."""
        dynamic_client = dynamic.DynamicClient(self._api)  # type: ignore[no-untyped-call]
        for body in YAML(typ="safe").load_all(file):
            resource = dynamic_client.resources.get(api_version=body["apiVersion"], kind=body["kind"])
            dynamic_client.server_side_apply(  # type: ignore[no-untyped-call]
                resource,
                body=body,
                name=body["metadata"]["name"],
                namespace=body["metadata"].get("namespace"),
                field_manager=FIELD_MANAGER,
                force_conflicts=True,
            )

    def node_is_ready(self) -> bool:
        """Return whether there is a node and it takes pods."""
        return any(_has_condition(found, "Ready") for found in self._items(self._core.list_node()))

    def deployment_is_ready(self, namespace: str, name: str) -> bool:
        """Return whether all replicas of the Deployment's current version are ready."""
        found = self._plain(client.AppsV1Api(self._api).read_namespaced_deployment_status(name, namespace))
        status, replicas = found["status"], found["spec"]["replicas"]
        return bool(
            status.get("observedGeneration", 0) >= found["metadata"]["generation"]
            and status.get("updatedReplicas", 0) == replicas
            and status.get("readyReplicas", 0) == replicas
        )

    def pods(self) -> Sequence[Pod]:
        """Return all pods."""
        return [
            Pod(
                namespace=found["metadata"]["namespace"],
                name=found["metadata"]["name"],
                ready=_has_condition(found, "Ready"),
                phase=found["status"].get("phase", "Unknown"),
            )
            for found in self._items(self._core.list_pod_for_all_namespaces())
        ]

    def version(self) -> str:
        """Return the API server's version."""
        return str(self._plain(client.VersionApi(self._api).get_code())["gitVersion"])

    def _items(self, listing: object) -> Sequence[Mapping[str, Any]]:
        items: Sequence[Mapping[str, Any]] = self._plain(listing)["items"]
        return items

    def _plain(self, answer: object) -> Any:
        return self._api.sanitize_for_serialization(answer)


def _has_condition(found: Mapping[str, Any], wanted: str) -> bool:
    conditions = found["status"].get("conditions") or ()
    return any(condition["type"] == wanted and condition["status"] == "True" for condition in conditions)


def wait_for(what: str, condition: Callable[[], T | None], *, timeout_s: float, cure: str) -> T:
    """Return the first value of `condition` that is true. Raises ClusterUnreachableError after `timeout_s`.

    An API server that does not answer for a moment counts as "not yet".
    """
    deadline = time.monotonic() + timeout_s
    last_error = ""
    while True:
        try:
            value = condition()
        except (ApiException, OSError, urllib3.exceptions.HTTPError) as error:
            value, last_error = None, f" ({str(error).splitlines()[0]})"
        if value:
            return value
        if time.monotonic() > deadline:
            raise ClusterUnreachableError("sandbox", f"{what} is not there after {timeout_s:.0f} s{last_error}", cure)
        time.sleep(_POLL_S)


def images_of(file: Path) -> Mapping[str, str]:
    """Return the image of every container in a YAML file of manifests, by the container's name."""
    found: dict[str, str] = {}
    for body in YAML(typ="safe").load_all(file):
        template: Mapping[str, Any] = (body.get("spec") or {}).get("template") or {}
        for container in (template.get("spec") or {}).get("containers", ()):
            found[container["name"]] = container["image"]
    return found
