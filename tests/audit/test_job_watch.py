"""A Job's pod that will never run is given up with the reason, whichever of its containers it is; without a cluster.

And what is known of a pod that is not there any more when its Job ends: never less than was seen of it.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from audit import jobs
from audit.jobs import JobResult
from audit.replacement import touches
from stacks.errors import ClusterUnreachableError
from stacks.evidence import Evidence

NO_SUCH_IMAGE = "docker.io/library/wordpress:9: not found"
DEADLINE_S = 7200
SLICE_S = 5.0


def status(name: str, **state: Any) -> dict[str, Any]:
    return {"name": name, "image": f"{name}:9", "state": state}


RAN = status("fetch", terminated={"exitCode": 0})
WAITS = status("files", waiting={"reason": "PodInitializing"})


def pull(reason: str, message: str) -> dict[str, Any]:
    return status("load", waiting={"reason": reason, "message": message})


class JobOfOnePod:
    """A Job that never ends by itself, with one pod; the clock goes on by a slice with each look."""

    address = "https://cluster"

    def __init__(self, looks: Sequence[list[dict[str, Any]]]) -> None:
        self._looks = itertools.chain(looks, itertools.repeat(looks[-1]))
        self.containers = next(self._looks)
        self.now = 0.0
        self.asked = 0

    def seen(self, *_: object) -> Any:
        self.now += SLICE_S
        self.containers = next(self._looks)
        return SimpleNamespace(status=SimpleNamespace(conditions=[]))

    def pods(self, *_: object) -> Sequence[Any]:
        statuses = [_attributes(each) for each in self.containers]
        meta = SimpleNamespace(name="restore-1-x")
        return [
            SimpleNamespace(
                metadata=meta,
                status=SimpleNamespace(
                    init_container_statuses=statuses[:-1], container_statuses=statuses[-1:], conditions=[], reason=None
                ),
                spec=SimpleNamespace(init_containers=[], containers=[]),
            )
        ]

    def evidence(self, _namespace: str, *, logs: bool) -> Evidence:
        assert not logs
        self.asked += 1
        mine = {
            "metadata": {"name": "restore-1-x", "uid": "1"},
            "status": {"phase": "Pending", "initContainerStatuses": self.containers},
        }
        shop = {
            "metadata": {"name": "tea-wordpress-1", "uid": "2"},
            "status": {"phase": "Pending", "containerStatuses": [pull("ErrImagePull", NO_SUCH_IMAGE)]},
        }
        return Evidence(namespace={"metadata": {}}, pods=[shop, mine])


def _attributes(found: dict[str, Any]) -> Any:
    state: dict[str, Any] = dict.fromkeys(("waiting", "terminated", "running"))
    for name, value in found["state"].items():
        state[name] = SimpleNamespace(**{"message": None, "exit_code": 0, **value})
    return SimpleNamespace(name=found["name"], state=SimpleNamespace(**state))


def ended(job: JobOfOnePod, monkeypatch: pytest.MonkeyPatch) -> JobResult:
    monkeypatch.setattr(jobs.time, "monotonic", lambda: job.now)
    monkeypatch.setattr(jobs._Watch, "_seen", job.seen)
    monkeypatch.setattr(jobs._Watch, "_pods", job.pods)
    watch = jobs._Watch(job, "store-tea", "restore-1", lambda _text: None)  # type: ignore[arg-type]
    return watch.until_over(DEADLINE_S, threading.Event(), whole_output=False)


@pytest.mark.parametrize("before", [[], [RAN]], ids=["the first", "a later"])
def test_an_image_that_does_not_exist_ends_the_wait_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, before: list[dict[str, Any]]
) -> None:
    job = JobOfOnePod([[*before, pull("ErrImagePull", NO_SUCH_IMAGE), WAITS]])
    result = ended(job, monkeypatch)
    assert not result.succeeded
    assert "image load:9 of load of pod restore-1-x cannot be pulled" in str(result.reason)
    assert "not found" in str(result.reason)
    assert "It was not waited for any longer" in str(result.reason)
    assert job.now < 60


def test_a_registry_that_does_not_answer_for_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    away = [RAN, pull("ErrImagePull", "connection refused"), WAITS]
    works = [RAN, status("load", running={}), status("files", waiting={"reason": "PodInitializing"})]
    job = JobOfOnePod([away, away, works])
    result = ended(job, monkeypatch)
    assert "has not ended within" in str(result.reason)
    assert job.now > DEADLINE_S


def test_a_registry_that_never_answers_is_given_up_within_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    job = JobOfOnePod([[RAN, pull("ImagePullBackOff", "connection refused"), WAITS]])
    assert "cannot be pulled" in str(ended(job, monkeypatch).reason)
    assert job.now < 600


def test_the_fault_of_another_pod_of_the_store_is_not_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = status("load", waiting={"reason": "VolumeIsBusy", "message": "the volume is busy"})
    job = JobOfOnePod([*[[RAN, waits, WAITS]] * 100, [RAN, status("load", running={}), WAITS]])
    assert "has not ended within" in str(ended(job, monkeypatch).reason)
    assert job.asked > 90


def test_a_pod_that_works_is_not_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    job = JobOfOnePod([[RAN, status("load", running={}), WAITS]])
    ended(job, monkeypatch)
    assert job.asked == 0


def test_an_image_pulled_late_hours_after_an_earlier_hiccup_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hiccup = [pull("ErrImagePull", "i/o timeout"), WAITS]
    works = [status("load", running={}), WAITS]
    late = [RAN, status("files", waiting={"reason": "ErrImagePull", "message": "i/o timeout"})]
    hour = [works] * 720
    job = JobOfOnePod([hiccup, hiccup, *hour, late, late, [RAN, status("files", running={})]])
    assert "has not ended within" in str(ended(job, monkeypatch).reason)
    assert job.now > DEADLINE_S


# --- what is known of a pod that is gone

RUNS = SimpleNamespace(metadata=SimpleNamespace(resource_version="1"), status=SimpleNamespace(conditions=[]))
LATE = SimpleNamespace(
    status=SimpleNamespace(conditions=[SimpleNamespace(status="True", type="Failed", reason="DeadlineExceeded")]),
    spec=SimpleNamespace(active_deadline_seconds=DEADLINE_S),
)
FAILED = SimpleNamespace(
    status=SimpleNamespace(conditions=[SimpleNamespace(status="True", type="Failed", reason="BackoffLimitExceeded")])
)
DELETED = None
ENDS = pytest.mark.parametrize("end", [LATE, FAILED, DELETED], ids=["deadline", "failed", "deleted"])


class Api:
    """What the cluster says of one Job and its pods, look by look; an error instead of an answer is raised."""

    address = "https://cluster"

    def __init__(self, *looks: tuple[Any, Any]) -> None:
        self._looks = iter(looks)
        self._now: tuple[Any, Any] = (None, None)
        self.core = self.batch = self

    def ask(self, question: Any, _about: str) -> Any:
        answer = question()
        if isinstance(answer, ClusterUnreachableError):
            raise answer
        return answer

    def read_namespaced_job(self, *_: object) -> Any:
        self._now = next(self._looks)
        return self._now[0]

    def list_namespaced_job(self, *_: object, **__: object) -> Any:
        raise AssertionError

    def list_namespaced_pod(self, *_: object, **__: object) -> Any:
        pods = self._now[1]
        return pods if isinstance(pods, ClusterUnreachableError) else SimpleNamespace(items=pods)

    def list_namespaced_event(self, *_: object, **__: object) -> Any:
        return SimpleNamespace(items=[])

    def read_namespaced_pod_log(self, *_: object, **__: object) -> Any:
        return SimpleNamespace(data=b"")


AWAY = ClusterUnreachableError("cluster", "it does not answer", "start it")


def pod(*containers: dict[str, Any], name: str = "restore-1-x") -> Any:
    statuses = [_attributes(each) for each in containers]
    return SimpleNamespace(
        metadata=SimpleNamespace(name=name, creation_timestamp=name),
        status=SimpleNamespace(
            init_container_statuses=statuses, container_statuses=[], conditions=[], reason=None, message=None
        ),
        spec=SimpleNamespace(init_containers=[], containers=[]),
    )


PENDING = pod(status("fetch", waiting={"reason": "ContainerCreating"}))
FETCHES = pod(status("fetch", running={}), status("load", waiting={"reason": "PodInitializing"}))
FETCH_FAILED = pod(status("fetch", terminated={"exit_code": 1, "reason": "Error"}))
LOADS = pod(status("fetch", terminated={"exit_code": 0}), status("load", running={}))


def seen(monkeypatch: pytest.MonkeyPatch, *looks: tuple[Any, Any], start_timeout_s: int = 300) -> JobResult:
    """Return how a Job ends of which this is seen, its last look included."""
    monkeypatch.setattr(jobs.time, "sleep", lambda _s: None)
    monkeypatch.setattr("kubernetes.watch.Watch", lambda: SimpleNamespace(stream=lambda *_, **__: ()))
    watch = jobs._Watch(Api(*looks), "store-tea", "restore-1", lambda _text: None)  # type: ignore[arg-type]
    watch.start_timeout_s = start_timeout_s
    return watch.until_over(DEADLINE_S, threading.Event(), whole_output=False)


@ENDS
@pytest.mark.parametrize("last", [[], AWAY], ids=["gone", "not told"])
def test_a_pod_that_was_seen_loading_has_touched_the_shop_also_when_it_is_gone(
    monkeypatch: pytest.MonkeyPatch, end: Any, last: Any
) -> None:
    result = seen(monkeypatch, (RUNS, [FETCHES]), (RUNS, [LOADS]), (end, last))
    assert not result.succeeded
    assert result.container == "load"
    assert touches(result)


@ENDS
@pytest.mark.parametrize("before", [[PENDING], [FETCHES]], ids=["pending", "fetching"])
def test_a_pod_that_went_unseen_may_have_touched_the_shop(
    monkeypatch: pytest.MonkeyPatch, end: Any, before: list[Any]
) -> None:
    assert touches(seen(monkeypatch, (RUNS, before), (end, [])))
    assert touches(seen(monkeypatch, (RUNS, before), (end, AWAY)))


@ENDS
def test_a_shop_is_touched_where_nobody_could_look(monkeypatch: pytest.MonkeyPatch, end: Any) -> None:
    assert touches(seen(monkeypatch, (RUNS, AWAY), (end, [])))


@ENDS
def test_a_second_pod_does_not_say_how_far_the_first_came(monkeypatch: pytest.MonkeyPatch, end: Any) -> None:
    begun, waits = {"running": {}}, {"waiting": {"reason": "ContainerCreating"}}
    second, third = pod(status("fetch", **begun), name="restore-1-y"), pod(status("fetch", **waits), name="restore-1-z")
    assert touches(seen(monkeypatch, (RUNS, [LOADS]), (end, [second])))
    assert seen(monkeypatch, (RUNS, [LOADS]), (end, [third])).container == "load"


@ENDS
def test_a_fetch_that_is_seen_to_be_the_last_has_touched_nothing(monkeypatch: pytest.MonkeyPatch, end: Any) -> None:
    result = seen(monkeypatch, (RUNS, [PENDING]), (RUNS, AWAY), (end, [FETCH_FAILED]))
    assert result.container == "fetch"
    assert not touches(result)


@ENDS
def test_a_job_that_never_had_a_pod_has_touched_nothing(monkeypatch: pytest.MonkeyPatch, end: Any) -> None:
    result = seen(monkeypatch, (RUNS, []), (RUNS, []), (end, []))
    assert result.container is None
    assert not touches(result)


def test_a_job_that_cannot_be_asked_for_is_not_taken_for_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    done = SimpleNamespace(status=SimpleNamespace(conditions=[SimpleNamespace(status="True", type="Complete")]))
    looks = ((RUNS, [LOADS]), (AWAY, AWAY), (done, [LOADS]))
    assert seen(monkeypatch, *looks).succeeded
    assert seen(monkeypatch, *looks, start_timeout_s=0).succeeded, "it has begun, also where its pod cannot be seen"
