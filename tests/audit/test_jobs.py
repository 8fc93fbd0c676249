"""Jobs in a real cluster: how each kind of end is told, and that nothing is left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from audit import jobs
from sandbox import contents
from sandbox.instance import Instance
from stacks.cluster import Cluster
from stacks.errors import ClusterUnreachableError
from tests.conftest import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

NAMESPACE = "jobs-under-test"


@pytest.fixture(scope="module")
def cluster(sandbox_instance: Instance) -> Iterator[Cluster]:
    found = Cluster(kubeconfig=str(sandbox_instance.kubeconfig))
    found.ask(lambda: found.core.create_namespace({"metadata": {"name": NAMESPACE}}), "namespace")
    yield found
    found.ask(lambda: found.core.delete_namespace(NAMESPACE), "namespace")


def job(name: str, script: str, **container: Any) -> dict[str, Any]:
    image = contents.references(ROOT)["mariadb"]
    main = {"name": "main", "image": image, "command": ["bash", "-ec", script], **container}
    template = {"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [main]}}
    return {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"template": template}}


def left(cluster: Cluster, name: str) -> Any:
    found = cluster.ask(lambda: cluster.batch.read_namespaced_job(name, NAMESPACE), "job")
    return None if found is None or found.metadata.deletion_timestamp is not None else found


def test_a_job_that_succeeds_hands_over_its_message_and_its_log(cluster: Cluster) -> None:
    created: list[str] = []
    result = jobs.run(
        cluster,
        job("good", "echo first; echo second; echo '{\"id\": 1}' > /dev/termination-log"),
        120,
        on_created=lambda live: created.append(live["metadata"]["uid"]),
        whole_output=True,
    )
    assert result.succeeded, result
    assert result.message == '{"id": 1}'
    assert result.output == "first\nsecond\n"
    assert result.log_tail == ("main: first", "main: second")
    assert len(created) == 1
    assert left(cluster, "good") is None


def test_a_job_that_fails_says_which_container_and_its_last_lines(cluster: Cluster) -> None:
    what = job("bad", "echo before; echo 'it broke here' >&2; exit 3", terminationMessagePolicy="FallbackToLogsOnError")
    result = jobs.run(cluster, what, 120)
    assert not result.succeeded
    assert result.reason == "container main failed (exit code 3): before / it broke here"
    assert left(cluster, "bad") is None


def test_a_job_that_does_not_end_is_ended_at_its_deadline(cluster: Cluster) -> None:
    result = jobs.run(cluster, job("slow", "trap 'exit 1' TERM; read -r < <(sleep 600)"), 5)
    assert not result.succeeded
    assert result.reason is not None
    assert "it has not ended within 5 s" in result.reason
    assert left(cluster, "slow") is None


def test_a_cancelled_job_is_removed(cluster: Cluster) -> None:
    cancelled = threading.Event()
    result = jobs.run(
        cluster, job("stopped", "sleep 600"), 300, cancelled=cancelled, on_created=lambda _live: cancelled.set()
    )
    assert result.cancelled
    assert not result.succeeded
    assert left(cluster, "stopped") is None


def test_a_pod_that_can_never_start_is_not_waited_for(cluster: Cluster) -> None:
    missing = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "x"}}}]
    result = jobs.run(cluster, job("hopeless", "true", env=missing), 280)
    assert not result.succeeded
    assert result.reason is not None
    assert 'container main cannot start: secret "absent" not found' in result.reason


def test_a_job_without_a_namespace_is_refused(cluster: Cluster) -> None:
    what = job("nowhere", "true")
    what["metadata"]["namespace"] = "not-there"
    with pytest.raises(ClusterUnreachableError, match="there is no namespace not-there for job nowhere"):
        jobs.run(cluster, what, 60)


def test_a_second_job_of_the_same_name_is_refused_and_the_first_goes_on(cluster: Cluster) -> None:
    inner: list[ClusterUnreachableError] = []

    def again(_live: Any) -> None:
        try:
            jobs.run(cluster, job("twice", "true"), 60)
        except ClusterUnreachableError as error:
            inner.append(error)

    result = jobs.run(cluster, job("twice", "true"), 120, on_created=again)
    assert "already exists" in str(inner[0])
    assert result.succeeded, result
