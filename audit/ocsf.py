"""Entries of the audit log as events of the Open Cybersecurity Schema Framework (https://schema.ocsf.io), for SIEMs.

Every entry is one event of the class API Activity. What the class has no field for is kept under `unmapped`, so that
nothing of an entry is lost; times are whole milliseconds there, and exact in the JSON lines of our own format.
Nothing is invented: without a source address the endpoint's name says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from audit.records import ActorKind, Entry, Outcome
from audit.tables import to_us

# Of the schema of which the required fields were read.
SCHEMA_VERSION: Final = "1.9.0-dev"
PRODUCT: Final = "multi-store-platform"

CATEGORY_UID: Final = 6  # Application Activity
CLASS_UID: Final = 6003  # API Activity

_OTHER: Final = 99
_ACTIVITY_NAMES: Final = {1: "Create", 2: "Read", 3: "Update", 4: "Delete", _OTHER: "Other"}
# By the last word of an action; a word that is not here is Other.
_ACTIVITIES: Final = {
    "create": 1,
    "read": 2,
    "update": 3,
    "upgrade": 3,
    "rollback": 3,
    "retry": 3,
    "owner_change": 3,
    "owner_left": 3,
    "status": 3,
    "delete": 4,
}
# status_id, status, severity_id: a denial is a failure that the rules meant, so it weighs less.
_STATUSES: Final[Mapping[Outcome, tuple[int, str, int]]] = {
    "unknown": (0, "Unknown", 1),
    "success": (1, "Success", 1),
    "failure": (2, "Failure", 3),
    "denied": (2, "Failure", 2),
    "cancelled": (_OTHER, "cancelled", 2),
}
_SEVERITIES: Final = {1: "Informational", 2: "Low", 3: "Medium"}
_USER_TYPES: Final[Mapping[ActorKind, tuple[int, str]]] = {
    "user": (1, "User"),
    "ci": (3, "System"),
    "service": (3, "System"),
}


def to_event(entry: Entry) -> dict[str, Any]:
    """Return the entry as an event: class API Activity, keys always in the same order."""
    activity_id = _ACTIVITIES.get(entry.action.rsplit(".", 1)[-1], _OTHER)
    status_id, status, severity_id = _STATUSES[entry.outcome]
    type_id, type_name = _USER_TYPES[entry.actor_kind]
    event: dict[str, Any] = {
        "category_uid": CATEGORY_UID,
        "category_name": "Application Activity",
        "class_uid": CLASS_UID,
        "class_name": "API Activity",
        "type_uid": CLASS_UID * 100 + activity_id,
        "activity_id": activity_id,
        "activity_name": _ACTIVITY_NAMES[activity_id],
        "severity_id": severity_id,
        "severity": _SEVERITIES[severity_id],
        "status_id": status_id,
        "status": status,
        "status_code": entry.outcome,
        "time": to_us(entry.occurred_at) // 1000,
        "metadata": {
            "version": SCHEMA_VERSION,
            "product": {"name": PRODUCT, "vendor_name": PRODUCT},
            "log_name": "audit_logs",
            "uid": entry.entry_id,
            "sequence": entry.seq,
            "logged_time": to_us(entry.recorded_at) // 1000,
        },
        "actor": {"user": {"name": entry.actor, "type_id": type_id, "type": type_name}},
        "src_endpoint": {"name": "unknown"} if entry.source_ip is None else {"ip": entry.source_ip},
        "api": {"operation": entry.action, "service": {"name": "stores"}},
    }
    if entry.run_id is not None:
        event["metadata"]["correlation_uid"] = entry.run_id
        event["api"]["request"] = {"uid": entry.run_id}
    if entry.reason is not None:
        event["status_detail"] = entry.reason
    if resource := _resource(entry):
        event["resources"] = [resource]
    event["unmapped"] = {
        "actor_kind": entry.actor_kind,
        "environment": entry.environment,
        "metadata": entry.metadata,
        "prev_hash": entry.prev_hash,
        "hash": entry.hash,
    }
    return event


def _resource(entry: Entry) -> dict[str, Any]:
    """Return what the entry is about: a store with its owner, an owner alone, or nothing."""
    if entry.store_id is not None:
        owner = {} if entry.owner is None else {"owner": {"name": entry.owner}}
        return {"type": "store", "uid": entry.store_id, **owner}
    return {} if entry.owner is None else {"type": "owner", "name": entry.owner}
