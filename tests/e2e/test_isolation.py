"""Stores are isolated, proved by packets: from their own pods, from others, and with each policy's absence.

A probe that could not succeed would prove nothing, so each one is also made without the policies.
"""

from __future__ import annotations

import http.client
import os
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components import naming
from sandbox import instance as instances
from sandbox.instance import Instance
from tests.charts.live import eventually
from tests.e2e import outsider
from tests.e2e.conftest import ROOT
from tests.e2e.packets import Cluster, Outside, Result, Target, WithoutPolicies, enforcer_of, inside
from tests.e2e.project import Project, store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

A, B = naming.new_store_id("iso-a"), naming.new_store_id("iso-b")
PLATFORM = f"platform-{secrets.token_hex(3)}"
_SERVER = """
$server = stream_socket_server("tcp://0.0.0.0:PORT");
while (true) { $client = @stream_socket_accept($server, 3600); if ($client) { fclose($client); } }
"""
# Tries from its very first moment on, and says what came of it.
_IMPATIENT = """
for ($turn = 0; $turn < 8; $turn++) {
  $client = @fsockopen("ADDRESS", PORT, $code, $said, 0.5);
  echo $client ? "connected" : ($code === 111 ? "refused" : "timeout"), "\n";
  if ($client) { fclose($client); }
}
"""


@dataclass(frozen=True)
class Neighbourhood:
    """Two stores, and everybody else."""

    cluster: Cluster
    project: Project
    outside: Outside
    listener: Any

    def web(self, store_id: str) -> Any:
        return self.cluster.pod(naming.namespace(store_id), component="wordpress")

    def database(self, store_id: str) -> Any:
        return self.cluster.pod(naming.namespace(store_id), component="mariadb")

    @property
    def ingress(self) -> Any:
        return self.cluster.pod("ingress-nginx", name="ingress")

    def targets(self, store_id: str) -> dict[str, Target]:
        """Return where a store's web and database answer, by pod and by Service."""
        namespace = naming.namespace(store_id)
        return {
            "web": (self.web(store_id).status.pod_ip, 8080),
            "web service": self.cluster.service(namespace, "wordpress"),
            "database": (self.database(store_id).status.pod_ip, 3306),
            "database service": self.cluster.service(namespace, "mariadb"),
        }

    def forbidden(self) -> dict[str, Target]:
        """Return what no pod of store A may reach."""
        return {
            **{f"other store's {name}": target for name, target in self.targets(B).items()},
            "control plane's database on the node": (outsider.NODE, outsider.DATABASE_PORT),
            "control plane's database in a pod": (self.listener.status.pod_ip, 3306),
            "API server by its service": ("10.43.0.1", 443),
            "API server by its name": ("kubernetes.default.svc.cluster.local", 443),
            "API server by its address": (outsider.NODE, 6443),
            "kubelet": (outsider.NODE, 10250),
            "cloud metadata": (outsider.METADATA, outsider.METADATA_PORT),
            "public address over HTTP": (outsider.PUBLIC, 80),
            "database in the internet": (outsider.PUBLIC, 3306),
        }


def pod_body(name: str, code: str, image: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return a pod of the restricted profile that runs PHP code."""
    return {
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": 33, "runAsGroup": 33, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "php",
                "image": image,
                "command": ["php", "-r", code],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": {
                    "requests": {"cpu": "10m", "memory": "32Mi"},
                    "limits": {"cpu": "100m", "memory": "64Mi"},
                },
            }],
        },
    }  # fmt: skip


def run_pod(cluster: Cluster, namespace: str, body: dict[str, Any]) -> Any:
    """Return the pod once it runs."""
    name = body["metadata"]["name"]
    cluster.core.create_namespaced_pod(namespace, body)
    eventually(lambda: cluster.core.read_namespaced_pod(name, namespace).status.phase == "Running", f"{name} runs")
    return cluster.core.read_namespaced_pod(name, namespace)


@pytest.fixture(scope="module")
def here(make_project: Callable[[], Project], sandbox_instance: Instance) -> Iterator[Neighbourhood]:
    project = make_project()
    project.write(store(A), store(B, owner="bob"))
    done = project.stores("up")
    assert done.code == 0, str(done)
    cluster = Cluster(sandbox_instance.kubeconfig)
    image = cluster.pod(naming.namespace(A), component="wordpress").spec.containers[0].image
    cluster.core.create_namespace({"metadata": {"name": PLATFORM}})
    listener = run_pod(cluster, PLATFORM, pod_body("database", _SERVER.replace("PORT", "3306"), image, {}))
    with Outside(sandbox_instance) as outside:
        yield Neighbourhood(cluster, project, outside, listener)
    cluster.core.delete_namespace(PLATFORM)
    cluster.api.close()
    project.stores("rm", A)
    project.stores("rm", B)
    assert project.stores("up").code == 0


@pytest.fixture
def image(here: Neighbourhood) -> str:
    return str(here.listener.spec.containers[0].image)


def assert_all(found: Mapping[str, Result], expected: Result) -> None:
    assert found == dict.fromkeys(found, expected)


@pytest.mark.parametrize("component", ["wordpress", "mariadb"])
def test_a_store_reaches_no_other_store_no_control_plane_and_no_metadata(here: Neighbourhood, component: str) -> None:
    pod = here.cluster.pod(naming.namespace(A), component=component)
    assert_all(here.cluster.probe(pod, here.forbidden()), "timeout")


def test_each_of_these_is_reached_without_the_policies(here: Neighbourhood) -> None:
    with WithoutPolicies(here.cluster, naming.namespace(A), naming.namespace(B)):
        wanted = dict.fromkeys(here.forbidden(), "connected")
        for pod in (here.web(A), here.database(A)):
            eventually(lambda pod=pod: here.cluster.probe(pod, here.forbidden()) == wanted, "everything is reached")
    eventually(
        lambda: set(here.cluster.probe(here.web(A), here.forbidden()).values()) == {"timeout"}, "all is closed again"
    )


@pytest.mark.parametrize("left", [A, B])
def test_the_policies_of_either_store_alone_keep_them_apart(here: Neighbourhood, left: str) -> None:
    api = {"API server": (outsider.NODE, 6443)}
    with WithoutPolicies(here.cluster, naming.namespace(left)):
        if left == A:  # so that it is known to be open by now
            eventually(lambda: here.cluster.probe(here.web(A), api)["API server"] == "connected", "A is open")
        else:
            own = {name: target for name, target in here.targets(B).items() if name.startswith("database")}
            wanted = dict.fromkeys(own, "connected")
            eventually(lambda: here.cluster.probe(here.listener, own) == wanted, "B is open")
        assert_all(here.cluster.probe(here.web(A), here.targets(B)), "timeout")


def test_a_shop_reaches_its_database_name_service_and_the_web(here: Neighbourhood) -> None:
    needed = {
        **{name: target for name, target in here.targets(A).items() if name.startswith("database")},
        "name service over TCP": ("10.43.0.10", 53),
        "web": (outsider.PUBLIC, 443),
    }
    assert_all(here.cluster.probe(here.web(A), needed), "connected")


def test_a_database_reaches_name_service_alone(here: Neighbourhood) -> None:
    found = here.cluster.probe(
        here.database(A),
        {"name service": ("10.43.0.10", 53), "web": (outsider.PUBLIC, 443), "own shop": here.targets(A)["web"]},
    )
    assert found == {"name service": "connected", "web": "timeout", "own shop": "timeout"}


@pytest.mark.parametrize("component", ["wordpress", "mariadb"])
def test_names_are_resolved(here: Neighbourhood, component: str) -> None:
    pod = here.cluster.pod(naming.namespace(A), component=component)
    name = f"{here.cluster.core.list_namespaced_service(naming.namespace(A)).items[0].metadata.name}"
    said = here.cluster.run(pod, ["getent", "hosts", f"{name}.{naming.namespace(A)}.svc.cluster.local"])
    assert said.startswith("10.43.")


def test_the_ingress_reaches_the_shop_and_nothing_else_of_a_store(here: Neighbourhood) -> None:
    targets = {**here.targets(A), "another port": (here.web(A).status.pod_ip, 8081)}

    def found() -> Mapping[str, Result]:
        return here.cluster.probe(here.ingress, targets, python="controller")

    closed = {"web": "connected", "web service": "connected", "database": "timeout", "database service": "timeout"}
    assert found() == {**closed, "another port": "timeout"}
    with WithoutPolicies(here.cluster, naming.namespace(A)):
        opened = {**dict.fromkeys(closed, "connected"), "another port": "refused"}
        eventually(lambda: found() == opened, "the ingress reaches all")


def test_nobody_from_outside_reaches_a_database(here: Neighbourhood, sandbox_instance: Instance) -> None:
    targets = here.targets(A)

    def from_outside() -> dict[str, Result]:
        return {name: here.outside.connect(target) for name, target in targets.items()}

    assert_all(from_outside(), "timeout")
    assert_all(here.cluster.probe(here.listener, targets), "timeout")
    # The door that is meant for them: the ingress, on the node's address and on the machine's.
    assert here.outside.connect((outsider.NODE, 80)) == "connected"
    assert here.outside.connect((outsider.NODE, 3306)) == "refused"
    connection = http.client.HTTPConnection("127.0.0.1", sandbox_instance.http_port, timeout=20)
    connection.request("GET", "/wp-login.php", headers={"Host": naming.host(A, "127.0.0.1.nip.io")})
    assert connection.getresponse().status == 200
    connection.close()
    with WithoutPolicies(here.cluster, naming.namespace(A)):
        wanted = dict.fromkeys(targets, "connected")
        eventually(lambda: from_outside() == wanted, "the host beside the node reaches all")
        eventually(lambda: here.cluster.probe(here.listener, targets) == wanted, "so does another namespace's pod")


def test_the_links_own_ipv6_addresses_are_no_way_around(here: Neighbourhood, sandbox_instance: Instance) -> None:
    node = ["nsenter", "--target", str(inside(sandbox_instance).pid), "--net"]
    for pod in (here.web(A), here.listener):
        (link,) = [line.split() for line in run([*node, "ip", "route", "show", pod.status.pod_ip]).splitlines()]
        shown = run([*node, "ip", "-6", "-o", "address", "show", "dev", link[link.index("dev") + 1]]).split()
        address = shown[shown.index("inet6") + 1].partition("/")[0]
        assert address.startswith("fe80:")
        assert here.cluster.probe(pod, {"API server": (f"{address}%eth0", 6443)}) == {"API server": "timeout"}


def run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_solver_of_certificate_challenges_is_reached_by_the_ingress_alone(here: Neighbourhood, image: str) -> None:
    labels = {"acme.cert-manager.io/http01-solver": "true"}
    body = pod_body("solver", _SERVER.replace("PORT", "8089"), image, labels)
    solver = run_pod(here.cluster, naming.namespace(A), body)
    target = {"solver": (solver.status.pod_ip, 8089)}
    # The server listens a moment after its pod runs.
    reached = {"solver": "connected"}
    eventually(lambda: here.cluster.probe(here.ingress, target, python="controller") == reached, "it is reached")
    for pod in (here.web(A), here.web(B), here.listener):
        assert_all(here.cluster.probe(pod, target), "timeout")
    here.cluster.core.delete_namespaced_pod("solver", naming.namespace(A))


@pytest.mark.parametrize(("namespace", "expected"), [(naming.namespace(A), "timeout"), (PLATFORM, "connected")])
def test_a_new_pod_is_closed_from_its_first_moment(
    here: Neighbourhood, image: str, namespace: str, expected: str
) -> None:
    code = _IMPATIENT.replace("ADDRESS", outsider.NODE).replace("PORT", str(outsider.DATABASE_PORT))
    names = [f"impatient-{number}" for number in range(3)]
    for name in names:
        here.cluster.core.create_namespaced_pod(namespace, pod_body(name, code, image, {}))
    for name in names:
        eventually(
            lambda name=name: here.cluster.core.read_namespaced_pod(name, namespace).status.phase == "Succeeded",
            f"{name} has ended",
        )
        said = here.cluster.core.read_namespaced_pod_log(name, namespace).split()
        assert said == [expected] * 8
        here.cluster.core.delete_namespaced_pod(name, namespace)


def enforcer_state(root: Path) -> Any:
    return instances.status(root, "test").components["policies"]


def test_a_killed_enforcer_leaves_all_closed_and_is_started_again(
    here: Neighbourhood, sandbox_instance: Instance
) -> None:
    restarts = enforcer_state(ROOT).restarts
    os.kill(enforcer_of(sandbox_instance).pid, signal.SIGKILL)
    assert_all(here.cluster.probe(here.web(A), here.forbidden()), "timeout")
    eventually(
        lambda: enforcer_state(ROOT).restarts > restarts and enforcer_state(ROOT).running, "the enforcer runs again"
    )
    # It does its work again: what it is told now comes into force.
    with WithoutPolicies(here.cluster, naming.namespace(A)):
        api = {"API server": (outsider.NODE, 6443)}
        eventually(lambda: here.cluster.probe(here.web(A), api) == {"API server": "connected"}, "A is open")
    eventually(lambda: here.cluster.probe(here.web(A), api) == {"API server": "timeout"}, "A is closed")


def test_no_pod_starts_while_the_enforcer_cannot_answer(
    here: Neighbourhood, sandbox_instance: Instance, image: str
) -> None:
    enforcer = enforcer_of(sandbox_instance)
    given = Path(f"/proc/{inside(sandbox_instance).pid}/root/run/policies/pods")
    before = set(given.iterdir())
    os.kill(enforcer.pid, signal.SIGSTOP)
    try:
        here.cluster.core.create_namespaced_pod(PLATFORM, pod_body("waiting", "sleep(600);", image, {}))
        eventually(lambda: set(given.iterdir()) > before, "the pod's address is given and asked for")
        assert here.cluster.core.read_namespaced_pod("waiting", PLATFORM).status.phase == "Pending"
        # The stores' pods go on as before, inside their rules.
        assert_all(here.cluster.probe(here.web(A), here.targets(B)), "timeout")
        assert here.cluster.core.read_namespaced_pod("waiting", PLATFORM).status.phase == "Pending"
    finally:
        os.kill(enforcer.pid, signal.SIGCONT)
    eventually(
        lambda: here.cluster.core.read_namespaced_pod("waiting", PLATFORM).status.phase == "Running", "the pod runs"
    )


def test_a_label_selectors_not_in_takes_what_lacks_the_label(here: Neighbourhood) -> None:
    # What the translator does, and cyclonus does not (tests/sandbox/policies/test_cyclonus.py): the API server's word.
    found = here.cluster.core.list_namespaced_pod(PLATFORM, label_selector="role notin (web)").items
    assert "database" in {pod.metadata.name for pod in found}
