"""Entries of the audit log as events of the Open Cybersecurity Schema Framework (https://schema.ocsf.io), for SIEMs.

A sign-in or sign-out is an event of the class Authentication, every other entry one of API Activity. What the class has
no field for is kept under `unmapped`, so that nothing of an entry is lost; times are whole milliseconds there, and
exact in the JSON lines of our own format. Nothing is invented: without a source address the endpoint's name says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from audit import records
from audit.records import ActorKind, Entry, Outcome
from audit.tables import to_us

# Of the schema of which the required fields were read.
SCHEMA_VERSION: Final = "1.9.0-dev"
PRODUCT: Final = "multi-store-platform"


@dataclass(frozen=True)
class _Class:
    """A class of events with its activities. Source: ocsf-schema, events/iam and events/application."""

    category_uid: int
    category_name: str
    uid: int
    name: str
    activities: Mapping[int, str]


_API_ACTIVITY: Final = _Class(
    6, "Application Activity", 6003, "API Activity", {1: "Create", 2: "Read", 3: "Update", 4: "Delete"}
)
_AUTHENTICATION: Final = _Class(3, "Identity & Access Management", 3002, "Authentication", {1: "Logon", 2: "Logoff"})

_OTHER: Final = 99
_SESSIONS: Final[Mapping[str, int]] = {records.SESSION_SIGN_IN: 1, records.SESSION_SIGN_OUT: 2}
# A backup reads all that a store has; what takes a slot, a lock or a lease is none of the four.
_ACTIVITIES: Final[Mapping[str, int]] = {
    records.STORE_CREATE: 1,
    records.STORE_CREDENTIALS_READ: 2,
    records.STORE_BACKUP: 2,
    records.STORE_RETRY: 3,
    records.STORE_UPDATE: 3,
    records.STORE_OWNER_CHANGE: 3,
    records.STORE_OWNER_LEFT: 3,
    records.STORE_UPGRADE: 3,
    records.STORE_ROLLBACK: 3,
    records.STORE_RESTORE: 3,
    records.STORE_ADOPT: 3,
    records.STORE_STATUS: 3,
    records.STATE_IMPORT: 3,
    records.ENVIRONMENT_UNPROTECT: 3,
    records.RUN_RECONCILE: 3,
    records.TICKET_CLOSE: 3,
    records.LEDGER_MIGRATE: 3,
    records.LEDGER_RESTORE: 3,
    records.SLOTS_REPAIR: 3,
    records.STORE_DELETE: 4,
    records.STORE_BACKUPS_PRUNE: 4,
    records.AUDIT_ARCHIVE: 4,
    records.PRODUCT_CREATED: 1,
    records.PRODUCT_UPDATED: 3,
    records.PRODUCT_TRASHED: 3,
    records.PRODUCT_RESTORED: 3,
    records.PRODUCT_DELETED: 4,
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
    # Not 1: that is a user of the platform.
    "shop": (_OTHER, "Shop user"),
}


def to_event(entry: Entry) -> dict[str, Any]:
    """Return the entry as an event, keys always in the same order. An activity that OCSF has no name for keeps ours."""
    of, activity_id = _API_ACTIVITY, _ACTIVITIES.get(entry.action, _OTHER)
    if entry.action in _SESSIONS:
        of, activity_id = _AUTHENTICATION, _SESSIONS[entry.action]
    status_id, status, severity_id = _STATUSES[entry.outcome]
    event: dict[str, Any] = {
        "category_uid": of.category_uid,
        "category_name": of.category_name,
        "class_uid": of.uid,
        "class_name": of.name,
        "type_uid": of.uid * 100 + activity_id,
        "activity_id": activity_id,
        "activity_name": of.activities.get(activity_id, entry.action),
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
            "event_code": entry.action,
        },
        "actor": {"user": _user(entry)},
        "src_endpoint": {"name": "unknown"} if entry.source_ip is None else {"ip": entry.source_ip},
    }
    if entry.run_id is not None:
        event["metadata"]["correlation_uid"] = entry.run_id
    if entry.reason is not None:
        event["status_detail"] = entry.reason
    unmapped: dict[str, Any] = {"actor_kind": entry.actor_kind, "environment": entry.environment}
    if of is _AUTHENTICATION:
        event["user"] = _user(entry)
        event["service"] = {"name": "stores"}
        unmapped |= {"store_id": entry.store_id, "owner": entry.owner}
    else:
        event["api"] = {"operation": entry.action, "service": {"name": "stores"}}
        if entry.run_id is not None:
            event["api"]["request"] = {"uid": entry.run_id}
        if resource := _resource(entry):
            event["resources"] = [resource]
    event["unmapped"] = {**unmapped, "metadata": entry.metadata, "prev_hash": entry.prev_hash, "hash": entry.hash}
    return event


def _user(entry: Entry) -> dict[str, Any]:
    """Return who did it; of a shop's user also where the name is one: in that shop alone."""
    type_id, type_name = _USER_TYPES[entry.actor_kind]
    user: dict[str, Any] = {"name": entry.actor, "type_id": type_id, "type": type_name}
    return user | {"domain": entry.store_id} if entry.actor_kind == "shop" and entry.store_id else user


def _resource(entry: Entry) -> dict[str, Any]:
    """Return what the entry is about: a store with its owner, an owner alone, or nothing."""
    if entry.store_id is not None:
        owner = {} if entry.owner is None else {"owner": {"name": entry.owner}}
        return {"type": "store", "uid": entry.store_id, **owner}
    return {} if entry.owner is None else {"type": "owner", "name": entry.owner}
