"""The engine's state of one cell, as far as it matters to us."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from components import naming
from stacks.program import PLATFORM_KEYS

_RELEASE_TYPE: Final = "kubernetes:helm.sh/v3:Release"


@dataclass(frozen=True)
class Snapshot:
    """The engine's state of one cell. `applied` holds each store's desired state as it was last applied in full."""

    exists: bool
    applied: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    """Every store that the state holds anything of, complete or not."""
    cluster_uid: str | None = None
    platform_keys: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of the platform key's versions that the cell's secrets were derived with."""
    pending: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    revisions: Mapping[str, int] = field(default_factory=dict)
    """The Helm revision that the last work of ours on each store's release has left."""
    urns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Everything that the state holds of each store: the component, and what it is made of."""


def read_snapshot(deployment: Mapping[str, Any] | None) -> Snapshot:
    """Return the parts of an exported state that matter to us."""
    resources = (deployment or {}).get("resources") or []
    applied: dict[str, Mapping[str, Any]] = {}
    failed: dict[str, str] = {}
    revisions: dict[str, int] = {}
    urns: dict[str, tuple[str, ...]] = {}
    known: set[str] = set()
    components: dict[str, str] = {}
    uid: str | None = None
    keys: Mapping[str, str] = {}
    for resource in resources:
        urn, kind = str(resource["urn"]), str(resource["type"])
        name = name_of(urn)
        if kind == naming.COMPONENT_TYPE:
            known.add(name)
            components[urn] = name
            urns[name] = (urn,)
            text = (resource.get("outputs") or {}).get("applied")
            if isinstance(text, str):
                applied[name] = json.loads(text)
        elif kind == "pulumi:pulumi:Stack":
            keys = (resource.get("outputs") or {}).get(PLATFORM_KEYS) or keys
        elif kind == "pulumi:providers:kubernetes":
            uid = (resource.get("inputs") or {}).get("clusterIdentifier", uid)
        elif kind == _RELEASE_TYPE and resource.get("parent") in components:
            revision = ((resource.get("outputs") or {}).get("status") or {}).get("revision")
            if revision is not None:
                revisions[components[resource["parent"]]] = int(revision)
        if resource.get("parent") in components:
            owner = components[resource["parent"]]
            urns[owner] = (*urns[owner], urn)
        if resource.get("initErrors") and resource.get("parent") in components:
            failed[components[resource["parent"]]] = "; ".join(resource["initErrors"])
    pending = tuple(
        str(operation["resource"]["urn"]) for operation in (deployment or {}).get("pending_operations") or ()
    )
    return Snapshot(
        exists=True,
        applied=applied,
        known=frozenset(known),
        cluster_uid=uid,
        platform_keys=keys,
        pending=pending,
        failed=failed,
        revisions=revisions,
        urns=urns,
    )


def name_of(urn: str) -> str:
    """Return the logical name of a URN."""
    return urn.rsplit("::", 1)[-1]


def is_update_of_release(operation: Mapping[str, Any]) -> bool:
    """Return whether an operation that was begun and never ended is an update of a release."""
    return operation.get("type") == "updating" and operation["resource"].get("type") == _RELEASE_TYPE
