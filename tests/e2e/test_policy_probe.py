"""The doctor's probe of a cluster: what it says where policies are enforced, where not, and that it leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audit import policy_probe
from audit.policy_probe import LABEL, Image
from sandbox import contents
from sandbox.instance import Instance
from stacks.cluster import Cluster
from stacks.errors import ClusterUnreachableError
from tests.charts.live import eventually
from tests.e2e.conftest import ROOT
from tests.e2e.packets import enforcer_of
from tests.e2e.project import Project

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def project(make_project: Callable[[], Project]) -> Project:
    return make_project()


@pytest.fixture
def cluster(sandbox_instance: Instance) -> Iterator[Cluster]:
    found = Cluster(kubeconfig=str(sandbox_instance.kubeconfig))
    yield found
    found.core.api_client.close()


@pytest.fixture
def image() -> Image:
    return Image(contents.references(ROOT)["wordpress"], "IfNotPresent")


def left(cluster: Cluster) -> frozenset[str]:
    return frozenset(cluster.namespaces(LABEL))


def start(project: Project) -> subprocess.Popen[str]:
    command = [str(Path(sys.executable).with_name("stores")), "--root", str(project.root), "doctor", "--deep"]
    return subprocess.Popen(
        command, env=dict(project.variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_sandbox_enforces_policies_and_the_doctor_remembers_it(project: Project, cluster: Cluster) -> None:
    before = project.stores("doctor", "--json").data
    (check,) = [check for check in before if check["name"] == "network policies"]
    assert (check["state"], check["detail"].split(":")[0]) == ("warn", "never probed")
    done = project.stores("doctor", "--deep", "--json")
    (check,) = [check for check in done.data if check["name"] == "network policies"]
    assert check["state"] == "ok", str(done)
    assert check["detail"].startswith("enforced, ingress and egress (probed ")
    (check,) = [check for check in project.stores("doctor", "--json").data if check["name"] == "network policies"]
    assert check["state"] == "ok"
    assert left(cluster) == frozenset()


def test_a_cluster_that_does_nothing_about_policies_is_found_out(
    sandbox_instance: Instance, cluster: Cluster, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Twice that long nothing happens. Here a policy that is enforced is in force within a second.
    monkeypatch.setattr(policy_probe, "_ENFORCE_S", 10.0)
    enforcer = enforcer_of(sandbox_instance)

    def pause(text: str) -> None:
        # From here on the cluster takes policies, and nobody puts them in force.
        if text.startswith("a policy"):
            os.kill(enforcer.pid, signal.SIGSTOP)

    try:
        verdict = policy_probe.run(cluster, image, pause)
    finally:
        os.kill(enforcer.pid, signal.SIGCONT)
    assert (verdict.ingress, verdict.egress) == (False, False)
    assert left(cluster) == frozenset()


@pytest.mark.long
def test_a_cancelled_probe_leaves_nothing(project: Project, cluster: Cluster) -> None:
    with start(project) as running:
        eventually(lambda: left(cluster), "the probe has its namespace")
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    eventually(lambda: not left(cluster), "the namespace is gone")


@pytest.mark.long
def test_what_a_killed_probe_has_left_is_removed_by_the_next(project: Project, cluster: Cluster) -> None:
    with start(project) as running:
        eventually(lambda: left(cluster), "the probe has its namespace")
        (name,) = left(cluster)
        running.kill()
    assert left(cluster) == {name}
    done = project.stores("doctor", "--deep")
    assert f"removing {name}, which a probe that was killed has left" in done.err
    eventually(lambda: not left(cluster), "both namespaces are gone")


@pytest.mark.long
def test_an_image_that_cannot_be_pulled_is_no_verdict(cluster: Cluster) -> None:
    missing = Image("registry.invalid/nothing:1", "Never")
    with pytest.raises(
        ClusterUnreachableError, match="could not tell whether they are enforced: its pods cannot start"
    ):
        policy_probe.run(cluster, missing, lambda _text: None)
    eventually(lambda: not left(cluster), "the namespace is gone")
