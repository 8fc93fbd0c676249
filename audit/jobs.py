"""Jobs that the gate runs in the cluster: started, awaited, told about, and always cleaned up.

A Job's pods do what needs a store's network and volumes: a backup, a restore, a probe of the policies. This module
knows nothing of what they do; it must never leave a Job behind, and never put anything but the Job into the cluster.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final, TypeVar

from audit.watched import Watched
from stacks.cluster import Cluster
from stacks.errors import ClusterUnreachableError
from stacks.evidence import Evidence

# A cancel is noticed, and the pods are looked at, at least this often.
SLICE_S: Final = 5
# What neither the Job's controller nor we could remove, the cluster's own collector does.
LEFTOVER_S: Final = 600
LOG_LINES: Final = 40
# A pod that no node takes, or whose volume does not come, is not worth the hours that its work may take.
START_TIMEOUT_S: Final = 300
_READ_TIMEOUT_S: Final = 20
# The kubelet tries these again and again, but a Job's template does not change: no try will go better.
_HOPELESS: Final = frozenset({"CreateContainerConfigError", "ErrImageNeverPull", "InvalidImageName"})
# A Job that cannot be asked for just now: it is taken to be at work.
_UNANSWERED: Final = SimpleNamespace(status=SimpleNamespace(conditions=None))

T = TypeVar("T")


@dataclass(frozen=True)
class JobResult:
    """How a Job ended.

    `reason` says why it did not succeed, in one sentence, and `container` is the last that was seen at work, None where
    none ever was. `certain` is False where another may have been at work unseen: the pod went before its end was seen,
    or could not be asked for, or was not the only one.
    `message` is what its last container wrote to its termination log, and `output` that container's whole log where it
    was asked for. `log_tail` has the last lines of every container that ran, each with the container's name in front.
    """

    succeeded: bool
    log_tail: tuple[str, ...] = ()
    message: str = ""
    output: str = ""
    reason: str | None = None
    container: str | None = None
    cancelled: bool = False
    certain: bool = True


def run(
    cluster: Cluster,
    job: Mapping[str, Any],
    timeout_s: int,
    *,
    cancelled: threading.Event | None = None,
    on_created: Callable[[Mapping[str, Any]], None] | None = None,
    on_wait: Callable[[str], None] = lambda _text: None,
    whole_output: bool = False,
    start_timeout_s: int = START_TIMEOUT_S,
) -> JobResult:
    """Run a Job to its end and return how that was; the Job and its pods do not exist afterwards.

    `job` is a whole batch/v1 Job with name and namespace. It gets a deadline of `timeout_s`, no second try unless it
    names a number of its own, and a time to live, for the case that this process dies. `on_created` gets the live Job,
    so that its caller can make what belongs to it; `on_wait` is told what a pod waits for, each time that it changes.
    Raises ClusterUnreachableError when the cluster refuses the Job or does not answer.
    """
    with _created(cluster, _with_bounds(job, timeout_s), on_wait) as live:
        if on_created is not None:
            on_created(live)
        watch = _Watch(cluster, live["metadata"]["namespace"], live["metadata"]["name"], on_wait)
        watch.start_timeout_s = start_timeout_s
        return watch.until_over(timeout_s, cancelled or threading.Event(), whole_output=whole_output)


def _with_bounds(job: Mapping[str, Any], timeout_s: int) -> dict[str, Any]:
    spec = {"backoffLimit": 0, "ttlSecondsAfterFinished": LEFTOVER_S, **job["spec"], "activeDeadlineSeconds": timeout_s}
    return {"apiVersion": "batch/v1", "kind": "Job", **job, "spec": spec}


@contextmanager
def _created(cluster: Cluster, job: Mapping[str, Any], on_wait: Callable[[str], None]) -> Iterator[Mapping[str, Any]]:
    namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
    batch = cluster.batch
    live = cluster.ask(
        lambda: batch.create_namespaced_job(namespace, dict(job), _request_timeout=_READ_TIMEOUT_S),
        f"job {name} in {namespace}",
    )
    if live is None:
        where = f"cluster {cluster.address}"
        raise ClusterUnreachableError(
            where, f"there is no namespace {namespace} for job {name}", "see `stores status` for what became of it"
        )
    try:
        yield batch.api_client.sanitize_for_serialization(live)
    finally:
        try:
            cluster.ask(
                lambda: batch.delete_namespaced_job(
                    name, namespace, propagation_policy="Background", _request_timeout=_READ_TIMEOUT_S
                ),
                f"job {name} in {namespace}",
            )
        except ClusterUnreachableError as error:
            # How it ended matters more; it ends at its deadline, and goes when its time to live is over.
            on_wait(f"job {name} in {namespace} could not be removed: {error}")


@dataclass
class _Progress:
    """How far a Job's pods have come, over all looks at them."""

    container: str | None = None
    certain: bool = True
    _names: set[str] = field(default_factory=set)

    def look(self, pods: Sequence[Any] | None) -> None:
        """Take one look; None are pods that could not be asked for."""
        if pods:
            self._names |= {pod.metadata.name for pod in pods}
            self.container = _last_container(pods) or self.container
            self.certain = len(self._names) == 1
        elif pods is None or self._names:
            self.certain = False


class _Watch:
    """Follows one Job and its pods."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, on_wait: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._on_wait = on_wait
        self._told = ""
        self._watched = Watched(time.monotonic())
        self._progress = _Progress()
        self.start_timeout_s = START_TIMEOUT_S

    def until_over(self, timeout_s: int, cancelled: threading.Event, *, whole_output: bool) -> JobResult:
        # The Job ends itself at its deadline; this one is for a cluster that does not get to it.
        deadline = time.monotonic() + timeout_s + 2 * SLICE_S
        start_by = time.monotonic() + self.start_timeout_s
        self._watched = Watched(time.monotonic())
        while not cancelled.is_set():
            job = self._seen(deadline)
            pods = self._looked()
            if job is None:
                return self._ended(pods, f"job {self._name} was deleted while it ran")
            verdict = _verdict(job)
            hopeless = _hopeless(pods) or self._given_up(pods)
            if verdict is None and hopeless is None and time.monotonic() > deadline:
                verdict = (False, f"it has not ended within {timeout_s} s")
            if verdict is None and time.monotonic() > start_by and self._progress.container is None:
                verdict = (False, f"it has not begun within {self.start_timeout_s} s")
            if verdict is not None or hopeless is not None:
                succeeded, reason = verdict or (False, hopeless)
                return self._result(pods, reason, succeeded=succeeded, whole_output=whole_output)
            self._tell(pods)
        return self._ended(self._looked(), "it was stopped", cancelled=True)

    def _ended(self, pods: Sequence[Any], reason: str, *, cancelled: bool = False) -> JobResult:
        """Return that it was ended from outside."""
        seen = self._progress
        return JobResult(
            succeeded=False,
            log_tail=self._tails(pods),
            reason=reason,
            container=seen.container,
            cancelled=cancelled,
            certain=seen.certain,
        )

    def _given_up(self, pods: Sequence[Any]) -> str | None:
        """Return why waiting for the newest pod comes to nothing, once that is sure; see `audit.watched`.

        Whichever of its containers it is, the first or the last: what does not heal by itself is waited for no longer.
        """
        if not pods or not _waits_for(pods):
            # It works again, so what it waits for next has all its time.
            self._watched.doomed_since = None
            return None
        name = pods[-1].metadata.name
        found = self._cluster.evidence(self._namespace, logs=False)
        mine = [pod for pod in found.pods if pod["metadata"]["name"] == name]
        about = [event for event in found.events if (event.get("involvedObject") or {}).get("name") == name]
        now = time.monotonic()
        self._watched.look(Evidence(namespace=found.namespace, pods=mine, events=about), now)
        if not self._watched.is_doomed(now):
            return None
        return f"{self._watched.why}. It was not waited for any longer: this does not heal by itself"

    def _seen(self, deadline: float) -> Any:
        """Return the Job after its next change, or after one slice; None when it is gone.

        A Job that cannot be asked for is not gone.
        """
        from kubernetes import watch  # noqa: PLC0415 - see stacks.cluster

        job: Any = self._ask(
            lambda: self._cluster.batch.read_namespaced_job(self._name, self._namespace), otherwise=_UNANSWERED
        )
        if job is None or job is _UNANSWERED or _verdict(job) is not None or time.monotonic() > deadline:
            return job
        stream = watch.Watch()  # type: ignore[no-untyped-call]

        def change() -> Any:
            for event in stream.stream(  # type: ignore[no-untyped-call]
                self._cluster.batch.list_namespaced_job,
                self._namespace,
                field_selector=f"metadata.name={self._name}",
                resource_version=job.metadata.resource_version,
                timeout_seconds=SLICE_S,
                _request_timeout=_READ_TIMEOUT_S,
            ):
                return None if event["type"] == "DELETED" else event["object"]
            return job

        return self._ask(change, otherwise=job)

    def _looked(self) -> Sequence[Any]:
        """Return the pods, none where they cannot be asked for, and keep in mind how far they have come."""
        pods = self._pods()
        self._progress.look(pods)
        return pods or ()

    def _pods(self) -> Sequence[Any] | None:
        """Return the pods, the newest last; None where they cannot be asked for."""
        found = self._ask(
            lambda: self._cluster.core.list_namespaced_pod(
                self._namespace, label_selector=f"batch.kubernetes.io/job-name={self._name}"
            )
        )
        return sorted(found.items, key=lambda pod: pod.metadata.creation_timestamp) if found is not None else None

    def _tell(self, pods: Sequence[Any]) -> None:
        told = _waits_for(pods) or self._why_no_pod(pods)
        if told and told != self._told:
            self._told = told
            self._on_wait(told)

    def _why_no_pod(self, pods: Sequence[Any]) -> str:
        """Return what the controller says of a pod that it could not make, most often that the quota is used up."""
        if pods:
            return ""
        found = self._ask(
            lambda: self._cluster.core.list_namespaced_event(
                self._namespace, field_selector=f"involvedObject.name={self._name},type=Warning"
            )
        )
        return " ".join(str(found.items[-1].message).split()) if found is not None and found.items else ""

    def _result(self, pods: Sequence[Any], reason: str | None, *, succeeded: bool, whole_output: bool) -> JobResult:
        told = None
        if not succeeded:
            told = _failure(pods) or _waits_for(pods) or self._why_no_pod(pods) or self._told
            told = f"{reason}: {told}" if reason and told else (told or reason or "it failed")
        output = ""
        if whole_output and pods:
            last = pods[-1]
            output = self._log(last.metadata.name, last.spec.containers[-1].name, None)
        seen = self._progress
        return JobResult(
            succeeded, self._tails(pods), _message(pods), output, told, seen.container, certain=seen.certain
        )

    def _tails(self, pods: Sequence[Any]) -> tuple[str, ...]:
        lines: list[str] = []
        for pod in pods[-1:]:
            ran = {status.name for status in _statuses(pod) if status.state and not status.state.waiting}
            for container in [*(pod.spec.init_containers or []), *pod.spec.containers]:
                if container.name in ran:
                    text = self._log(pod.metadata.name, container.name, LOG_LINES)
                    lines.extend(f"{container.name}: {line}" for line in text.splitlines() if line.strip())
        return tuple(lines[-LOG_LINES:])

    def _log(self, pod: str, container: str, lines: int | None) -> str:
        text = self._ask(
            lambda: (
                self._cluster.core.read_namespaced_pod_log(
                    pod, self._namespace, container=container, tail_lines=lines, _preload_content=False
                ).data
            )
        )
        return "" if text is None else bytes(text).decode("utf-8", errors="replace")

    def _ask(self, question: Callable[[], T], otherwise: T | None = None) -> T | None:
        # One answer that does not come is no reason to give up a Job that works: its own deadline bounds it.
        try:
            answer: T | None = self._cluster.ask(question, f"job {self._name} in {self._namespace}")
        except ClusterUnreachableError as error:
            self._on_wait(str(error))
            time.sleep(1)
            return otherwise
        return answer


def _verdict(job: Any) -> tuple[bool, str | None] | None:
    """Return whether a Job succeeded, and why not; None while it runs."""
    for condition in job.status.conditions or []:
        if condition.status == "True" and condition.type == "Complete":
            return (True, None)
        if condition.status == "True" and condition.type == "Failed":
            slow = condition.reason == "DeadlineExceeded"
            return (False, f"it has not ended within {job.spec.active_deadline_seconds} s" if slow else None)
    return None


def _statuses(pod: Any) -> list[Any]:
    return [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]


def _hopeless(pods: Sequence[Any]) -> str | None:
    for status in (status for pod in pods for status in _statuses(pod)):
        waiting = status.state.waiting if status.state else None
        if waiting is not None and waiting.reason in _HOPELESS:
            return f"container {status.name} cannot start: {' '.join(str(waiting.message or waiting.reason).split())}"
    return None


def _waits_for(pods: Sequence[Any]) -> str:
    """Return what the newest pod waits for; an empty text when it works."""
    for pod in pods[-1:]:
        for condition in pod.status.conditions or []:
            if condition.type == "PodScheduled" and condition.status == "False" and condition.message:
                return f"pod {pod.metadata.name}: {' '.join(str(condition.message).split())}"
        for status in _statuses(pod):
            waiting = status.state.waiting if status.state else None
            if waiting is not None and waiting.reason not in ("PodInitializing", "ContainerCreating"):
                return f"container {status.name}: {' '.join(str(waiting.message or waiting.reason).split())}"
    return ""


def _failure(pods: Sequence[Any]) -> str:
    """Return which container of the newest pod failed, and what it said last."""
    for pod in pods[-1:]:
        for status in _statuses(pod):
            ended = status.state.terminated if status.state else None
            if ended is not None and ended.exit_code != 0:
                said = " / ".join(str(ended.message or "").strip().splitlines()[-3:])
                why = ended.reason if ended.reason not in (None, "Error") else f"exit code {ended.exit_code}"
                return f"container {status.name} failed ({why})" + (f": {said}" if said else "")
        if pod.status.reason:
            return f"pod {pod.metadata.name}: {pod.status.reason} {pod.status.message or ''}".strip()
    return ""


def _last_container(pods: Sequence[Any]) -> str | None:
    """Return the last container of the newest pod that has begun: they run one after the other."""
    begun = [status for pod in pods[-1:] for status in _statuses(pod) if status.state and not status.state.waiting]
    return begun[-1].name if begun else None


def _message(pods: Sequence[Any]) -> str:
    for pod in pods[-1:]:
        for status in pod.status.container_statuses or []:
            ended = status.state.terminated if status.state else None
            if ended is not None:
                return str(ended.message or "").strip()
    return ""
