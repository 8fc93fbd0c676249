"""What a run does for a store that exists and does not sell, beyond what its block says.

The engine compares a block with what it applied last, and so sees nothing to do where somebody has changed or removed
an object by hand. So the live objects are read first; what differs is then put back by the engine, as any change is.
And a pod that failed often enough waits for minutes before its next try: it is made anew, since the cause may be gone.

Never here: data. A pod that serves is not touched, and no volume, claim or namespace is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from audit.engine.driver import Engine
from components import desired, naming
from stacks.cluster import Cluster
from stacks.evidence import Evidence

_BACKED_OFF: Final = frozenset({"CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull"})
# They exist only in the engine's state.
_NOT_LIVE: Final = frozenset(desired.RANDOM_PARTS)


def read_live(
    engine: Engine, cluster: Cluster, cell: str, store_ids: Iterable[str], tell: Callable[[str, str], None]
) -> frozenset[str]:
    """Bring the engine's state of these stores in line with what is live; changes nothing in the cluster.

    Returns the stores whose release lacks what it should hold. A release that is deployed is not read itself: its
    values may have been changed by an operator on purpose, and its record says nothing of the objects in it.
    """
    names: set[str] = set()
    lacking: set[str] = set()
    for store_id in store_ids:
        tell(store_id, "reading its live objects, to put back what was changed or removed by hand")
        found = cluster.evidence(naming.namespace(store_id))
        if (deployment := blocked(found)) is not None:
            tell(store_id, f"no node takes its web pod, which keeps the next one away; {deployment} is made anew")
            remove = partial(cluster.apps.delete_namespaced_deployment, deployment, naming.namespace(store_id))
            cluster.ask(partial(remove, propagation_policy="Background"), f"deployment {deployment}")
            found = cluster.evidence(naming.namespace(store_id))
        left_out = _NOT_LIVE | {desired.RELEASE} if found.release == "deployed" else _NOT_LIVE
        names |= {naming.logical_name(store_id, part) for part in desired.PARTS if part not in left_out}
        if found.release == "deployed" and lacks_workloads(found):
            lacking.add(store_id)
    engine.refresh(cell, frozenset(names))
    return frozenset(lacking)


def lacks_workloads(evidence: Evidence) -> bool:
    """Return whether somebody has removed the web pods' Deployment or the database's StatefulSet, or scaled it to 0.

    A store whose database is on a server that many share has no StatefulSet.
    """
    if any(what.startswith(("deployments", "statefulsets")) for what in evidence.unreadable):
        return False
    kinds = {found["kind"] for found in evidence.workloads if (found.get("spec") or {}).get("replicas", 1) != 0}
    return not kinds >= ({"Deployment", "StatefulSet"} if evidence.has_own_database else {"Deployment"})


def blocked(evidence: Evidence) -> str | None:
    """Return the Deployment whose only pods were never placed on a node, or None.

    They take of the quota what no new pod may take then, and the Deployment keeps them until a new one is ready: a
    store whose size was lowered would wait for ever.
    """
    for workload in evidence.workloads:
        if workload["kind"] != "Deployment":
            continue
        name = str(workload["metadata"]["name"])
        pods = [pod for pod in evidence.pods if str(pod["metadata"]["name"]).startswith(f"{name}-")]
        if pods and not any((pod.get("spec") or {}).get("nodeName") for pod in pods):
            return name
    return None


def restart_stuck(cluster: Cluster, store_id: str, tell: Callable[[str, str], None]) -> None:
    """Make the store's pods anew that wait after failed tries. Their controllers do so at once, without the wait."""
    namespace = naming.namespace(store_id)
    for name, reason in stuck(cluster.evidence(namespace).pods):
        tell(store_id, f"pod {name} waits in {reason}; it is made anew")
        cluster.ask(partial(cluster.core.delete_namespaced_pod, name, namespace), f"pod {name}")


def stuck(pods: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return name and reason of the pods that wait after failed tries, and of no pod that serves."""
    found = []
    for pod in pods:
        status = pod.get("status") or {}
        if pod["metadata"].get("deletionTimestamp"):
            continue
        containers = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
        reasons = [((container.get("state") or {}).get("waiting") or {}).get("reason") for container in containers]
        backed_off = [reason for reason in reasons if reason in _BACKED_OFF]
        if backed_off:
            found.append((str(pod["metadata"]["name"]), str(backed_off[0])))
    return found
