"""From a changed product to the platform's receiver, through real pods, policies and the ingress."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from sandbox.instance import Instance
from stacks.platform_key import PlatformKey
from tests.charts.rendering import CHART, load
from tests.e2e.live import Live
from tests.e2e.packets import Cluster
from tests.e2e.project import Project, store

pytestmark = pytest.mark.cluster

STORE = "tea-house-v7k2m"
HOST = f"{STORE}.127.0.0.1.nip.io"
NAMESPACE = "receiver-of-events"
PORT = 9000
CHANGE = "action.store_product_change"
WAIT_S = 180


@dataclass(frozen=True)
class Delivery:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def topic(self) -> str:
        return {name.lower(): value for name, value in self.headers.items()}.get("x-wc-webhook-topic", "")

    @property
    def data(self) -> Any:
        return json.loads(self.body)

    def is_signed(self, secret: str) -> bool:
        wanted = base64.b64encode(hmac.new(secret.encode(), self.body, hashlib.sha256).digest()).decode()
        sent = {name.lower(): value for name, value in self.headers.items()}["x-wc-webhook-signature"]
        return hmac.compare_digest(wanted, sent)


@dataclass(frozen=True)
class Receiver:
    """A pod that is the receiver."""

    cluster: Cluster

    def run(self, script: str) -> str:
        pod = self.cluster.core.read_namespaced_pod("receiver", NAMESPACE)
        return self.cluster.run(pod, ["bash", "-c", script])

    def deliveries(self) -> list[Delivery]:
        found = json.loads(self.run(f"php -r 'readfile(\"http://127.0.0.1:{PORT}/deliveries\");'"))
        return [Delivery(one["path"], one["headers"], base64.b64decode(one["body"])) for one in found]

    def answer(self, status: int) -> None:
        self.run(f"echo {status} > /tmp/status")

    def forget(self) -> None:
        self.run("rm -f /tmp/deliveries")

    def wait(self, *wanted: str) -> list[Delivery]:
        """Return what has come as soon as each action of an event, or topic, is among it."""
        deadline = time.monotonic() + WAIT_S
        while True:
            found = self.deliveries()
            kinds = [one.data["action"] if one.topic == CHANGE else one.topic for one in found]
            if all(kinds.count(kind) >= wanted.count(kind) for kind in wanted):
                return found
            assert time.monotonic() < deadline, f"{wanted} are not all among {kinds}"
            time.sleep(1)


@dataclass(frozen=True)
class Merchant:
    """Who changes products, by REST with an application password, through the ingress."""

    instance: Instance
    password: str

    def rest(self, method: str, path: str, body: Any = None) -> Any:
        port = self.instance.https_port
        assert port is not None
        connection = http.client.HTTPConnection(HOST, port, timeout=60)
        context = ssl.create_default_context(cafile=str(self.instance.ca_file))
        plain = socket.create_connection(("127.0.0.1", port), timeout=60)
        connection.sock = context.wrap_socket(plain, server_hostname=HOST)
        signed_in = base64.b64encode(f"admin:{self.password}".encode()).decode()
        headers = {"Host": f"{HOST}:{port}", "Authorization": f"Basic {signed_in}", "Content-Type": "application/json"}
        connection.request(method, f"/wp-json/wc/v3{path}", json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        answer.close()
        connection.close()
        assert answer.status in {200, 201}, (answer.status, text)
        return json.loads(text)


@pytest.fixture(scope="module")
def live(sandbox_instance: Instance) -> Live:
    return Live(sandbox_instance)


@pytest.fixture(scope="module")
def receiver(live: Live) -> Iterator[Receiver]:
    script = Path(__file__).with_name("receiver.php").read_text()
    image = load(CHART / "values.yaml")["image"]
    live.core.create_namespace({"metadata": {"name": NAMESPACE}})
    files = {"metadata": {"name": "receiver"}, "data": {"receiver.php": script}}
    live.core.create_namespaced_config_map(NAMESPACE, files)
    live.core.create_namespaced_service(
        NAMESPACE,
        {
            "metadata": {"name": "receiver"},
            "spec": {"selector": {"app": "receiver"}, "ports": [{"port": 80, "targetPort": PORT}]},
        },
    )
    live.core.create_namespaced_pod(
        NAMESPACE,
        {
            "metadata": {"name": "receiver", "labels": {"app": "receiver"}},
            "spec": {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "receiver",
                        "image": f"{image['registry']}/{image['repository']}:{image['tag']}",
                        "command": ["php", "-S", f"0.0.0.0:{PORT}", "/etc/receiver/receiver.php"],
                        "securityContext": {"runAsUser": 33},
                        "readinessProbe": {"httpGet": {"path": "/deliveries", "port": PORT}, "periodSeconds": 1},
                        "volumeMounts": [{"name": "script", "mountPath": "/etc/receiver"}],
                    }
                ],
                "volumes": [{"name": "script", "configMap": {"name": "receiver"}}],
            },
        },
    )
    yield Receiver(Cluster(live.instance.kubeconfig))
    live.core.delete_namespace(NAMESPACE)


@pytest.fixture(scope="module")
def project(make_project: Callable[[], Project], receiver: Receiver) -> Project:
    project = make_project()
    project.configure(
        webhookReceiver={
            "url": f"http://receiver.{NAMESPACE}.svc.cluster.local/hooks/{{store}}",
            "namespace": NAMESPACE,
            "labels": {"app": "receiver"},
            "port": PORT,
        }
    )
    project.write(store(STORE, https=True))
    done = project.stores("up", "--json")
    assert done.code == 0, done
    return project


@pytest.fixture(scope="module")
def merchant(project: Project, live: Live, sandbox_instance: Instance) -> Merchant:
    made = live.run(
        STORE,
        "wordpress",
        "cat > /tmp/password.php <<'PHP'\n"
        "<?php $_SERVER['HTTPS'] = 'on'; require '/var/www/html/wp-load.php';"
        "echo WP_Application_Passwords::create_new_application_password(1, ['name' => 'till'])[0];\n"
        "PHP\nphp /tmp/password.php; rm /tmp/password.php",
    )
    return Merchant(sandbox_instance, made.strip().splitlines()[-1])


def test_every_change_arrives_signed_with_who_and_from_where(
    project: Project, merchant: Merchant, receiver: Receiver
) -> None:
    tea = merchant.rest("POST", "/products", {"name": "Tea", "regular_price": "10"})["id"]
    merchant.rest("PUT", f"/products/{tea}", {"regular_price": "12"})
    merchant.rest("DELETE", f"/products/{tea}")
    merchant.rest("DELETE", f"/products/{tea}?force=true")
    actions = ["product.created", "product.updated", "product.trashed", "product.deleted"]
    found = receiver.wait(*actions, "product.created", "product.deleted")

    # The secret as any replica of the platform's receiver gets it: derived, from nothing but the store's id.
    key = PlatformKey.read(Path(project.variables["STORES_PLATFORM_KEY_FILE"]))
    assert all(delivery.is_signed(key.derive("webhook-secret", STORE, 1)) for delivery in found)
    assert {delivery.path for delivery in found} == {f"/hooks/{STORE}"}
    changes = [delivery.data for delivery in found if delivery.topic == CHANGE]
    assert [change["action"] for change in changes] == actions
    sequences = [change["sequence"] for change in changes]
    assert sequences == list(range(sequences[0], sequences[0] + len(actions)))
    for change in changes:
        assert change["store"] == STORE
        assert change["object"]["id"] == tea
        assert change["actor"]["login"] == "admin"
        assert change["actor"]["application_password"]["name"] == "till"
        assert change["actor"]["ip"] is not None
    assert changes[1]["changes"]["regular_price"] == {"from": "10", "to": "12"}


def test_nothing_is_lost_while_the_receiver_is_down(merchant: Merchant, receiver: Receiver) -> None:
    receiver.forget()
    receiver.answer(503)
    tea = merchant.rest("POST", "/products", {"name": "Coffee", "regular_price": "10"})["id"]
    for price in ("11", "12", "13"):
        merchant.rest("PUT", f"/products/{tea}", {"regular_price": price})
    assert receiver.deliveries() == []
    receiver.answer(200)
    found = receiver.wait("product.created", *["product.updated"] * 3)
    prices = [one.data["changes"]["regular_price"]["to"] for one in found if one.topic == CHANGE]
    assert prices == ["10", "11", "12", "13"]


def test_a_webhook_that_was_switched_off_is_on_again_after_the_next_start_of_a_pod(
    merchant: Merchant, receiver: Receiver, live: Live
) -> None:
    live.sql(STORE, "UPDATE wp_wc_webhooks SET status = 'disabled', failure_count = 6")
    live.kill(STORE, "wordpress")
    deadline = time.monotonic() + WAIT_S
    receiver.forget()
    while True:
        try:
            merchant.rest("POST", "/products", {"name": "Cocoa", "regular_price": "10"})
            break
        except (AssertionError, OSError, ApiException):
            assert time.monotonic() < deadline
            time.sleep(1)
    # Twice: the outbox tells it, and WooCommerce does.
    receiver.wait("product.created", "product.created")
