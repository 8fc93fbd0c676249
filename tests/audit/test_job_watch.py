"""A Job's pod that will never run is given up with the reason, whichever of its containers it is; without a cluster."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from audit import jobs
from audit.jobs import JobResult
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
