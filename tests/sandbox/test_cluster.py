"""What the sandbox's node does for pods, on a real one."""

from __future__ import annotations

import http.client
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.stream import stream

from sandbox import instance, launch, node, process, record, supervisor
from sandbox.api import Api, ApiError
from sandbox.contents import references
from sandbox.volumes import PROVISIONER

pytestmark = [
    pytest.mark.cluster,
    # The official client forgets the connection of an `exec`.
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
]

DEADLINE_S = 120.0
SHELL = ("/bin/sh", "-c")


def wait(what: str, condition: Callable[[], object]) -> Any:
    """Return the first true value of the condition."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen in {DEADLINE_S:.0f} s"
        time.sleep(0.2)
    return value


class Space:
    """A namespace of the cluster, and what a test does in it."""

    def __init__(self, api: Api, core: client.CoreV1Api, name: str, image: str) -> None:
        self.api = api
        self.core = core
        self.name = name
        self.image = image
        self.path = f"/api/v1/namespaces/{name}"

    def pod(self, name: str, script: str, **spec: object) -> None:
        """Run a script in a pod of the restricted profile and wait until the pod is ready."""
        container = {
            "name": "main", "image": self.image, "imagePullPolicy": "Never", "command": [*SHELL, script],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            **spec.pop("container", {}),  # type: ignore[dict-item]
        }  # fmt: skip
        body = {
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "terminationGracePeriodSeconds": 0, "containers": [container],
                "securityContext": {
                    "runAsUser": 33, "runAsNonRoot": True, "fsGroup": 33, "seccompProfile": {"type": "RuntimeDefault"},
                },
                **spec,
            },
        }  # fmt: skip
        self.api.create(f"{self.path}/pods", body)
        wait(f"pod {name} ready", lambda: self.is_ready(name))

    def is_ready(self, name: str) -> bool:
        """Return whether the pod is ready."""
        conditions = self.api.get(f"{self.path}/pods/{name}")["status"].get("conditions", ())
        return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)

    def execute(self, name: str, script: str) -> str:
        """Return what a script prints in the pod."""
        return str(
            stream(
                self.core.connect_get_namespaced_pod_exec, name, self.name, command=[*SHELL, script],
                stdout=True, stderr=True, stdin=False, tty=False,
            )
        )  # fmt: skip

    def claim(self, name: str, storage_class: str, mode: str = "ReadWriteOnce") -> None:
        """Claim a volume."""
        spec = {
            "storageClassName": storage_class, "accessModes": [mode],
            "resources": {"requests": {"storage": "1Gi"}},
        }  # fmt: skip
        self.api.create(f"{self.path}/persistentvolumeclaims", {"metadata": {"name": name}, "spec": spec})

    def volume_of(self, claim: str) -> str:
        """Return the name of the claim's volume; empty while it has none."""
        return str(self.api.get(f"{self.path}/persistentvolumeclaims/{claim}")["spec"].get("volumeName", ""))


@pytest.fixture
def api(sandbox_instance: instance.Instance) -> Api:
    return Api(sandbox_instance.kubeconfig)


@pytest.fixture
def space(sandbox_instance: instance.Instance, api: Api, root: Path) -> Iterator[Space]:
    """Return a fresh namespace that enforces the restricted profile."""
    name = f"node-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    core = client.CoreV1Api(config.new_client_from_config(str(sandbox_instance.kubeconfig)))
    yield Space(api, core, name, references(root)["wordpress"])
    api.delete(f"/api/v1/namespaces/{name}")


def serve(space: Space, name: str) -> None:
    """Run a web server as pod and Service `name`."""
    space.pod(name, "exec php -S 0.0.0.0:8080 -t /", container={
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    })  # fmt: skip
    space.api.create(
        f"{space.path}/services",
        {"metadata": {"name": f"{name}-service"},
         "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}},
    )  # fmt: skip


def fetch(url: str) -> str:
    """Return a script that prints what a URL answers."""
    return f"""php -r 'echo @file_get_contents("{url}", false, stream_context_create(["http"=>["timeout"=>3]]));'"""


def test_a_second_up_changes_nothing(sandbox_instance: instance.Instance, root: Path) -> None:
    before = record.load(sandbox_instance.folder)

    again = instance.up(root, sandbox_instance.name, http_port=0)

    assert again == sandbox_instance
    assert record.load(sandbox_instance.folder) == before


def test_status_tells_what_runs(sandbox_instance: instance.Instance, root: Path) -> None:
    found = instance.status(root, sandbox_instance.name)

    assert (found.running, found.api_answers, found.node_ready) == (True, True, True)
    assert found.http_port == sandbox_instance.http_port
    assert {"etcd", "kubelet", "kube-apiserver", "forwarder"} <= found.components.keys()
    assert all(component.running for component in found.components.values())
    assert any(pod.name.startswith("coredns") and pod.ready for pod in found.pods)
    assert 300 * 2**20 < found.memory_bytes < 4 * 2**30
    assert found.versions["kubelet"].startswith("v1.34")


def test_the_cluster_is_reached_through_the_machines_own_address_only(sandbox_instance: instance.Instance) -> None:
    listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
    ports = {sandbox_instance.http_port, sandbox_instance.api_port}

    addresses = {line.split()[3] for line in listening.splitlines() if int(line.split()[3].rpartition(":")[2]) in ports}

    assert addresses == {f"127.0.0.1:{port}" for port in ports}


def test_the_ingress_answers_a_host_that_no_store_has(sandbox_instance: instance.Instance) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", sandbox_instance.http_port, timeout=10)
    connection.request("GET", "/", headers={"Host": "nobody.127.0.0.1.nip.io"})

    assert connection.getresponse().status == 404
    connection.close()


def test_somebody_without_a_token_is_refused(sandbox_instance: instance.Instance) -> None:
    stranger = Api(sandbox_instance.kubeconfig)
    stranger._headers["Authorization"] = "Bearer wrong"

    with pytest.raises(ApiError, match="401"):
        stranger.get("/api/v1/nodes")


def test_the_kubelet_has_the_rights_of_its_own_node_only(sandbox_instance: instance.Instance) -> None:
    layout = node.Layout(sandbox_instance.folder)
    token = next(
        line.split(",")[0] for line in (layout.keys / "tokens.csv").read_text().splitlines() if "nodes" in line
    )
    kubelet = Api(sandbox_instance.kubeconfig)
    kubelet._headers["Authorization"] = f"Bearer {token}"

    assert kubelet.get(f"/api/v1/nodes/{node.NAME}")["metadata"]["name"] == node.NAME
    with pytest.raises(ApiError, match="403"):
        kubelet.get("/api/v1/secrets")


def test_a_pod_answers_through_its_service_to_others_and_to_itself(space: Space) -> None:
    serve(space, "shop")
    url = f"http://shop-service.{space.name}/etc/hostname"
    space.pod("visitor", "exec sleep infinity")

    # kube-proxy takes a moment for a new endpoint.
    wait("an answer to another pod", lambda: "shop" in space.execute("visitor", fetch(url)))
    assert "shop" in space.execute("shop", fetch(url))


def test_a_pod_reaches_no_address_outside_and_is_told_at_once(space: Space) -> None:
    space.pod("visitor", "exec sleep infinity")

    # An address that is reserved for documents: nothing is ever there, and there is no way to it.
    said = space.execute("visitor", """php -r '@fsockopen("192.0.2.1", 443, $code, $text, 60); echo $text;'""")
    name = space.execute("visitor", "getent hosts shop.example || echo unknown")

    assert said.strip() in {"No route to host", "Network is unreachable", "Network unreachable"}
    assert name.strip() == "unknown"


def test_logs_of_a_pod_are_told(space: Space) -> None:
    space.pod("teller", "echo 'once upon a time'; exec sleep infinity")

    assert space.api.text(f"{space.path}/pods/teller/log") == "once upon a time\n"


def test_data_of_a_claim_stays_over_pods_and_goes_with_the_claim(
    space: Space, sandbox_instance: instance.Instance
) -> None:
    space.claim("data", "local-path")
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    mounts: dict[str, object] = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    space.pod("writer", "echo tea > /data/order; exec sleep infinity", volumes=volumes, container=mounts)
    folder = node.Layout(sandbox_instance.folder).volumes / space.volume_of("data")
    space.pod("reader", "exec sleep infinity", volumes=volumes, container=mounts)
    assert space.execute("reader", "cat /data/order") == "tea\n"

    for name in ("writer", "reader"):
        space.api.delete(f"{space.path}/pods/{name}")
    space.api.delete(f"{space.path}/persistentvolumeclaims/data")

    wait("removal of the data", lambda: not folder.exists())


def test_a_claim_grows_and_never_shrinks(space: Space) -> None:
    space.claim("data", "local-path")
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    space.pod("writer", "exec sleep infinity", volumes=volumes)
    path = f"{space.path}/persistentvolumeclaims/data"

    space.api.patch(path, {"spec": {"resources": {"requests": {"storage": "2Gi"}}}})

    wait("growth", lambda: space.api.get(path)["status"]["capacity"]["storage"] == "2Gi")
    volume = space.api.get(f"/api/v1/persistentvolumes/{space.volume_of('data')}")
    assert volume["spec"]["capacity"]["storage"] == "2Gi"
    with pytest.raises(ApiError, match="can not be less than status"):
        space.api.patch(path, {"spec": {"resources": {"requests": {"storage": "1Gi"}}}})


def test_data_of_a_class_that_retains_outlives_its_claim(
    space: Space, api: Api, sandbox_instance: instance.Instance
) -> None:
    storage_class = f"kept-{space.name}"
    api.create(
        "/apis/storage.k8s.io/v1/storageclasses",
        {"metadata": {"name": storage_class}, "provisioner": PROVISIONER, "reclaimPolicy": "Retain",
         "volumeBindingMode": "WaitForFirstConsumer"},
    )  # fmt: skip
    space.claim("data", storage_class)
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    space.pod("writer", "exec sleep infinity", volumes=volumes)
    volume = space.volume_of("data")

    space.api.delete(f"{space.path}/pods/writer")
    space.api.delete(f"{space.path}/persistentvolumeclaims/data")

    path = f"/api/v1/persistentvolumes/{volume}"
    wait("release of the volume", lambda: api.get(path)["status"]["phase"] == "Released")
    assert (node.Layout(sandbox_instance.folder).volumes / volume).is_dir()
    api.delete(path)
    api.delete(f"/apis/storage.k8s.io/v1/storageclasses/{storage_class}")


def test_a_claim_for_many_nodes_stays_pending_and_an_event_says_why(space: Space) -> None:
    space.claim("data", "local-path", mode="ReadWriteMany")
    pod = {
        "metadata": {"name": "writer"},
        "spec": {
            "containers": [{
                "name": "main", "image": space.image, "command": ["sleep", "1"],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }],
            "securityContext": {"runAsUser": 33, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    }  # fmt: skip
    space.api.create(f"{space.path}/pods", pod)

    def reasons() -> Sequence[str]:
        events = space.api.get(f"{space.path}/events")["items"]
        return [event["message"] for event in events if event["reason"] == "ProvisioningFailed"]

    (reason, *_) = wait("a refusal", reasons)
    assert "ReadWriteMany" in reason
    assert space.volume_of("data") == ""


def test_a_component_that_is_killed_comes_back(sandbox_instance: instance.Instance, root: Path) -> None:
    known = record.load(sandbox_instance.folder)
    assert known is not None
    layout = node.Layout(sandbox_instance.folder)
    before = supervisor.read(layout.state)["kube-scheduler"].restarts
    found = [
        identity for identity in process.descendants(known.identity.pid)
        if Path(f"/proc/{identity.pid}/comm").read_text().startswith("kube-scheduler")
    ]  # fmt: skip

    process.kill(found[0])

    wait("a restart", lambda: supervisor.read(layout.state)["kube-scheduler"].restarts == before + 1)
    wait("a running scheduler", lambda: supervisor.read(layout.state)["kube-scheduler"].running)
    launch.check(layout, known.identity)
