"""The instance's cluster as its administrator sees it: what is there, what is ready, and what we put into it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from ruamel.yaml import YAML

from sandbox.api import UNREACHABLE, Api, ApiError, Object, path_of
from stacks.errors import ClusterUnreachableError

FIELD_MANAGER: Final = "stores-sandbox"
_POLL_S: Final = 0.25
_ANSWER_TIMEOUT_S: Final = 5.0

T = TypeVar("T")


@dataclass(frozen=True)
class Pod:
    """One pod, in short."""

    namespace: str
    name: str
    ready: bool
    phase: str


class Cluster:
    """The cluster that a kubeconfig of an instance leads to."""

    def __init__(self, kubeconfig: Path) -> None:
        self._api = Api(kubeconfig)

    def answers(self) -> bool:
        """Return whether the API server says that it is ready."""
        try:
            self._api.text("/readyz", timeout_s=_ANSWER_TIMEOUT_S)
        except (ApiError, *UNREACHABLE):
            return False
        return True

    def apply(self, file: Path) -> None:
        """Make every object of a YAML file exist as it says there."""
        for body in YAML(typ="safe").load_all(file):
            self.apply_object(body)

    def apply_object(self, body: Object) -> None:
        """Make one object exist as it says."""
        self._api.apply(path_of(body), body, manager=FIELD_MANAGER)

    def node_is_ready(self) -> bool:
        """Return whether there is a node and it takes pods."""
        return any(_has_condition(found, "Ready") for found in self._api.get("/api/v1/nodes")["items"])

    def deployment_is_ready(self, namespace: str, name: str) -> bool:
        """Return whether all replicas of the Deployment's current version are ready."""
        found = self._api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
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
            for found in self._api.get("/api/v1/pods")["items"]
        ]


def _has_condition(found: Object, wanted: str) -> bool:
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
        except (ApiError, *UNREACHABLE) as error:
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
