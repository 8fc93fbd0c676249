"""The platform's namespace with the repository server, kept as it should be; and the gate's own Jobs in it.

Only where the values name this server (`http://backup.stores-platform.svc`), is there a server. The namespace is there
for any kind of repository, because lists of snapshots are read by a Job in it: the store's own may be gone.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Final

from audit import jobs, live
from audit.jobs import JobResult
from components import backup_server as objects
from components import desired, naming
from stacks.cluster import Cluster
from stacks.desired import CHART, on_our_server, repository_of
from stacks.platform_key import PlatformKey
from stacks.settings import Settings

_DIGEST: Final = "stores.platform/applied"
_CLIENT_USER: Final = 65532
_SCRIPTS: Final = "files/backup"
_LIST_TIMEOUT_S: Final = 300


@dataclass(frozen=True)
class BackupServer:
    """The platform's part of the backups of one environment. `values` are the chart's, as the environment has them."""

    root: Path
    settings: Settings
    cluster: Cluster
    key: PlatformKey
    values: Mapping[str, Any]

    @property
    def is_ours(self) -> bool:
        """Whether the repositories lie on the platform's own server."""
        return on_our_server(self.values)

    def ensure(self, store_ids: Iterable[str]) -> bool:
        """Make the namespace, and the server with a login for each of these stores; return whether anything was new.

        One question to the cluster where all is as it should be.
        """
        repository = None if self.is_ours else repository_of(self.settings, self.values)
        wanted = [*objects.policies(self.settings.surroundings, repository)]
        if self.is_ours:
            logins = {store_id: self.key.backup_secrets(store_id)[desired.BACKUP_ACCESS] for store_id in store_ids}
            storage_class = self.settings.backup_server_storage_class
            wanted += [
                objects.users(logins),
                *objects.server(self.settings.backup_server_image, self.settings.backup_server_storage, storage_class),
            ]
        namespace = objects.namespace()
        digest = hashlib.sha256(json.dumps([namespace, wanted], sort_keys=True).encode()).hexdigest()
        found = live.read(self.cluster, "v1", "Namespace", "", naming.PLATFORM_NAMESPACE)
        if found is not None and (found["metadata"].get("annotations") or {}).get(_DIGEST) == digest:
            return False
        if found is None:
            live.apply(self.cluster, namespace)
        for item in wanted:
            live.apply(self.cluster, self._with_others(item) if item["kind"] == "Secret" else item)
        self._wake()
        # Last: a digest that is there says that all of it is.
        namespace["metadata"]["annotations"] = {_DIGEST: digest}
        live.apply(self.cluster, namespace)
        return True

    def _with_others(self, users: dict[str, Any]) -> dict[str, Any]:
        """Return the logins with those of stores that are not ours: environments may share a cluster."""
        found = live.read(self.cluster, "v1", "Secret", naming.PLATFORM_NAMESPACE, objects.USERS)
        return objects.with_others(users, (found or {}).get("data") or {})

    def _wake(self) -> None:
        """Make the kubelet look at the server's pod now: by itself it brings new logins only after a minute."""
        for pod in live.pods(self.cluster, naming.PLATFORM_NAMESPACE, objects.LABELS):
            change = {"metadata": {"annotations": {"stores.platform/woken": secrets.token_hex(4)}}}
            live.patch(self.cluster, "v1", "Pod", (naming.PLATFORM_NAMESPACE, pod.metadata.name), change)

    def client(
        self,
        store_id: str,
        script: str,
        *,
        environment: Mapping[str, str] | None = None,
        timeout_s: int = _LIST_TIMEOUT_S,
        cancelled: Event | None = None,
        on_wait: Callable[[str], None] = lambda _text: None,
    ) -> JobResult:
        """Run a POSIX shell script with the store's repository open to restic, in the platform's namespace.

        Its whole output is in the result. The store itself need not exist.
        """
        name = f"backup-client-{secrets.token_hex(4)}"
        job = self._client_job(name, store_id, environment or {})

        def hand_over(created: Mapping[str, Any]) -> None:
            live.create(self.cluster, self._client_secret(name, store_id, script, created))

        return jobs.run(
            self.cluster,
            job,
            timeout_s,
            cancelled=cancelled,
            on_created=hand_over,
            on_wait=on_wait,
            whole_output=True,
        )

    def _client_secret(self, name: str, store_id: str, script: str, job: Mapping[str, Any]) -> dict[str, Any]:
        repository = (self.root / CHART / _SCRIPTS / "repository.sh").read_text(encoding="utf-8")
        data = {**self.key.backup_secrets(store_id), "repository.sh": repository, "client.sh": script}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": naming.PLATFORM_NAMESPACE,
                "ownerReferences": [owner_of(job)],
            },
            "stringData": data,
        }

    def _client_job(self, name: str, store_id: str, environment: Mapping[str, str]) -> dict[str, Any]:
        backup = self.values["backup"]
        image, repository = backup["image"], backup["repository"]
        reference = f"{image['registry']}/{image['repository']}:{image['tag']}"
        access = repository["accessSecret"]
        variables = {
            "STORE_ID": store_id,
            "REPOSITORY_KIND": repository["kind"],
            "REPOSITORY_URL": repository["url"],
            "REPOSITORY_ID": store_id,
            **environment,
        }
        scripts = [{"key": key, "path": key} for key in ("repository.sh", "client.sh")]
        keys = [{"key": key, "path": key} for key in (desired.BACKUP_PASSWORD, desired.BACKUP_ACCESS)]
        volumes: list[dict[str, Any]] = [
            {"name": "private", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
            {"name": "scripts", "secret": {"secretName": name, "defaultMode": 0o440, "items": scripts}},
            {"name": "repository", "secret": {"secretName": name, "defaultMode": 0o440, "items": keys}},
        ]
        mounts = {"private": "/run/store", "tmp": "/tmp", "scripts": "/etc/store/backup"}  # noqa: S108 - in the pod
        mounts["repository"] = "/etc/store/repository"
        if access:
            volumes.append({"name": "access", "secret": {"secretName": access, "defaultMode": 0o440}})
            mounts["access"] = "/etc/store/access"
        container = {
            "name": "restic",
            "image": reference + (f"@{image['digest']}" if image["digest"] else ""),
            "imagePullPolicy": image["pullPolicy"],
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "command": ["sh", "/etc/store/backup/client.sh"],
            "env": [{"name": key, "value": value} for key, value in variables.items()],
            "securityContext": objects.container_security(),
            "resources": {
                "requests": {"cpu": "10m", "memory": "48Mi"},
                "limits": {"cpu": "500m", "memory": "256Mi"},
            },
            "volumeMounts": [{"name": key, "mountPath": path} for key, path in mounts.items()],
        }
        pod = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": objects.pod_security(_CLIENT_USER),
            "containers": [container],
            "volumes": volumes,
        }
        labels = dict(objects.CLIENT_LABELS)
        return {
            "metadata": {"name": name, "namespace": naming.PLATFORM_NAMESPACE, "labels": labels},
            "spec": {"template": {"metadata": {"labels": labels}, "spec": pod}},
        }


def owner_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reference by which an object goes together with a Job."""
    metadata = job["metadata"]
    return {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
