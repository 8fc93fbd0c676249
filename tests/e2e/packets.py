"""Connections that are really tried: from a store's own pods, from others, and from beside the node."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

from kubernetes import client
from kubernetes.config import new_client_from_config
from kubernetes.stream import stream

from sandbox import packages, process, record
from sandbox.cache import root as cache_root
from sandbox.instance import Instance
from sandbox.progress import silent

Result = Literal["connected", "refused", "timeout", "unreachable"]
Target = tuple[str, int]

_RUN_S = 60
_COMPONENT = "app.kubernetes.io/component"
# Bash is in the official images of WordPress and MariaDB alike. All at once: a refusal by silence takes its time.
_BASH = """
for target in "$@"; do (
  said=$(timeout 4 bash -c 'exec 3<>"/dev/tcp/${0%% *}/${0##* }"' "$target" 2>&1); code=$?
  case "$code $said" in
    "0 "*) result=connected ;; "124 "*) result=timeout ;;
    *refused*) result=refused ;; *) result=unreachable ;;
  esac
  echo "$target $result"
) & done; wait
"""
_PYTHON = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
def one(target):
    try: socket.create_connection(target.split(), timeout=4).close()
    except ConnectionRefusedError: return 'refused'
    except TimeoutError: return 'timeout'
    except OSError: return 'unreachable'
    return 'connected'
with ThreadPoolExecutor(len(sys.argv)) as pool:
    for target, result in zip(sys.argv[1:], pool.map(one, sys.argv[1:])): print(target, result)
"""


class Cluster:
    """The tests' cluster, and who is in it."""

    def __init__(self, kubeconfig: Path) -> None:
        self.api = new_client_from_config(str(kubeconfig))
        self.core: Any = client.CoreV1Api(self.api)
        self.networking: Any = client.NetworkingV1Api(self.api)

    def pod(self, namespace: str, **labels: str) -> Any:
        """Return the one running pod with these labels; a key is what stands behind `app.kubernetes.io/`."""
        selector = ",".join(f"app.kubernetes.io/{key}={value}" for key, value in labels.items())
        found = self.core.list_namespaced_pod(namespace, label_selector=selector).items
        (pod,) = [pod for pod in found if pod.status.phase == "Running" and pod.metadata.deletion_timestamp is None]
        return pod

    def service(self, namespace: str, component: str) -> Target:
        """Return the address of a store's Service that has one."""
        (found,) = [
            service
            for service in self.core.list_namespaced_service(namespace).items
            if service.spec.selector.get(_COMPONENT) == component and service.spec.cluster_ip != "None"
        ]
        return (found.spec.cluster_ip, found.spec.ports[0].port)

    def run(self, pod: Any, command: Sequence[str], container: str | None = None) -> str:
        """Return what a command in a pod printed."""
        running = stream(
            self.core.connect_get_namespaced_pod_exec, pod.metadata.name, pod.metadata.namespace,
            container=container or pod.spec.containers[0].name, command=list(command),
            stdout=True, stderr=True, stdin=False, tty=False, _preload_content=False,
        )  # fmt: skip
        try:
            running.run_forever(timeout=_RUN_S)
            return str(running.read_all())
        finally:
            running.close()

    def probe(self, pod: Any, targets: Mapping[str, Target], *, python: str | None = None) -> Mapping[str, Result]:
        """Return what became of a connection from the pod to each target; `python` is a container that has it."""
        wanted = {f"{address} {port}": name for name, (address, port) in targets.items()}
        assert len(wanted) == len(targets)
        shell = ["python3", "-c", _PYTHON] if python else ["bash", "-c", _BASH, "bash"]
        said = self.run(pod, [*shell, *wanted], python)
        found = dict(line.rsplit(" ", 1) for line in said.splitlines())
        assert set(found) == set(wanted), said
        return {wanted[target]: cast("Result", result) for target, result in found.items()}

    def policies(self, namespace: str) -> Sequence[Any]:
        """Return the policies of a namespace, so that they can be made again."""
        found = self.networking.list_namespaced_network_policy(namespace).items
        for policy in found:
            policy.metadata = client.V1ObjectMeta(
                name=policy.metadata.name, labels=policy.metadata.labels, annotations=policy.metadata.annotations
            )
        return found


class WithoutPolicies(AbstractContextManager["WithoutPolicies"]):
    """Takes the policies of namespaces away for a while."""

    def __init__(self, cluster: Cluster, *namespaces: str) -> None:
        self._cluster = cluster
        self._kept = {namespace: cluster.policies(namespace) for namespace in namespaces}

    def __enter__(self) -> Self:
        for namespace in self._kept:
            self._cluster.networking.delete_collection_namespaced_network_policy(namespace)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for namespace, policies in self._kept.items():
            for policy in policies:
                self._cluster.networking.create_namespaced_network_policy(namespace, policy)


class Outside(AbstractContextManager["Outside"]):
    """A host beside the node and listeners on the node, as tests/e2e/outsider.py makes them."""

    def __init__(self, instance: Instance) -> None:
        found = packages.build(cache_root(), silent).environment()
        self._running = subprocess.Popen(
            ["nsenter", "--target", str(inside(instance).pid), "--net",
             sys.executable, str(Path(__file__).with_name("outsider.py")), "node"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={"PATH": found["PATH"], "IP_LIBRARIES": found["LD_LIBRARY_PATH"]},
        )  # fmt: skip

    def __enter__(self) -> Self:
        assert self._running.stdout is not None
        assert self._running.stdout.readline() == "ready\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._running.stdin is not None
        with self._running:
            self._running.stdin.close()
            assert self._running.wait(60) == 0

    def connect(self, target: Target) -> Result:
        """Return what became of a connection from the host beside the node."""
        assert self._running.stdin is not None
        assert self._running.stdout is not None
        self._running.stdin.write(f"{target[0]} {target[1]}\n")
        return cast("Result", self._running.stdout.readline().strip())


def inside(instance: Instance) -> process.Identity:
    """Return the first process inside of an instance's namespaces."""
    known = record.load(instance.folder)
    assert known is not None
    return process.descendants(known.identity.pid)[0]


def enforcer_of(instance: Instance) -> process.Identity:
    """Return the process of the node that puts network policies in force."""
    known = record.load(instance.folder)
    assert known is not None
    (found,) = [
        identity
        for identity in process.descendants(known.identity.pid)
        if b"sandbox.policies.enforcer" in Path(f"/proc/{identity.pid}/cmdline").read_bytes().split(b"\0")
    ]
    return found
