"""A release of the chart on the sandbox's cluster, made by plain Helm, without anything of the platform."""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubernetes import client
from kubernetes.config import new_client_from_config

from . import by_hand
from .rendering import CHART, VALUES

RESTRICTED: Final = {"pod-security.kubernetes.io/enforce": "restricted"}
PASSWORDS: Final = ("mariadb-root-password", "mariadb-password", "wordpress-password")
SALTS: Final = tuple(
    f"wordpress-{name}-{kind}" for name in ("auth", "secure-auth", "logged-in", "nonce") for kind in ("key", "salt")
)


@dataclass(frozen=True)
class Answer:
    """What the shop answered, through the ingress."""

    code: int
    body: str


@dataclass(frozen=True)
class Cluster:
    """A cluster with an ingress controller at a port of this machine."""

    kubeconfig: Path
    http_port: int
    helm: Path

    @property
    def core(self) -> Any:
        """The core API."""
        return client.CoreV1Api(new_client_from_config(str(self.kubeconfig)))

    def make_namespace(self, name: str) -> None:
        """Make a namespace that admits only pods of the restricted profile."""
        self.core.create_namespace({"metadata": {"name": name, "labels": RESTRICTED}})

    def delete_namespace(self, name: str) -> None:
        """Ask for the namespace's end."""
        self.core.delete_namespace(name)


@dataclass(frozen=True)
class Release:
    """One release, in a namespace of its own that has the same name."""

    cluster: Cluster
    name: str

    @property
    def host(self) -> str:
        """Host of the shop, as a browser sends it."""
        return f"{self.name}.127.0.0.1.nip.io:{self.cluster.http_port}"

    def make_credentials(self) -> None:
        """Make the Secret that the chart wants, as a person would."""
        data = {key: base64.b64encode(secrets.token_hex(24).encode()).decode() for key in (*PASSWORDS, *SALTS)}
        self.cluster.core.create_namespaced_secret(
            self.name, {"metadata": {"name": f"{self.name}-credentials"}, "data": data}
        )

    def install(self, values: Mapping[str, Any], *, wait: bool = True) -> None:
        """Install the chart, or upgrade what is installed, with the environment's values and these."""
        given = {"serviceAccount": {"create": True}, "ingress": {"port": self.cluster.http_port}, **values}
        waiting = ["--wait", "--timeout", "5m"] if wait else []
        files = ["--values", str(VALUES / "values-local.yaml"), "--values", "-"]
        self._helm(["upgrade", "--install", self.name, str(CHART), *files, *waiting], json.dumps(given))

    def install_by_hand(self, folder: Path) -> None:
        """Make namespace, Secret and release with the commands of the chart's README, as they stand there."""
        kubeconfig = shlex.quote(str(self.cluster.kubeconfig))
        # The README's own words but for where the cluster is, and which port of it the test may ask.
        helm = f'exec {self.cluster.helm} "$@" --kubeconfig {kubeconfig} --set ingress.port={self.cluster.http_port}'
        kubectl = f'KUBECONFIG={kubeconfig} exec {sys.executable} -m tests.charts.kubectl "$@"'
        commands = by_hand.script(release=self.name, namespace=self.name)
        by_hand.run(commands, {"helm": helm, "kubectl": kubectl}, folder)

    def upgrade(self, *arguments: str) -> None:
        """Upgrade with the values of before and these, and wait."""
        self._helm(["upgrade", self.name, str(CHART), "--reuse-values", "--wait", "--timeout", "5m", *arguments])

    def rollback(self) -> None:
        """Go back to the revision before, and wait."""
        self._helm(["rollback", self.name, "--wait", "--timeout", "5m"])

    def uninstall(self) -> None:
        """Remove the release, and wait until its pods are gone."""
        self._helm(["uninstall", self.name, "--wait", "--timeout", "5m"])
        eventually(lambda: not self.pods(), "the release's pods are gone")

    def get(self, path: str) -> Answer:
        """Return what the shop answers through the ingress."""
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.http_port, timeout=30)
        try:
            connection.request("GET", path, headers={"Host": self.host})
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(errors="replace"))
        finally:
            connection.close()

    def pods(self, component: str | None = None) -> Sequence[Any]:
        """Return the pods, the oldest first."""
        selector = f"app.kubernetes.io/instance={self.name}"
        if component:
            selector += f",app.kubernetes.io/component={component}"
        found = self.cluster.core.list_namespaced_pod(self.name, label_selector=selector).items
        return sorted(found, key=lambda pod: pod.metadata.creation_timestamp)

    def volume_size(self, name: str) -> str:
        """Return the size that the release's volume really has."""
        claim = self.cluster.core.read_namespaced_persistent_volume_claim(f"{self.name}-{name}", self.name)
        return str(claim.status.capacity["storage"])

    def log(self, pod: str, container: str) -> str:
        """Return what the container has said."""
        return str(self.cluster.core.read_namespaced_pod_log(pod, self.name, container=container))

    def kill(self, pod: str) -> None:
        """Remove the pod at once, as a broken node would."""
        self.cluster.core.delete_namespaced_pod(pod, self.name, grace_period_seconds=0)

    def _helm(self, arguments: Sequence[str], values: str = "") -> None:
        command = [
            str(self.cluster.helm),
            *arguments,
            "--namespace",
            self.name,
            "--kubeconfig",
            str(self.cluster.kubeconfig),
        ]
        result = subprocess.run(command, input=values, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def eventually(holds: Callable[[], object], what: str, *, within_s: float = 240) -> None:
    """Return as soon as it holds; fail with what did not happen when the time is over."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.2)
