"""What Helm itself knows of a release: the Secrets that it keeps, one per revision.

They are read directly, as asking the `helm` program takes two processes per release. The format is Helm 3's
`helm.sh/release.v1`: JSON, compressed, in base64, in the base64 of the Secret.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from sandbox.plugins.kubernetes.client import ApiError, Client

# Which resource of which stack made a record, and in which operation. Helm copies labels to later revisions, so an
# operation's label that an earlier record has as well tells of somebody else's operation.
URN_LABEL: Final = "pulumi.com/urn"
OPERATION_LABEL: Final = "pulumi.com/operation"


@dataclass(frozen=True)
class Record:
    """One revision, as its labels describe it."""

    revision: int
    status: str
    labels: Mapping[str, str]

    @property
    def is_pending(self) -> bool:
        """Say whether an operation is under way, or was cut short."""
        return self.status.startswith("pending-")


@dataclass(frozen=True)
class Release:
    """One revision, in full."""

    name: str
    namespace: str
    revision: int
    status: str
    chart: str
    version: str
    app_version: str
    config: dict[str, Any]
    manifest: str


def records(client: Client, namespace: str, name: str) -> list[Record]:
    """Return what is recorded of a release, the oldest revision first. Empty where there is no such release."""
    found = client.list_metadata(
        f"/api/v1/namespaces/{namespace}/secrets", {"labelSelector": f"owner=helm,name={name}"}
    )
    all_labels = [metadata.get("labels") or {} for metadata in found]
    return sorted(
        (Record(int(labels["version"]), labels["status"], labels) for labels in all_labels),
        key=lambda record: record.revision,
    )


def load(client: Client, namespace: str, name: str, revision: int) -> Release | None:
    """Return one revision, or None where it is gone."""
    try:
        secret = client.get(f"/api/v1/namespaces/{namespace}/secrets/sh.helm.release.v1.{name}.v{revision}")
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    return _decoded(secret["data"]["release"])


def latest(client: Client, namespace: str, name: str) -> Release | None:
    """Return the newest revision, or None where there is no such release."""
    found = records(client, namespace, name)
    return load(client, namespace, name, found[-1].revision) if found else None


def is_ours(record: Record, earlier: list[Record], urn: str) -> bool:
    """Say whether the record is of an operation of the resource `urn`."""
    operation = record.labels.get(OPERATION_LABEL)
    return record.labels.get(URN_LABEL) == urn and all(
        other.labels.get(OPERATION_LABEL) != operation for other in earlier
    )


def _decoded(text: str) -> Release:
    content = base64.b64decode(base64.b64decode(text))
    # Very old records are not compressed.
    document = json.loads(gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content)
    chart = document["chart"]["metadata"]
    return Release(
        name=document["name"],
        namespace=document["namespace"],
        revision=document["version"],
        status=document["info"]["status"],
        chart=chart["name"],
        version=chart["version"],
        app_version=chart.get("appVersion", ""),
        config=document.get("config") or {},
        manifest=document.get("manifest", ""),
    )


def resource_names(manifest: str) -> dict[str, list[str]]:
    """Return the names of a manifest's objects by kind, as the official plugin groups them."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    names: dict[str, set[str]] = {}
    for document in yaml.load_all(manifest, Loader=loader):
        if not isinstance(document, dict) or "kind" not in document:
            continue
        api_version, kind = document["apiVersion"], document["kind"]
        group, slash, _ = api_version.partition("/")
        key = f"{kind}.{group}/{api_version}" if slash else f"{kind}/{api_version}"
        metadata = document.get("metadata") or {}
        namespace = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
        names.setdefault(key, set()).add(f"{namespace}{metadata.get('name')}")
    return {key: sorted(values) for key, values in sorted(names.items())}
