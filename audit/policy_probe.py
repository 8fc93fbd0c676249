"""Finds out whether a cluster enforces NetworkPolicies at all, by trying: many a cluster accepts them and does nothing.

In a namespace of its own, one pod calls another again and again; a policy that forbids it must stop that, in each
direction, and taking it away must let it go on. The namespace is removed whatever happens, and what a probe that was
killed has left is removed by the next one. Nothing outside of that namespace is touched.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from audit.policy_verdict import Verdict
from sandbox import process
from stacks.cluster import Cluster
from stacks.errors import ClusterUnreachableError

LABEL: Final = "stores.platform/probe"
PURPOSE: Final = "network-policies"
HOLDER: Final = "stores.platform/holder"
# A probe that takes longer is given up, and its pods end by themselves.
LIMIT_S: Final = 300
_PORT: Final = 8080
_START_S: Final = 180.0
_REACH_S: Final = 60.0
# Plugins take a moment to put a policy in force; the slowest known need some seconds.
_ENFORCE_S: Final = 25.0
_GONE_S: Final = 60.0
_POLL_S: Final = 0.5
# A single failure may be an accident of the network.
_IN_A_ROW: Final = 3
_READ_TIMEOUT_S: Final = 20
_HOPELESS: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"})
_SERVER: Final = """
$server = stream_socket_server("tcp://0.0.0.0:{port}");
while (true) {{ $client = @stream_socket_accept($server, 60); if ($client) {{ fclose($client); }} }}
"""
_CLIENT: Final = """
for ($turn = 1; true; $turn++) {{
  $server = @fsockopen("{address}", {port}, $code, $said, 1);
  echo $turn, $server ? " connected" : " blocked", "\\n";
  if ($server) {{ fclose($server); }}
  usleep(200000);
}}
"""

Object = Mapping[str, Any]
Report = Callable[[str], None]


@dataclass(frozen=True)
class Image:
    """An image with PHP, as the environment's values name it: the one that its stores' pods run anyway."""

    reference: str
    pull_policy: str


def run(cluster: Cluster, image: Image, report: Report) -> Verdict:
    """Return which policies the cluster enforces, after a probe of about half a minute.

    Raises ClusterUnreachableError when it cannot be told: no right to make a namespace, pods that do not start, or pods
    that do not reach each other with no policy in the way.
    """
    probe = _Probe(cluster, report)
    probe.remove_leftovers()
    with probe.namespace():
        probe.start(image)
        probe.expect_open()
        report("a policy that forbids all ways in")
        ingress = probe.enforces("Ingress")
        report("a policy that forbids all ways out")
        egress = probe.enforces("Egress")
    probe.await_removal()
    return Verdict(cluster.uid, datetime.now(UTC), ingress=ingress, egress=egress)


class _Probe:
    """One probe, in one namespace."""

    def __init__(self, cluster: Cluster, report: Report) -> None:
        self._cluster = cluster
        self._report = report
        self._name = f"stores-probe-{secrets.token_hex(4)}"
        self._deadline = time.monotonic() + LIMIT_S

    @contextmanager
    def namespace(self) -> Iterator[None]:
        """Hold the probe's own namespace; it is asked to go whatever happens, Ctrl-C included."""
        body = {
            "metadata": {
                "name": self._name,
                "labels": {
                    LABEL: PURPOSE,
                    "app.kubernetes.io/part-of": "multi-store-platform",
                    "pod-security.kubernetes.io/enforce": "restricted",
                },
                "annotations": {HOLDER: holder()},
            }
        }
        try:
            # Inside: a Ctrl-C while the answer is on its way must not leave it either.
            self._ask(lambda: self._core.create_namespace(body, _request_timeout=_READ_TIMEOUT_S), "a namespace")
            yield
        except BaseException:
            # What went wrong first matters more than what now does.
            with suppress(ClusterUnreachableError):
                self._delete(self._name)
            raise
        self._delete(self._name)

    def remove_leftovers(self) -> None:
        """Ask for the end of namespaces whose probe is dead, or too old to be alive."""
        found = self._ask(
            lambda: self._core.list_namespace(label_selector=f"{LABEL}={PURPOSE}", _request_timeout=_READ_TIMEOUT_S),
            "a list of namespaces",
        )
        now = datetime.now(UTC)
        for item in found.items:
            age_s = (now - item.metadata.creation_timestamp).total_seconds()
            if is_left_over((item.metadata.annotations or {}).get(HOLDER, ""), age_s):
                self._report(f"removing {item.metadata.name}, which a probe that was killed has left")
                self._delete(item.metadata.name)

    def start(self, image: Image) -> None:
        """Make the two pods run, the caller with the other's address."""
        self._report(f"starting two pods in {self._name}")
        self._make_pod(pod("server", image, _SERVER.format(port=_PORT)))
        address = self._until("the probe's server starts", self._address_of_server, _START_S)
        self._make_pod(pod("client", image, _CLIENT.format(address=address, port=_PORT)))
        self._until("the probe's client starts", lambda: self._running("client"), _START_S)

    def expect_open(self) -> None:
        """Wait until the connection works. Raises ClusterUnreachableError when it never does."""
        self._until(
            "the probe's pods reach each other, with no policy in the way", lambda: self._says("connected"), _REACH_S
        )

    def enforces(self, direction: str) -> bool:
        """Return whether a policy that forbids one direction stops the connection; it is taken away again."""
        name = f"deny-{direction.lower()}"
        pods = {"matchLabels": {"role": "server" if direction == "Ingress" else "client"}}
        body = {"metadata": {"name": name}, "spec": {"podSelector": pods, "policyTypes": [direction]}}
        api = self._networking
        self._ask(
            lambda: api.create_namespaced_network_policy(self._name, body, _request_timeout=_READ_TIMEOUT_S), "a policy"
        )
        turn, _ = self._last()
        stopped = self._comes_true(lambda: self._says("blocked"), _ENFORCE_S)
        if not stopped and (self._last()[0] <= turn + _IN_A_ROW or not self._says("connected")):
            raise self._failed("the connection between its pods comes and goes, or nobody tries it any more")
        self._ask(
            lambda: api.delete_namespaced_network_policy(name, self._name, _request_timeout=_READ_TIMEOUT_S), "its end"
        )
        if stopped:
            # Else it was not the policy that stopped it.
            self.expect_open()
        return stopped

    def await_removal(self) -> None:
        """Wait until the namespace is gone; one that stays is told: nothing but two pods are in it."""
        if not self._comes_true(lambda: self._cluster.namespace(self._name) is None, _GONE_S):
            self._report(f"{self._name} is still being removed; see `kubectl get namespace {self._name}`")

    @property
    def _core(self) -> Any:
        return self._cluster.core

    @property
    def _networking(self) -> Any:
        from kubernetes import client  # noqa: PLC0415 - see stacks.cluster

        return client.NetworkingV1Api(self._core.api_client)

    def _ask(self, question: Callable[[], Any], about: str) -> Any:
        return self._cluster.ask(question, f"{about} for a probe of the network policies")

    def _delete(self, name: str) -> None:
        self._ask(lambda: self._core.delete_namespace(name, _request_timeout=_READ_TIMEOUT_S), "the end of a namespace")

    def _make_pod(self, body: Object) -> None:
        # A new namespace has no service account for a moment, and takes no pod until then.
        def made() -> bool:
            account = self._ask(
                lambda: self._core.read_namespaced_service_account(
                    "default", self._name, _request_timeout=_READ_TIMEOUT_S
                ),
                "a service account",
            )
            return account is not None

        self._until("the probe's namespace is ready", made, _START_S)
        self._ask(lambda: self._core.create_namespaced_pod(self._name, body, _request_timeout=_READ_TIMEOUT_S), "a pod")

    def _address_of_server(self) -> str | None:
        found = self._running("server")
        return None if found is None else found.status.pod_ip

    def _running(self, name: str) -> Any:
        found = self._ask(
            lambda: self._core.read_namespaced_pod(name, self._name, _request_timeout=_READ_TIMEOUT_S), "a pod"
        )
        for status in (found.status.container_statuses or ()) if found is not None else ():
            waiting = status.state.waiting
            if waiting is not None and waiting.reason in _HOPELESS:
                raise self._failed(
                    f"its pods cannot start: {waiting.reason}: {' '.join((waiting.message or status.image).split())}"
                )
        if found is not None and found.status.phase == "Failed":
            raise self._failed(
                f"its pod {name} has ended: {found.status.message or found.status.reason or 'no reason'}"
            )
        return found if found is not None and found.status.phase == "Running" and found.status.pod_ip else None

    def _says(self, word: str) -> bool:
        """Return whether the last tries of the client all ended so."""
        return self._last()[1] == [word] * _IN_A_ROW

    def _last(self) -> tuple[int, list[str]]:
        """Return the number of the client's last try, and how the last ones ended."""
        log = self._ask(
            lambda: self._core.read_namespaced_pod_log(
                "client", self._name, tail_lines=_IN_A_ROW, _request_timeout=_READ_TIMEOUT_S
            ),
            "the log of a pod",
        )
        lines = [line.split() for line in (log or "").splitlines()]
        tries = [(int(line[0]), line[1]) for line in lines if len(line) == 2 and line[0].isdigit()]
        return (tries[-1][0] if tries else 0, [word for _, word in tries])

    def _until(self, what: str, condition: Callable[[], Any], timeout_s: float) -> Any:
        started = time.monotonic()
        while not (found := condition()):
            if time.monotonic() > min(started + timeout_s, self._deadline):
                raise self._failed(f"{what}: not within {time.monotonic() - started:.0f} s")
            time.sleep(_POLL_S)
        return found

    def _comes_true(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def _failed(self, what: str) -> ClusterUnreachableError:
        return ClusterUnreachableError(
            "network policies",
            f"the probe could not tell whether they are enforced: {what}",
            "see that the cluster starts pods of the store's image in any namespace, then run `stores doctor --deep`",
        )


def pod(role: str, image: Image, code: str) -> dict[str, Any]:
    """Return a pod that runs PHP code, that every namespace admits, and that ends by itself after a while."""
    return {
        "metadata": {"name": role, "labels": {"role": role, LABEL: PURPOSE}},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": LIMIT_S,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65534,
                "runAsGroup": 65534,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            # Where there is another node, the packets pass between them, as those of most stores do.
            "affinity": {
                "podAntiAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "weight": 1,
                            "podAffinityTerm": {
                                "topologyKey": "kubernetes.io/hostname",
                                "labelSelector": {"matchLabels": {LABEL: PURPOSE}},
                            },
                        }
                    ]
                }
            },
            "containers": [
                {
                    "name": role,
                    "image": image.reference,
                    "imagePullPolicy": image.pull_policy,
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
                }
            ],
        },
    }


def holder() -> str:
    """Return who this process is, so that another on the same machine can tell whether it still runs."""
    found = process.identify(os.getpid()) if os.path.isdir("/proc/self") else None  # noqa: PTH112 - not on every system
    if found is None:
        return ""
    return f"{socket.gethostname()}/{found.boot_id}/{found.pid}/{found.start_ticks}"


def is_left_over(held_by: str, age_s: float) -> bool:
    """Return whether a probe's namespace is nobody's any more: this machine's process is gone, or it is too old."""
    if age_s > 2 * LIMIT_S:
        return True
    parts: Sequence[str] = held_by.split("/")
    if len(parts) != 4 or parts[0] != socket.gethostname() or not parts[2].isdigit() or not parts[3].isdigit():
        return False
    return not process.is_alive(process.Identity(parts[1], int(parts[2]), int(parts[3])))
