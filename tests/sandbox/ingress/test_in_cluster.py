"""The ingress in its pod: objects of the real API server become answers on the machine's own port."""

from __future__ import annotations

import http.client
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import sandbox.ingress
from sandbox.api import Api, ApiError
from sandbox.cluster import images_of
from sandbox.instance import Instance

pytestmark = pytest.mark.cluster

MANIFESTS = Path(sandbox.ingress.__file__).parent / "manifests.yaml"
SYSTEM = "ingress-nginx"
ADDRESS = "10.99.0.1"
TIMEOUT_S = 90


def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.2)


@dataclass(frozen=True)
class Place:
    """A namespace of the test's own, and the way in from the machine."""

    api: Api
    namespace: str
    port: int

    @property
    def host(self) -> str:
        """A host that no other test uses."""
        return f"{self.namespace}.test"

    def apply(self, group: str, kind: str, plural: str, body: dict[str, Any]) -> None:
        """Make the object `web` exist."""
        start = f"/apis/{group}" if "/" in group else f"/api/{group}"
        head = {"apiVersion": group, "kind": kind, "metadata": {"name": "web", "namespace": self.namespace}}
        self.api.apply(f"{start}/namespaces/{self.namespace}/{plural}/web", {**head, **body}, manager="test")

    def deploy(self, replicas: int = 1, marker: str = "1") -> None:
        """Make a web server run that answers /hostname with its pod's name; another `marker` replaces its pods."""
        labels = {"app": "web"}
        container = {
            "name": "web",
            "image": next(iter(images_of(MANIFESTS).values())),
            "imagePullPolicy": "Never",
            "command": ["python3", "-m", "http.server", "8000", "--directory", "/etc"],
            "readinessProbe": {"httpGet": {"path": "/hostname", "port": 8000}, "periodSeconds": 1},
            "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
            "securityContext": {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            },
        }  # fmt: skip
        pod = {
            "containers": [container],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 6,
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
            },
        }  # fmt: skip
        self.apply("apps/v1", "Deployment", "deployments", {"spec": {
            "replicas": replicas,
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": {"marker": marker}}, "spec": pod},
        }})  # fmt: skip

    def expose(self, **spec: Any) -> None:
        """Make a Service and an Ingress lead to it."""
        ports = [{"name": "http", "port": 80, "targetPort": 8000}]
        self.apply("v1", "Service", "services", {"spec": {"selector": {"app": "web"}, "ports": ports}})
        backend = {"service": {"name": "web", "port": {"name": "http"}}}
        rule = {"host": self.host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
        body = {"spec": {"ingressClassName": "nginx", "rules": [rule], **spec}}
        self.apply("networking.k8s.io/v1", "Ingress", "ingresses", body)

    def status(self) -> int:
        """Return how the host answers from outside."""
        return ask(self.port, self.host)

    def rolled_out(self) -> bool:
        """Return whether all pods are of the current template, and no other is left."""
        return _rolled_out(self.api, f"/apis/apps/v1/namespaces/{self.namespace}/deployments/web")


def ask(port: int, host: str) -> int:
    """Return the status of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/hostname", headers={"Host": host})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@pytest.fixture
def place(sandbox_instance: Instance) -> Iterator[Place]:
    """Return a namespace that is gone afterwards."""
    api = Api(sandbox_instance.kubeconfig)
    name = f"ingress-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    yield Place(api, name, sandbox_instance.http_port)
    api.delete(f"/api/v1/namespaces/{name}")


def test_an_ingress_gets_its_address_and_answers_until_it_is_deleted(place: Place) -> None:
    assert place.status() == 404
    place.expose()
    until(lambda: place.status() == 503)
    place.deploy()
    until(lambda: place.status() == 200)
    path = f"/apis/networking.k8s.io/v1/namespaces/{place.namespace}/ingresses/web"
    until(lambda: place.api.get(path)["status"]["loadBalancer"] == {"ingress": [{"ip": ADDRESS}]})
    place.api.delete(path)
    until(lambda: place.status() == 404)


def test_an_ingress_of_another_class_is_not_served_and_gets_no_address(place: Place) -> None:
    place.deploy()
    place.expose(ingressClassName="other")
    until(place.rolled_out)
    assert place.status() == 404
    path = f"/apis/networking.k8s.io/v1/namespaces/{place.namespace}/ingresses/web"
    assert place.api.get(path)["status"] == {"loadBalancer": {}}


def test_replacing_all_pods_of_a_store_and_of_the_ingress_loses_no_request(place: Place) -> None:
    place.deploy(replicas=2)
    place.expose()
    until(lambda: place.status() == 200)
    until(place.rolled_out)
    answers: Counter[str] = Counter()
    done = threading.Event()

    def visit() -> None:
        while not done.is_set():
            try:
                answers[str(ask(place.port, place.host))] += 1
            except (OSError, http.client.HTTPException) as error:
                answers[repr(error)] += 1
            time.sleep(0.02)

    visitors = [threading.Thread(target=visit) for _ in range(2)]
    for visitor in visitors:
        visitor.start()
    place.deploy(replicas=2, marker="2")
    until(place.rolled_out)
    restart = {"spec": {"template": {"metadata": {"annotations": {"restarted-by": place.namespace}}}}}
    own = f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/ingress"
    head = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "ingress", "namespace": SYSTEM}}
    place.api.apply(own, {**head, **restart}, manager="test")
    until(lambda: _rolled_out(place.api, own))
    until(lambda: len(_pods(place.api)) == 1)
    done.set()
    for visitor in visitors:
        visitor.join()
    assert set(answers) == {"200"}, answers


def test_the_ingress_has_no_right_to_anything_but_what_it_serves(place: Place) -> None:
    account = f"system:serviceaccount:{SYSTEM}:ingress"

    def may(verb: str, group: str, resource: str, subresource: str = "") -> bool:
        wanted = {"verb": verb, "group": group, "resource": resource, "subresource": subresource}
        body = {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": account, "resourceAttributes": wanted},
        }  # fmt: skip
        answer = place.api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
        return bool(answer["status"]["allowed"])

    assert may("list", "networking.k8s.io", "ingresses")
    assert may("patch", "networking.k8s.io", "ingresses", "status")
    for verb, group, resource in (
        ("get", "", "secrets"), ("list", "", "secrets"), ("list", "", "pods"), ("create", "", "pods"),
        ("patch", "", "services"), ("list", "", "configmaps"), ("patch", "networking.k8s.io", "ingresses"),
    ):  # fmt: skip
        assert not may(verb, group, resource), (verb, resource)


def _rolled_out(api: Api, path: str) -> bool:
    found = api.get(path)
    status = found.get("status") or {}
    wanted = found["spec"]["replicas"]
    counts = [status.get(name) or 0 for name in ("replicas", "updatedReplicas", "readyReplicas")]
    return status.get("observedGeneration") == found["metadata"]["generation"] and counts == [wanted] * 3


def _pods(api: Api) -> list[Any]:
    try:
        return list(api.get(f"/api/v1/namespaces/{SYSTEM}/pods")["items"])
    except ApiError:
        return []
