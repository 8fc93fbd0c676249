"""What is seen while the engine waits, and when it is asked to wait no longer; the real ones are in tests/e2e."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from audit.engine.events import EngineResult, Step
from audit.phases import lookout
from audit.phases.lookout import OLD_PODS_S, Before, Lookout
from audit.watched import Watched
from stacks.evidence import Evidence
from stacks.explanation import causes

TEA, BAR = "tea-x7k2m", "bar-p4n9d"
NAMESPACE = {"metadata": {}}
WORKLOADS = [
    {
        "kind": kind,
        "metadata": {"name": f"tea-{name}"},
        "spec": {},
        "status": {"readyReplicas": 1, "updatedReplicas": 1},
    }
    for kind, name in (("Deployment", "wordpress"), ("StatefulSet", "mariadb"))
]
MISSING = "docker.io/library/wordpress:9: not found"


def pod(uid: str, *containers: dict[str, Any], component: str = "wordpress") -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": component}
    return {
        "metadata": {"name": f"tea-{uid}", "uid": uid, "labels": labels},
        "status": {"initContainerStatuses": list(containers)},
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"name": "install", "image": "wordpress:9", "state": {"waiting": {"reason": reason, "message": message}}}


def ended(code: int) -> dict[str, Any]:
    return {
        **waiting("CrashLoopBackOff"),
        "lastState": {"terminated": {"exitCode": code, "reason": "Error", "message": "nothing was installed"}},
    }


def seen(*pods: dict[str, Any], events: Sequence[dict[str, Any]] = ()) -> Evidence:
    return Evidence(namespace=NAMESPACE, pods=pods, events=events, workloads=WORKLOADS, release="pending-install")


ABSENT = seen(pod("new", waiting("ErrImagePull", MISSING)))
HEALTHY = seen(pod("new", waiting("PodInitializing")))


def test_an_image_that_there_is_not_is_waited_for_until_it_is_sure_and_no_longer() -> None:
    watched = Watched(began=0)
    assert watched.look(ABSENT, 5) is None
    assert not watched.is_doomed(14.9)
    assert watched.is_doomed(15)


def test_what_heals_in_between_is_waited_for_anew() -> None:
    watched = Watched(began=0)
    watched.look(ABSENT, 5)
    watched.look(HEALTHY, 10)
    assert not watched.is_doomed(1000)
    watched.look(ABSENT, 20)
    assert not watched.is_doomed(29)


def test_an_image_that_is_backed_off_without_words_is_the_one_that_there_is_not() -> None:
    watched = Watched(began=0)
    watched.look(ABSENT, 5)
    watched.look(seen(pod("new", waiting("ImagePullBackOff", "Back-off pulling image"))), 10)
    assert watched.is_doomed(15)


@pytest.mark.parametrize(
    ("container", "doomed_after_s"),
    [
        (ended(78), 0),
        (ended(1), None),
        (waiting("InvalidImageName"), 0),
        (waiting("ErrImagePull", "dial tcp: i/o timeout"), 120),
        (waiting("CreateContainerConfigError", 'secret "x" not found'), 30),
        (waiting("PodInitializing"), None),
    ],
)
def test_only_what_never_heals_is_given_up(container: dict[str, Any], doomed_after_s: int | None) -> None:
    watched = Watched(began=0)
    watched.look(seen(pod("new", container)), 100)
    if doomed_after_s is None:
        assert not watched.is_doomed(10_000)
    else:
        assert not watched.is_doomed(100 + doomed_after_s - 0.1)
        assert watched.is_doomed(100 + doomed_after_s)


def test_a_quota_is_waited_for_while_a_job_is_about_to_free_it() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: store"}
    broken = {**WORKLOADS[0], "status": {"conditions": [refused]}}
    job = {**pod("job", component="backup"), "status": {"phase": "Running"}}
    job["metadata"] = {**job["metadata"], "ownerReferences": [{"kind": "Job"}]}
    for pods, doomed in (((), True), ((job,), False), (({**job, "status": {"phase": "Succeeded"}},), True)):
        watched = Watched(began=0)
        watched.look(Evidence(namespace=NAMESPACE, pods=pods, workloads=[broken, WORKLOADS[1]]), 0)
        assert watched.is_doomed(60) is doomed


def test_it_is_told_once_and_only_when_it_was_seen_twice() -> None:
    watched = Watched(began=0)
    assert watched.look(ABSENT, 5) is None
    told = watched.look(ABSENT, 10)
    assert told is not None
    assert told.startswith("image wordpress:9 of install of pod tea-new cannot be pulled")
    assert watched.look(ABSENT, 15) is None


def test_a_namespace_that_is_not_there_yet_is_no_fault() -> None:
    watched = Watched(began=0)
    watched.look(Evidence(namespace=None), 5)
    watched.look(Evidence(namespace=None), 10)
    assert not watched.is_doomed(1000)


class TestWhatWasThereBefore:
    """A change is not to blame for the pods and events that it found."""

    OLD = pod("old", ended(78))
    EVENT: ClassVar = {
        "metadata": {"uid": "e1"}, "lastTimestamp": "2026-11-23T10:00:00Z", "reason": "FailedCreate",
        "message": "exceeded quota", "involvedObject": {"kind": "StatefulSet", "name": "tea-mariadb"},
    }  # fmt: skip
    BEFORE = Before.of(seen(OLD, events=[EVENT]))

    def test_a_broken_pod_is_not_the_changes_while_the_change_may_still_replace_it(self) -> None:
        assert causes(self.BEFORE.without(seen(self.OLD), OLD_PODS_S - 0.1)) == ()

    def test_a_broken_pod_that_the_change_has_left_as_it_is_counts(self) -> None:
        assert causes(self.BEFORE.without(seen(self.OLD), OLD_PODS_S))[0].patience_s == 0

    def test_a_broken_pod_never_counts_beside_its_successor(self) -> None:
        both = seen(self.OLD, pod("new", waiting("PodInitializing")))
        assert causes(self.BEFORE.without(both, 10 * OLD_PODS_S)) == ()

    def test_the_successor_of_another_component_says_nothing_of_it(self) -> None:
        other = pod("new", waiting("PodInitializing"), component="mariadb")
        assert causes(self.BEFORE.without(seen(self.OLD, other), OLD_PODS_S)) != ()

    def test_an_event_counts_once_it_is_seen_again(self) -> None:
        again = {**self.EVENT, "lastTimestamp": "2026-11-23T10:01:00Z"}
        assert self.BEFORE.without(seen(events=[self.EVENT]), 10 * OLD_PODS_S).events == []
        assert self.BEFORE.without(seen(events=[again]), 0).events == [again]


@dataclass
class Cluster:
    """Shows the stores that a test calls broken, and all others as they start."""

    broken: Sequence[str]

    def evidence(self, namespace: str, *, logs: bool) -> Evidence:
        assert not logs  # it is read every few seconds
        fails = namespace.removeprefix("store-") in self.broken
        return seen(pod("new", ended(78) if fails else waiting("PodInitializing")))


@dataclass
class Engine:
    """Counts how often it was asked to end its wait."""

    asked: int = 0

    def give_up(self) -> None:
        self.asked += 1


class Work:
    """A lookout over the work on some stores, whose looks a test takes itself."""

    def __init__(self, *store_ids: str, broken: Sequence[str]) -> None:
        self.engine, self.told = Engine(), list[tuple[str, str]]()
        self.lookout = Lookout(
            self.engine,  # type: ignore[arg-type]
            Cluster(broken),  # type: ignore[arg-type]
            store_ids,
            lambda store_id, text: self.told.append((store_id, text)),
        )

    def step(self, store_id: str, phase: str, op: str = "create", part: str = "release") -> None:
        passed: list[str] = []
        step = Step("urn", "type", op, store_id, part)
        self.lookout.beside(lambda one, at: passed.append(f"{one.op} {at}"))(step, phase)
        assert passed == [f"{op} {phase}"]


def test_the_engine_is_ended_when_all_that_it_works_on_is_doomed() -> None:
    work = Work(TEA, broken=[TEA])
    work.step(TEA, "started")
    assert work.lookout.look()
    assert work.engine.asked == 1
    result = work.lookout.judged(EngineResult((), {TEA: "release could not be created"}))
    assert result.given_up[TEA].startswith("container install of pod tea-new ended with code 78")
    assert "does not heal by itself" in result.given_up[TEA]
    assert result.failures == result.given_up


def test_a_store_that_may_come_up_is_waited_for_first() -> None:
    work = Work(TEA, BAR, broken=[TEA])
    work.step(TEA, "started")
    assert not work.lookout.look()  # the engine has not come to the other one yet
    work.step(BAR, "started")
    assert not work.lookout.look()
    work.step(BAR, "done")
    assert work.lookout.look()
    result = work.lookout.judged(EngineResult((), {}))
    assert set(result.failures) == {TEA}


def test_a_store_that_is_removed_is_waited_for_to_the_end() -> None:
    work = Work(TEA, BAR, broken=[TEA])
    work.step(TEA, "started")
    work.step(BAR, "started", op="delete")
    work.step(BAR, "done", op="delete")
    assert not work.lookout.look()
    assert work.engine.asked == 0


def test_what_is_no_release_is_not_looked_at() -> None:
    work = Work(TEA, broken=[TEA])
    work.step(TEA, "started", part="credentials")
    assert not work.lookout.look()


def test_a_release_that_failed_by_itself_is_told_in_the_engines_words() -> None:
    work = Work(TEA, broken=[TEA])
    work.step(TEA, "started")
    work.step(TEA, "failed")
    assert not work.lookout.look()
    result = EngineResult((), {TEA: "release could not be created"})
    assert work.lookout.judged(result) == result


def test_a_run_that_was_stopped_is_no_failure() -> None:
    work = Work(TEA, broken=[TEA])
    work.step(TEA, "started")
    assert work.lookout.look()
    assert work.lookout.judged(EngineResult((), {}, cancelled=True)).failures == {}


def test_it_looks_by_itself_while_the_engine_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "LOOK_EVERY_S", 0.001)
    ended_by_itself = threading.Event()
    work = Work(TEA, broken=[TEA])
    monkeypatch.setattr(work.engine, "give_up", ended_by_itself.set)
    with work.lookout:
        work.step(TEA, "started")
        # Its pod was there before: it is looked at, and not yet to blame.
        assert not ended_by_itself.is_set()
        monkeypatch.setattr(lookout, "OLD_PODS_S", 0)
        assert ended_by_itself.wait(60)
