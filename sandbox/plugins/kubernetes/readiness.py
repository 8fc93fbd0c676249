"""When an object counts as ready, for the kinds whose readiness is more than their existence.

A condition looks at the live object and returns None when it is ready, else what is still missing. It raises
`NeverReadyError` when waiting longer is of no use. The rules are those of the official plugin and of `kubectl rollout`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox.plugins.failures import PluginError
from sandbox.plugins.kubernetes.client import ApiError, Client
from sandbox.plugins.kubernetes.kinds import Kind

Live = Mapping[str, Any]
Condition = Callable[[Live], str | None]

# Without another word, an object may take this long.
DEFAULT_TIMEOUT_S: Final = 600.0
# Endpoints come one after another; a Service without any is settled when none came for this long.
_ENDPOINTS_SETTLE_S: Final = 10.0


class NeverReadyError(PluginError):
    """The cluster has said that the object will not become ready."""


@dataclass(frozen=True)
class Readiness:
    """How to tell that an object of a kind is ready, and how long that may take."""

    condition: Callable[[Client], Condition]
    timeout_s: float = DEFAULT_TIMEOUT_S
    on_refresh: bool = False
    """An object that is found not ready by a refresh is tried again by the next run."""
    watches_others: bool = False
    """It depends on other objects too, so an unchanged object has to be looked at again."""


def readiness_of(kind: Kind) -> Readiness | None:
    """Return how objects of the kind become ready, or None where existing is all."""
    return _BY_KIND.get((kind.group, kind.name))


def condition_texts(live: Live, *, only: str) -> list[str]:
    """Return what the object itself says about its state: one text per condition of status `only` with a message."""
    conditions = (live.get("status") or {}).get("conditions") or ()
    return [
        f"{condition.get('type')}: {condition['message']}"
        for condition in conditions
        if condition.get("message") and condition.get("status") == only
    ]


def _phase(*wanted: str) -> Callable[[Client], Condition]:
    def condition(live: Live) -> str | None:
        phase = (live.get("status") or {}).get("phase")
        return None if phase in wanted else f"phase is {phase or 'not set'}, not {' or '.join(wanted)}"

    return lambda _: condition


def _quota(live: Live) -> str | None:
    wanted = (live.get("spec") or {}).get("hard") or {}
    counted = (live.get("status") or {}).get("hard") or {}
    return None if wanted == counted else "the quota controller has not taken the limits over yet"


def _token_secret(live: Live) -> str | None:
    if live.get("type") != "kubernetes.io/service-account-token" or live.get("data"):
        return None
    return "no token was issued yet"


def _seen(live: Live) -> bool:
    generation = int(live["metadata"].get("generation") or 0)
    return int((live.get("status") or {}).get("observedGeneration") or 0) >= generation


def _counts(live: Live, *names: str) -> tuple[int, ...]:
    status = live.get("status") or {}
    return tuple(int(status.get(name) or 0) for name in names)


def _replicas(live: Live) -> int:
    wanted = (live.get("spec") or {}).get("replicas")
    return 1 if wanted is None else int(wanted)


def _deployment(live: Live) -> str | None:
    if not _seen(live):
        return "the controller has not seen the change yet"
    for condition in (live.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            raise NeverReadyError(f"it made no progress within its own deadline: {condition.get('message')}")
    wanted = _replicas(live)
    total, updated, available = _counts(live, "replicas", "updatedReplicas", "availableReplicas")
    if updated < wanted:
        return f"{updated} of {wanted} pods are of the new version"
    if total > updated:
        return f"{total - updated} old pods are still there"
    return None if available >= updated else f"{available} of {updated} pods are available"


def _stateful_set(live: Live) -> str | None:
    if not _seen(live):
        return "the controller has not seen the change yet"
    strategy = (live.get("spec") or {}).get("updateStrategy") or {}
    wanted = _replicas(live)
    ready, updated = _counts(live, "readyReplicas", "updatedReplicas")
    if ready < wanted:
        return f"{ready} of {wanted} pods are ready"
    if strategy.get("type") == "OnDelete":
        return None
    expected = wanted - int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    return None if updated >= expected else f"{updated} of {expected} pods are of the new version"


def _daemon_set(live: Live) -> str | None:
    if not _seen(live):
        return "the controller has not seen the change yet"
    names = ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable")
    wanted, updated, available = _counts(live, *names)
    if updated < wanted:
        return f"{updated} of {wanted} pods are of the new version"
    return None if available >= wanted else f"{available} of {wanted} pods are available"


def _replication_controller(live: Live) -> str | None:
    wanted = _replicas(live)
    (available,) = _counts(live, "availableReplicas")
    return None if available == wanted else f"{available} of {wanted} pods are available"


def _job(live: Live) -> str | None:
    for condition in (live.get("status") or {}).get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") == "Failed":
            raise NeverReadyError(f"the job failed: {condition.get('message') or condition.get('reason')}")
        if condition.get("status") == "True" and condition.get("type") == "Complete":
            return None
    return "the job has not completed yet"


def _pod(live: Live) -> str | None:
    status = live.get("status") or {}
    if status.get("phase") == "Succeeded":
        return None
    if status.get("phase") == "Failed":
        raise NeverReadyError(f"the pod failed: {status.get('message') or status.get('reason') or 'no reason given'}")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Ready" and condition.get("status") == "True":
            return None
    return "the pod is not ready yet"


def _claim(client: Client) -> Condition:
    """Bound, or waiting for its first pod where its storage class says so."""

    def condition(live: Live) -> str | None:
        phase = (live.get("status") or {}).get("phase")
        if phase == "Bound":
            return None
        name = (live.get("spec") or {}).get("storageClassName")
        if phase == "Pending" and name and _waits_for_consumer(client, name):
            return None
        return f"phase is {phase or 'not set'}, not Bound"

    return condition


def _waits_for_consumer(client: Client, storage_class: str) -> bool:
    try:
        found = client.get(f"/apis/storage.k8s.io/v1/storageclasses/{storage_class}")
    except ApiError:
        return False
    return found.get("volumeBindingMode") == "WaitForFirstConsumer"


def _service(client: Client) -> Condition:
    """All its endpoints are ready, and a load balancer has its address."""
    since = time.monotonic()

    def condition(live: Live) -> str | None:
        spec = live.get("spec") or {}
        balancer = ((live.get("status") or {}).get("loadBalancer") or {}).get("ingress")
        if spec.get("type") == "LoadBalancer" and not balancer:
            return "no load balancer has given it an address yet"
        if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None" or not spec.get("selector"):
            return None
        ready, pending = _endpoints(client, live["metadata"]["namespace"], live["metadata"]["name"])
        if pending:
            return f"{pending} of its {ready + pending} pods are not ready"
        if not ready and time.monotonic() - since < _ENDPOINTS_SETTLE_S:
            return "no pod matches its selector yet"
        return None

    return condition


def _endpoints(client: Client, namespace: str, service: str) -> tuple[int, int]:
    slices = client.get(
        f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
        {"labelSelector": f"kubernetes.io/service-name={service}"},
    )
    endpoints = [endpoint for part in slices.get("items", ()) for endpoint in part.get("endpoints") or ()]
    ready = sum((endpoint.get("conditions") or {}).get("ready") is not False for endpoint in endpoints)
    return ready, len(endpoints) - ready


def _ingress(client: Client) -> Condition:
    """A controller has taken it, and the Services that it names exist."""

    def condition(live: Live) -> str | None:
        if not ((live.get("status") or {}).get("loadBalancer") or {}).get("ingress"):
            return "no ingress controller has taken it yet"
        namespace = live["metadata"]["namespace"]
        for service in sorted(_backends(live.get("spec") or {})):
            try:
                client.get(f"/api/v1/namespaces/{namespace}/services/{service}")
            except ApiError as error:
                if error.status != 404:
                    raise
                return f"its Service '{service}' does not exist yet"
        return None

    return condition


def _backends(spec: Mapping[str, Any]) -> set[str]:
    paths = [path for rule in spec.get("rules") or () for path in (rule.get("http") or {}).get("paths") or ()]
    backends = [path.get("backend") or {} for path in paths]
    return {backend["service"]["name"] for backend in backends if backend.get("service")}


def _alone(condition: Condition) -> Callable[[Client], Condition]:
    return lambda _: condition


_BY_KIND: Final[Mapping[tuple[str, str], Readiness]] = {
    ("", "Namespace"): Readiness(_phase("Active"), timeout_s=60),
    ("", "PersistentVolume"): Readiness(_phase("Available", "Bound"), timeout_s=300),
    ("", "PersistentVolumeClaim"): Readiness(_claim, timeout_s=300),
    ("", "Pod"): Readiness(_alone(_pod), on_refresh=True),
    ("", "ReplicationController"): Readiness(_alone(_replication_controller)),
    ("", "ResourceQuota"): Readiness(_alone(_quota), timeout_s=60),
    ("", "Secret"): Readiness(_alone(_token_secret), timeout_s=30),
    ("", "Service"): Readiness(_service, on_refresh=True, watches_others=True),
    ("apps", "DaemonSet"): Readiness(_alone(_daemon_set), on_refresh=True),
    ("apps", "Deployment"): Readiness(_alone(_deployment), on_refresh=True),
    ("apps", "StatefulSet"): Readiness(_alone(_stateful_set), on_refresh=True),
    ("batch", "Job"): Readiness(_alone(_job), on_refresh=True),
    ("networking.k8s.io", "Ingress"): Readiness(_ingress, on_refresh=True, watches_others=True),
}
