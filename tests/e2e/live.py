"""What a fault does to a live store, and what a person would look at: through the cluster, never through our code."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.config import new_client_from_config
from kubernetes.stream import stream

from sandbox.instance import Instance


@dataclass(frozen=True)
class Live:
    """The tests' cluster, and the folder where its volumes lie."""

    instance: Instance

    @cached_property
    def core(self) -> Any:
        return client.CoreV1Api(new_client_from_config(str(self.instance.kubeconfig)))

    @cached_property
    def networking(self) -> Any:
        return client.NetworkingV1Api(new_client_from_config(str(self.instance.kubeconfig)))

    @cached_property
    def apps(self) -> Any:
        return client.AppsV1Api(new_client_from_config(str(self.instance.kubeconfig)))

    def pods(self, store_id: str, component: str) -> Sequence[Any]:
        """Return the store's pods of a component that are not about to go, the oldest first."""
        selector = f"app.kubernetes.io/component={component}"
        found = self.core.list_namespaced_pod(f"store-{store_id}", label_selector=selector).items
        return sorted(
            (pod for pod in found if pod.metadata.deletion_timestamp is None),
            key=lambda pod: pod.metadata.creation_timestamp,
        )

    def kill(self, store_id: str, component: str) -> None:
        """Remove the component's pods at once, as a broken node would."""
        for pod in self.pods(store_id, component):
            self.core.delete_namespaced_pod(pod.metadata.name, pod.metadata.namespace, grace_period_seconds=0)

    def run(self, store_id: str, component: str, script: str, container: str | None = None) -> str:
        """Return what a shell script prints in the component's newest pod."""
        pod = self.pods(store_id, component)[-1]
        return str(
            stream(
                client.CoreV1Api(new_client_from_config(str(self.instance.kubeconfig))).connect_get_namespaced_pod_exec,
                pod.metadata.name,
                pod.metadata.namespace,
                container=container or component,
                command=["bash", "-c", script],
                stderr=True,
                stdout=True,
                stdin=False,
                tty=False,
            )
        )

    def sql(self, store_id: str, statement: str) -> str:
        """Return what the store's database answers.

        The password comes from the API: a mounted one may be as old as the kubelet's last look, a minute or so.
        """
        found = self.core.read_namespaced_secret(f"{store_id}-credentials", f"store-{store_id}")
        password = base64.b64decode(found.data["mariadb-password"]).decode()
        command = f'MYSQL_PWD="{password}" mariadb -NB -uwordpress wordpress -e "{statement}" 2>&1'
        return self.run(store_id, "mariadb", command)

    def secret(self, store_id: str, changes: Mapping[str, str]) -> None:
        """Change the store's credentials behind everybody's back."""
        name = f"{store_id}-credentials"
        self.core.patch_namespaced_secret(name, f"store-{store_id}", {"stringData": dict(changes)})

    def volumes(self, store_id: str) -> list[str]:
        """Return the names of the volumes that were made for the store."""
        found = self.core.list_persistent_volume().items
        return [item.metadata.name for item in found if item.spec.claim_ref.namespace == f"store-{store_id}"]

    def left_on_disk(self, volumes: Sequence[str]) -> list[str]:
        """Return what of the volumes is still on the node's disk."""
        folder = self.instance.folder / "node" / "volumes"
        return sorted(path.name for path in folder.iterdir() if path.name.startswith(tuple(volumes)))

    def exists(self, store_id: str) -> bool:
        """Return whether the store's namespace is there."""
        try:
            self.core.read_namespace(f"store-{store_id}")
        except ApiException as error:
            if error.status == 404:
                return False
            raise
        return True


def eventually(holds: Callable[[], object], what: str, *, within_s: float = 180) -> None:
    """Return as soon as it holds; fail with what did not happen when the time is over."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.2)
