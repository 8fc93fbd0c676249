"""Why a store does not work, in sentences for an operator who was woken by it. Pure: evidence in, causes out.

The most telling cause comes first: what stands at the beginning of the chain (no node, no quota, no image) explains
what comes after it (a database that does not answer, a page that says 500).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stacks.evidence import Evidence, Object

MOST_CAUSES: Final = 3
_LOG_LINES: Final = 3
_LONGEST: Final = 400
_PULL: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_NOT_STARTED: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_MOUNT_EVENTS: Final = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
_FULL_DISK: Final = re.compile(
    r"No space left on device|disk is full|disk full|out of disk space|(?:errno:?|Errcode:|error|error number) 28\b",
    re.IGNORECASE,
)
# Not of a local user: a server that is starting refuses its own health check so.
_DENIED: Final = re.compile(r"Access denied for user '[^']*'@'(?!localhost')")
# What registries say of an image that there is not; what else they say may be another in a minute.
_NO_SUCH_IMAGE: Final = re.compile(
    r"\bnot found\b|manifest unknown|name unknown|repository does not exist", re.IGNORECASE
)
# The code of charts/store/files/install/lib.php for what is declared and cannot be: no further try makes it better.
_NEVER_CODE: Final = 78
# How long each must be seen without a break until the wait for it is over: the cluster may still be busy with the last
# change. A registry that does not answer may be back in a minute; two of the kubelet's tries fall into this time.
_AT_ONCE_S: Final = 0.0
_SETTLED_S: Final = 10.0
_SURE_S: Final = 30.0
_REGISTRY_S: Final = 120.0
_IMAGE_VALUES: Final = {"wordpress": "image.tag", "mariadb": "database.image.tag"}
_VOLUME: Final = re.compile(
    r"disk: the volume of the (database|uploads) (?:is full: (\d+) of (\d+) MiB are free|has room again)"
)
_SIZE_KEYS: Final = {"database": "database.storage", "uploads": "uploads.storage"}
_SIZE_RANKS: Final = {"database": 0, "uploads": 5}


@dataclass(frozen=True)
class Cause:
    """One reason, and what to do about it. `rank`: 0 is the most telling.

    `patience_s`: where it does not heal by itself, how long it is to be seen until that is sure; None where it may.
    """

    rank: int
    what: str
    cure: str
    patience_s: float | None = None

    def __str__(self) -> str:
        return f"{self.what}; {self.cure}"


def causes(evidence: Evidence) -> tuple[Cause, ...]:
    """Return the causes that the evidence holds, the most telling first, each once."""
    if evidence.namespace is None:
        if evidence.unreadable:
            return (Cause(9, f"the cluster does not say why ({evidence.unreadable[0]})", "run `stores doctor`"),)
        return (
            Cause(
                0, "its namespace is gone",
                "somebody deleted it, with its data: restore a backup, or let `stores up` make an empty store",
            ),
        )  # fmt: skip
    found = [
        *_namespace(evidence.namespace),
        *_volumes(evidence),
        *_workloads(evidence),
        *_claims(evidence),
        *(cause for pod in evidence.pods for cause in _pod(evidence, pod)),
        *_logs(evidence),
        *_rivals(evidence),
        *_release(evidence),
    ]
    unique = {cause.what: cause for cause in sorted(found, key=lambda cause: -cause.rank)}
    return tuple(sorted(unique.values(), key=lambda cause: cause.rank))


def patience_s(found: Sequence[Cause]) -> float | None:
    """Return after how long a store that shows these causes is not worth waiting for; None: it may heal by itself."""
    return min((cause.patience_s for cause in found if cause.patience_s is not None), default=None)


def explain(evidence: Evidence) -> str:
    """Return the most telling causes as one text, or "" where nothing explains it."""
    told = causes(evidence)
    texts = [str(cause) for cause in told[:1]] + [f"also: {cause.what}" for cause in told[1:MOST_CAUSES]]
    return ". ".join(texts)


def full_volumes(lines: Sequence[str]) -> tuple[Cause, ...]:
    """Return the volumes that the store's containers call full, that of the database first."""
    # The last word on each counts: `full` is repeated, and `has room again` is said once.
    latest = {match.group(1): match for line in lines if (match := _VOLUME.match(line))}
    found = {name: match for name, match in latest.items() if match.group(2)}
    return tuple(
        Cause(
            _SIZE_RANKS[name],
            f"the volume of the {name} is full: {found[name].group(2)} of {found[name].group(3)} MiB are free",
            f"raise {_SIZE_KEYS[name]} in the store's block, or delete what is not needed",
        )
        for name in _SIZE_KEYS
        if name in found
    )


def stops_orders(cause: Cause) -> bool:
    """Return whether a full volume is the database's: a shop cannot sell then, even if its pages are shown."""
    return cause.rank == _SIZE_RANKS["database"]


def _namespace(namespace: Object) -> Iterator[Cause]:
    if namespace["metadata"].get("deletionTimestamp"):
        yield Cause(0, "its namespace is being deleted", "find out by whom; `stores audit list` has what this tool did")


def _volumes(evidence: Evidence) -> Iterator[Cause]:
    yield from full_volumes([line for lines in evidence.logs.values() for line in lines])


def _workloads(evidence: Evidence) -> Iterator[Cause]:
    """Yield what keeps pods from being made at all."""
    for workload in evidence.workloads:
        name, status = workload["metadata"]["name"], workload.get("status") or {}
        wanted = (workload.get("spec") or {}).get("replicas", 1)
        if wanted == 0:
            yield Cause(1, f"{workload['kind']} {name} was scaled to 0 pods", "`stores up` puts that back")
        if status.get("readyReplicas", 0) >= wanted and status.get("updatedReplicas", 0) >= wanted:
            continue
        refusal = _refusal(evidence, name)
        if refusal is None:
            continue
        if "exceeded quota" in refusal:
            cure = "lower the store's sizes, or raise stores:quota... in the settings"
            patience = None if _room_will_come(evidence) else _SURE_S
            yield Cause(0, f"no pod of {name} can be made: {_short(refusal)}", cure, patience)
        elif "violates PodSecurity" in refusal:
            told = f"no pod of {name} is admitted: {_short(refusal)}"
            yield Cause(0, told, "correct the values or the chart", _SURE_S)
        else:
            yield Cause(1, f"no pod of {name} can be made: {_short(refusal)}", "correct what it names")


def _room_will_come(evidence: Evidence) -> bool:
    """Return whether a pod is about to end, and with it what it takes of the quota: a job's, or one that is deleted."""
    return any(
        pod["metadata"].get("deletionTimestamp")
        or any(owner.get("kind") == "Job" for owner in pod["metadata"].get("ownerReferences") or ())
        for pod in evidence.pods
        if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    )


def _refusal(evidence: Evidence, workload: str) -> str | None:
    """Return the newest refusal to make a pod of a workload: told by its condition, or by an event."""
    for found in evidence.workloads:
        if found["metadata"]["name"] == workload:
            for condition in (found.get("status") or {}).get("conditions") or ():
                if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
                    return str(condition.get("message"))
    mine = [
        event
        for event in evidence.events
        if event.get("reason") == "FailedCreate"
        and str(_about(event).get("name", "")).startswith(workload)
        and _about(event).get("kind") in ("ReplicaSet", "StatefulSet")
    ]
    return str(max(mine, key=_when).get("message", "")) if mine else None


def _claims(evidence: Evidence) -> Iterator[Cause]:
    for claim in evidence.claims:
        name = claim["metadata"]["name"]
        phase = (claim.get("status") or {}).get("phase")
        if phase == "Lost":
            yield Cause(0, f"the volume of claim {name} is lost", "restore a backup")
        said = [_said(event) for event in _events_of(evidence, name, "PersistentVolumeClaim")]
        if phase == "Pending" and said:
            storage_class = (claim.get("spec") or {}).get("storageClassName")
            yield Cause(
                0,
                f"claim {name} gets no volume from class {storage_class}: {_short(said[-1])}",
                "`stores doctor` names the cluster's storage classes; correct storageClass in the values",
                _SETTLED_S if f'"{storage_class}" not found' in said[-1] else None,
            )
        elif phase == "Bound" and said and "esize" in said[-1]:
            yield Cause(1, f"the volume of claim {name} does not grow: {_short(said[-1])}", "see the storage's own log")


def _pod(evidence: Evidence, pod: Object) -> Iterator[Cause]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    if status.get("phase") == "Failed" and status.get("reason"):
        said = _short(str(status.get("message") or status["reason"]))
        yield Cause(
            2, f"pod {name} was ended: {status['reason']}: {said}", "relieve the node, or lower the store's sizes"
        )
        return
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield Cause(
                0,
                f"no node takes pod {name}: {_short(str(condition.get('message') or condition.get('reason')))}",
                "add a node, free one, or lower the store's sizes",
            )
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        yield from _container(pod, container)
    if not _has_begun(pod):
        for event in _events_of(evidence, name, "Pod"):
            if event.get("reason") in _MOUNT_EVENTS:
                yield Cause(1, f"pod {name} gets no volume: {_short(_said(event))}", "correct what it names")
            if event.get("reason") == "FailedCreatePodSandBox":
                yield Cause(2, f"pod {name} gets no network: {_short(_said(event))}", "see the node's kubelet")


def _container(pod: Object, container: Object) -> Iterator[Cause]:
    where = f"{container['name']} of pod {pod['metadata']['name']}"
    state, last = container.get("state") or {}, (container.get("lastState") or {}).get("terminated") or {}
    waiting = state.get("waiting") or {}
    ended = state.get("terminated") or {}
    if not ended.get("exitCode"):
        ended = last
    reason = waiting.get("reason")
    if reason in _PULL:
        said = _short(str(waiting.get("message") or reason))
        cure = f"correct {_IMAGE_VALUES.get(_component(pod), 'the image')}, or make the registry reachable"
        told = f"image {container.get('image')} of {where} cannot be pulled: {reason}: {said}"
        yield Cause(0, told, cure, _pull_patience_s(reason, said))
    elif reason in _NOT_STARTED:
        said = _short(str(waiting.get("message") or reason))
        yield Cause(0, f"container {where} cannot start: {reason}: {said}", "correct what it names", _SURE_S)
    elif ended.get("reason") == "OOMKilled" and not _is_ready(pod):
        key = "database.memory" if _component(pod) == "mariadb" else "web.memory"
        yield Cause(
            0, f"container {where} ran out of memory and was killed{_restarts(container)}", f"raise {key} in the block"
        )
    elif ended.get("exitCode") and not container.get("ready"):
        yield from _ended(where, ended, container)


def _pull_patience_s(reason: str, said: str) -> float:
    if reason in ("InvalidImageName", "ErrImageNeverPull"):
        return _AT_ONCE_S
    return _SETTLED_S if _NO_SUCH_IMAGE.search(said) else _REGISTRY_S


def _ended(where: str, ended: Object, container: Object) -> Iterator[Cause]:
    said = str(ended.get("message") or "")
    lines = " | ".join(_last_lines(said.splitlines())) or "it said nothing"
    rank = 1 if container.get("name") != "install" or "did not answer" not in said else 3
    full = [line for line in said.splitlines() if _FULL_DISK.search(line)]
    if full:
        yield _full_disk(0, container["name"], f"container {where} found its disk full: {_short(full[-1])}")
        return
    yield Cause(
        rank,
        f"container {where} ended with code {ended['exitCode']}{_restarts(container)}, its last words: {lines}",
        "correct what it says",
        _AT_ONCE_S if ended["exitCode"] == _NEVER_CODE else None,
    )


def _full_disk(rank: int, container: str, told: str) -> Cause:
    if container == "mariadb":
        cure = f"raise {_SIZE_KEYS['database']} in the store's block, or delete what is not needed"
        return Cause(rank, f"the volume of the database is full: {told}", cure)
    return Cause(rank, told, "raise the volume's size in the store's block")


def _logs(evidence: Evidence) -> Iterator[Cause]:
    """Yield what running containers say that explains a shop which does not answer."""
    if evidence.pods and all(_is_ready(pod) for pod in evidence.pods) and not evidence.logs:
        return
    for (pod, container), lines in evidence.logs.items():
        full = [line for line in lines if _FULL_DISK.search(line)]
        if full:
            yield _full_disk(
                1, container, f"container {container} of pod {pod} finds its disk full: {_short(full[-1])}"
            )
        denied = [line for line in lines if _DENIED.search(line)]
        if denied and container == "mariadb":
            yield Cause(
                1,
                f"the database refuses WordPress' password: {_short(denied[-1])}",
                "the credentials Secret was changed; `stores up` puts it back as it was generated",
            )
    for unready in evidence.pods:
        yield from _unready(evidence, unready)


def _unready(evidence: Evidence, pod: Object) -> Iterator[Cause]:
    """Yield the containers that run and do not become ready, with what the probe and their logs say."""
    name = pod["metadata"]["name"]
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        if container.get("ready") or "running" not in (container.get("state") or {}):
            continue
        probes = [_said(event) for event in _events_of(evidence, name, "Pod") if event.get("reason") == "Unhealthy"]
        lines = _last_lines(evidence.logs.get((name, container["name"]), ()))
        said = " | ".join([*probes[-1:], *lines]) or "nothing"
        yield Cause(
            4, f"container {container['name']} of pod {name} runs but is not ready: {_short(said)}", "see its log"
        )


def _rivals(evidence: Evidence) -> Iterator[Cause]:
    if evidence.rivals:
        yield Cause(
            1,
            f"its host is claimed by another Ingress: {', '.join(evidence.rivals)}",
            "delete that one, or give one of the two another host",
        )


def _release(evidence: Evidence) -> Iterator[Cause]:
    if not evidence.workloads and evidence.release is None:
        yield Cause(3, "its release is not there", "`stores up` makes it")
        return
    kinds = {workload["kind"] for workload in evidence.workloads}
    for kind, what in (("Deployment", "web pods"), ("StatefulSet", "database")):
        if kind == "StatefulSet" and not evidence.has_own_database:
            continue
        if kind not in kinds and "workloads" not in str(evidence.unreadable):
            yield Cause(1, f"the {kind} of its {what} is gone", "somebody deleted it; `stores up` makes it again")
    if evidence.release is not None and evidence.release.startswith("pending"):
        yield Cause(
            2,
            f"its Helm release is stuck in {evidence.release}: an operation on it was killed",
            "`stores up` takes it up; else `helm rollback` it",
        )


def _component(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get("app.kubernetes.io/component", ""))


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(found.get("type") == "Ready" and found.get("status") == "True" for found in conditions)


def _has_begun(pod: Object) -> bool:
    """Return whether a container of the pod came as far as its image: then its volumes and its network are there."""
    status = pod.get("status") or {}
    containers = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    states = [container.get("state") or {} for container in containers]
    waiting = [(state.get("waiting") or {}).get("reason") for state in states]
    return any(state and "waiting" not in state for state in states) or any(
        reason not in (None, "ContainerCreating", "PodInitializing") for reason in waiting
    )


def _events_of(evidence: Evidence, name: str, kind: str) -> list[Object]:
    mine = [
        event for event in evidence.events if (_about(event).get("kind"), _about(event).get("name")) == (kind, name)
    ]
    return sorted(mine, key=_when)


def _about(event: Object) -> Object:
    found: Object = event.get("involvedObject") or {}
    return found


def _when(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp"))


def _said(event: Object) -> str:
    return f"{event.get('reason')}: {event.get('message', '')}"


def _last_lines(lines: Sequence[str]) -> list[str]:
    return [" ".join(line.split()) for line in lines if line.strip()][-_LOG_LINES:]


def _restarts(container: Object) -> str:
    count = int(container.get("restartCount") or 0)
    return f" ({count} restart{'s' if count > 1 else ''})" if count else ""


def _short(text: Any) -> str:
    flat = " ".join(str(text).split())
    return flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 3]}..."
