"""What a cluster tells of one store that does not work: its pods, events, claims and the ends of its logs.

Read when something has failed already, so nothing here raises: what cannot be read is left out, and said. No value of
the store's Secrets is in it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Object: TypeAlias = Mapping[str, Any]
"""A Kubernetes object as the API server sends it, or one level of it."""

LOG_LINES: Final = 40
_LOG_SINCE_S: Final = 600
# The containers that watch the volumes, and what they say once a minute: files/mariadb/start.sh, files/cron/loop.php.
DISK_WATCHERS: Final = ("mariadb", "cron")
DISK_LINE: Final = "disk: the volume of the "
DISK_SAID_WITHIN_S: Final = 130
_TIMEOUTS: Final = (5, 20)
_HELM_STORAGE: Final = "helm.sh/release.v1"
_MASK: Final = "[secret]"
# Shorter values would tear ordinary words apart, and say little.
_SHORTEST_SECRET: Final = 6


@dataclass(frozen=True)
class Evidence:
    """One look at a store's namespace. `logs` are the last lines by pod and container.

    `namespace` is None where there is none. `rivals` are `namespace/name` of other namespaces' Ingresses for the
    store's host. `release` is the status of the newest Helm record. `unreadable` names what could not be looked at.
    """

    namespace: Object | None = None
    pods: Sequence[Object] = ()
    events: Sequence[Object] = ()
    claims: Sequence[Object] = ()
    workloads: Sequence[Object] = ()
    rivals: Sequence[str] = ()
    release: str | None = None
    logs: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    unreadable: Sequence[str] = ()

    @property
    def has_own_database(self) -> bool:
        """Whether the store is to have a MariaDB of its own, by what its web pods are told: not `host:port`."""
        for workload in self.workloads:
            pod = ((workload.get("spec") or {}).get("template") or {}).get("spec") or {}
            for container in pod.get("containers") or ():
                for variable in container.get("env") or ():
                    if variable.get("name") == "WORDPRESS_DB_HOST":
                        return ":" not in str(variable.get("value"))
        return True


def gather(api_client: Any, namespace: str, host: str | None, *, logs: bool = True) -> Evidence:
    """Return what there is to know of the store in `namespace`, whose shop is at `host`."""
    return _Reader(api_client, namespace).evidence(host, logs=logs)


def disk_lines(api_client: Any, namespace: str) -> tuple[str, ...]:
    """Return what the store's containers have said of full volumes just now; empty where that cannot be read."""
    return tuple(_Reader(api_client, namespace).disk_lines())


def redacted(text: str, secrets: Sequence[str]) -> str:
    """Return the text without the values, plain or in base64; the longest first, as a value may hold another."""
    for value in sorted(secrets, key=len, reverse=True):
        for notation in (value, base64.b64encode(value.encode()).decode()):
            text = text.replace(notation, _MASK)
    return text


class _Reader:
    def __init__(self, api_client: Any, namespace: str) -> None:
        from kubernetes import client  # noqa: PLC0415 - slow to load; see stacks.cluster

        self._api = api_client
        self._core = client.CoreV1Api(api_client)
        self._apps = client.AppsV1Api(api_client)
        self._networking = client.NetworkingV1Api(api_client)
        self._name = namespace
        self._unreadable: list[str] = []

    def evidence(self, host: str | None, *, logs: bool) -> Evidence:
        name, core, apps = self._name, self._core, self._apps
        found = self._read("namespace", lambda: core.read_namespace(name, _request_timeout=_TIMEOUTS))
        if found is None:
            return Evidence(unreadable=tuple(self._unreadable))
        secrets = self._list("secrets", core.list_namespaced_secret)
        hidden = list(_values(secrets))
        pods = self._list("pods", core.list_namespaced_pod)
        workloads = [
            *({**item, "kind": "Deployment"} for item in self._list("deployments", apps.list_namespaced_deployment)),
            *(
                {**item, "kind": "StatefulSet"}
                for item in self._list("statefulsets", apps.list_namespaced_stateful_set)
            ),
        ]
        evidence = Evidence(
            namespace=found,
            pods=pods,
            events=[
                event for event in self._list("events", core.list_namespaced_event) if event.get("type") != "Normal"
            ],
            claims=self._list("persistentvolumeclaims", core.list_namespaced_persistent_volume_claim),
            workloads=workloads,
            rivals=tuple(self._rivals(host)) if host else (),
            release=_release(secrets),
            logs={
                (pod["metadata"]["name"], container["name"]): self._log(pod["metadata"]["name"], container["name"])
                for pod in pods
                for container in (pod.get("status") or {}).get("containerStatuses") or ()
                if logs and "running" in (container.get("state") or {})
            },
            unreadable=tuple(self._unreadable),
        )
        return _clean(evidence, hidden)

    def disk_lines(self) -> Iterator[str]:
        for pod in self._list("pods", self._core.list_namespaced_pod):
            for container in (pod.get("status") or {}).get("containerStatuses") or ():
                if container["name"] in DISK_WATCHERS and "running" in (container.get("state") or {}):
                    lines = self._log(pod["metadata"]["name"], container["name"], since_s=DISK_SAID_WITHIN_S)
                    yield from (line for line in lines if line.startswith(DISK_LINE))

    def _rivals(self, host: str) -> Iterator[str]:
        found = self._read(
            "ingresses of all namespaces",
            lambda: self._networking.list_ingress_for_all_namespaces(_request_timeout=_TIMEOUTS),
        )
        for ingress in (found or {}).get("items") or ():
            metadata = ingress["metadata"]
            hosts = {rule.get("host") for rule in (ingress.get("spec") or {}).get("rules") or ()}
            if metadata["namespace"] != self._name and host in hosts:
                yield f"{metadata['namespace']}/{metadata['name']}"

    def _log(self, pod: str, container: str, since_s: int = _LOG_SINCE_S) -> Sequence[str]:
        text = self._quietly(
            lambda: self._core.read_namespaced_pod_log(
                pod,
                self._name,
                container=container,
                tail_lines=LOG_LINES,
                since_seconds=since_s,
                _request_timeout=_TIMEOUTS,
            )
        )
        return str(text).splitlines() if text else ()

    def _list(self, what: str, question: Callable[..., Any]) -> list[dict[str, Any]]:
        found = self._read(what, lambda: question(self._name, _request_timeout=_TIMEOUTS))
        return list((found or {}).get("items") or ())

    def _read(self, what: str, question: Callable[[], Any]) -> Any:
        """Return the answer as plain data; None for what does not exist, or may not be read."""
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            return self._api.sanitize_for_serialization(question())
        except ApiException as error:
            if error.status != 404:
                self._unreadable.append(f"{what}: {error.status} {error.reason}")
        except (HTTPError, OSError) as error:
            self._unreadable.append(f"{what}: {' '.join(str(error).split())}")
        return None

    def _quietly(self, question: Callable[[], Any]) -> Any:
        known = list(self._unreadable)
        try:
            return self._read("", question)
        finally:
            self._unreadable = known


def _values(secrets: Sequence[Object]) -> Iterator[str]:
    for secret in secrets:
        if secret.get("type") == _HELM_STORAGE:
            continue
        for value in (secret.get("data") or {}).values():
            try:
                text = base64.b64decode(value, validate=True).decode().strip()
            except (binascii.Error, UnicodeDecodeError):
                continue
            if len(text) >= _SHORTEST_SECRET:
                yield text


def _release(secrets: Sequence[Object]) -> str | None:
    """Return the status of the newest record that Helm keeps of the release, such as `deployed` or `failed`."""
    records = [secret["metadata"].get("labels") or {} for secret in secrets if secret.get("type") == _HELM_STORAGE]
    newest = max(records, key=lambda labels: int(labels.get("version") or 0), default={})
    return newest.get("status")


def _clean(evidence: Evidence, hidden: Sequence[str]) -> Evidence:
    """Return the evidence without the values of Secrets: what programs print can be anything."""
    clean = json.loads(redacted(json.dumps([evidence.pods, evidence.events], ensure_ascii=False), hidden))
    logs = {key: tuple(redacted(line, hidden) for line in lines) for key, lines in evidence.logs.items()}
    return Evidence(**{**evidence.__dict__, "pods": clean[0], "events": clean[1], "logs": logs})
