"""The server that keeps the stores' backups on a volume, for clusters without an object store: every object of it.

restic's own server of its REST protocol, with a private path per store: a store logs in by its id and can reach no
other's. It sees only what restic has encrypted. Pure, as `components.objects`; nothing here knows a secret's origin.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from components import naming
from components.objects import Destination, Object, Surroundings, dns_peers, door_to

NAME: Final = "backup"
PORT: Final = 8000
IMAGE: Final = "docker.io/restic/rest-server:0.14.0"
USERS: Final = "backup-users"
LABELS: Final[Mapping[str, str]] = {"app.kubernetes.io/name": "backup-server"}
CLIENT_LABELS: Final[Mapping[str, str]] = {"app.kubernetes.io/name": "backup-client"}
"""Of the gate's own Jobs in the platform's namespace, which read repositories."""

_USER: Final = 65532
_COMMON: Final = {"app.kubernetes.io/part-of": "multi-store-platform", "app.kubernetes.io/managed-by": "stores"}


def namespace() -> Object:
    """Return the platform's namespace; it admits only pods of the restricted profile."""
    modes = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        # Not `part-of`: by that label the server's policy knows stores.
        "metadata": {
            "name": naming.PLATFORM_NAMESPACE,
            "labels": {"app.kubernetes.io/managed-by": "stores", **modes},
        },
    }


def policies(surroundings: Surroundings, repository: Destination | None = None) -> list[Object]:
    """Return the policies: stores' backup pods and our own clients reach the server, and it calls nobody.

    `repository` is where else than on this server the backups are: our own clients reach that too.
    """
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": naming.PLATFORM_NAMESPACE}}}
    stores = {
        "namespaceSelector": {"matchLabels": {"app.kubernetes.io/part-of": "multi-store-platform"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/component": "backup"}},
    }
    clients = {"podSelector": {"matchLabels": dict(CLIENT_LABELS)}}
    dns_ports = [{"protocol": protocol, "port": port} for port in surroundings.dns_ports for protocol in ("UDP", "TCP")]
    port = [{"protocol": "TCP", "port": PORT}]
    return [
        _policy("default-deny", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
        _policy(
            "backup-server",
            {
                "podSelector": {"matchLabels": dict(LABELS)},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [stores, {**here, **clients}], "ports": port}],
            },
        ),
        _policy(
            "backup-client",
            {
                **clients,
                "policyTypes": ["Egress"],
                "egress": [
                    {"to": [{"podSelector": {"matchLabels": dict(LABELS)}}], "ports": port},
                    {"to": dns_peers(surroundings), "ports": dns_ports},
                    *([door_to(repository, surroundings)] if repository else []),
                ],
            },
        ),
    ]


def users(passwords: Mapping[str, str]) -> Object:
    """Return the Secret with the logins, by store id. A digest is kept of each: they are 256 random bits."""
    lines = [f"{store_id}:{{SHA}}{_digest(password)}\n" for store_id, password in sorted(passwords.items())]
    return {
        **_object("v1", "Secret", USERS),
        "type": "Opaque",
        "data": {"users": base64.b64encode("".join(lines).encode()).decode()},
    }


def with_others(wanted: Object, data: Mapping[str, str]) -> Object:
    """Return a Secret of logins that has those of `data`, a live one's, too; what is in both is as in the first."""
    ours, theirs = (_logins(found.get("users", "")) for found in (wanted["data"], data))
    lines = [f"{name}:{digest}\n" for name, digest in sorted({**theirs, **ours}.items())]
    return {**wanted, "data": {"users": base64.b64encode("".join(lines).encode()).decode()}}


def server(image: str, storage: str, storage_class: str | None) -> list[Object]:
    """Return the volume, the server and its Service. The volume outlives everything but its own deletion."""
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage}}}
    if storage_class is not None:
        claim["storageClassName"] = storage_class
    return [
        {**_object("v1", "PersistentVolumeClaim", NAME), "spec": claim},
        {
            **_object("apps/v1", "Deployment", NAME),
            "spec": {
                "replicas": 1,
                # Two servers on one volume would not know of each other.
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": dict(LABELS)},
                "template": {"metadata": {"labels": {**_COMMON, **LABELS}}, "spec": _pod(image)},
            },
        },
        {
            **_object("v1", "Service", NAME),
            "spec": {"selector": dict(LABELS), "ports": [{"name": "http", "port": PORT, "targetPort": PORT}]},
        },
    ]


def pod_security(user: int) -> Object:
    """Return the security context of a pod in the platform's namespace."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Object:
    """Return the security context of a container in the platform's namespace."""
    return {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _pod(image: str) -> Object:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(_USER),
        "containers": [
            {
                "name": "server",
                "image": image,
                "command": ["rest-server"],
                "args": [
                    "--path=/data", "--private-repos", "--htpasswd-file=/etc/backup/users", f"--listen=:{PORT}",
                ],
                "ports": [{"name": "http", "containerPort": PORT}],
                "securityContext": container_security(),
                "resources": {
                    "requests": {"cpu": "10m", "memory": "32Mi"},
                    "limits": {"cpu": "500m", "memory": "256Mi"},
                },
                "startupProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1, "failureThreshold": 60},
                "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 10},
                "livenessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 20, "failureThreshold": 6},
                "volumeMounts": [
                    {"name": "data", "mountPath": "/data"},
                    {"name": "users", "mountPath": "/etc/backup", "readOnly": True},
                ],
            }
        ],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": NAME}},
            {"name": "users", "secret": {"secretName": USERS, "defaultMode": 0o440}},
        ],
    }  # fmt: skip


def _policy(name: str, spec: Object) -> Object:
    return {**_object("networking.k8s.io/v1", "NetworkPolicy", name), "spec": spec}


def _object(version: str, kind: str, name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": naming.PLATFORM_NAMESPACE, "labels": dict(_COMMON)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _logins(text: str) -> dict[str, str]:
    lines = base64.b64decode(text).decode().splitlines()
    return {name: digest for name, colon, digest in (line.partition(":") for line in lines) if colon}


def _digest(password: str) -> str:
    # The form that the server reads. A slow digest would protect a weak password; this one has 256 random bits.
    return base64.b64encode(hashlib.sha1(password.encode(), usedforsecurity=False).digest()).decode()
