"""A live store's database and files, reached as an operator would reach them: by a command in its pods."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kubernetes.stream import stream

from stacks.cluster import Cluster


@dataclass(frozen=True)
class Shop:
    """One live store."""

    cluster: Cluster
    store_id: str

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return f"store-{self.store_id}"

    def sql(self, statement: str) -> str:
        """Run one statement as the shop's user; return its rows, tab-separated, without a heading."""
        client = '"$(cat /etc/store/credentials/mariadb-password)" mariadb -h127.0.0.1 --skip-ssl-verify-server-cert'
        script = f'MYSQL_PWD={client} -uwordpress -N -B wordpress -e "$STATEMENT"'
        return self._run("mariadb", "mariadb", script, statement)

    def php(self, code: str) -> str:
        """Run PHP in the web pod, beside WordPress and not in it."""
        return self._run("wordpress", "wordpress", 'php -r "$STATEMENT"', code)

    def shell(self, script: str) -> str:
        """Run a script in the web pod."""
        return self._run("wordpress", "wordpress", 'bash -ec "$STATEMENT"', script)

    def _run(self, component: str, container: str, script: str, statement: str) -> str:
        pod = until(lambda: self._pod(component), f"a pod of {component} in {self.namespace}")
        command = ["env", f"STATEMENT={statement}", "bash", "-c", f'{script}; echo "code $?"']
        said = str(
            stream(
                self.cluster.core.connect_get_namespaced_pod_exec, pod, self.namespace, container=container,
                command=command, stderr=True, stdin=False, stdout=True, tty=False,
            )
        )  # fmt: skip
        text, _, code = said.rpartition("code ")
        assert code.strip() == "0", said
        return text.strip()

    def _pod(self, component: str) -> str | None:
        selector = f"app.kubernetes.io/component={component}"
        for pod in self.cluster.core.list_namespaced_pod(self.namespace, label_selector=selector).items:
            ready = [condition.status for condition in pod.status.conditions or [] if condition.type == "Ready"]
            if ready == ["True"] and pod.metadata.deletion_timestamp is None:
                return str(pod.metadata.name)
        return None


def until(condition: Callable[[], Any], what: str, *, timeout_s: float = 180) -> Any:
    """Return the first value that is true; fail after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.5)
    return found
