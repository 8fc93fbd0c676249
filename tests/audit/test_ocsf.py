"""Entries become events of the OCSF's class API Activity."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest

from audit.ocsf import to_event
from audit.records import ActorKind, Entry, Outcome

ENTRY = Entry(
    seq=7,
    entry_id="0b2c",
    run_id="run-1",
    actor="alice",
    actor_kind="user",
    source_ip="192.0.2.7",
    occurred_at=datetime(2026, 3, 1, 12, 0, 0, 123999, tzinfo=UTC),
    recorded_at=datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC),
    environment="prod",
    store_id="tea-house-x7k2m",
    owner="bob",
    action="store.create",
    outcome="success",
    reason="CHANGE-1",
    metadata={"cell": "01"},
    prev_hash="aa",
    hash="bb",
)
REQUIRED = {
    "activity_id", "actor", "api", "category_uid", "class_uid", "metadata", "severity_id", "src_endpoint", "time",
    "type_uid",
}  # fmt: skip


def test_an_entry_becomes_a_whole_event() -> None:
    assert to_event(ENTRY) == {
        "category_uid": 6,
        "category_name": "Application Activity",
        "class_uid": 6003,
        "class_name": "API Activity",
        "type_uid": 600301,
        "activity_id": 1,
        "activity_name": "Create",
        "severity_id": 1,
        "severity": "Informational",
        "status_id": 1,
        "status": "Success",
        "status_code": "success",
        "status_detail": "CHANGE-1",
        "time": 1772366400123,
        "metadata": {
            "version": "1.9.0-dev",
            "product": {"name": "multi-store-platform", "vendor_name": "multi-store-platform"},
            "log_name": "audit_logs",
            "uid": "0b2c",
            "sequence": 7,
            "logged_time": 1772366401000,
            "correlation_uid": "run-1",
        },
        "actor": {"user": {"name": "alice", "type_id": 1, "type": "User"}},
        "src_endpoint": {"ip": "192.0.2.7"},
        "api": {"operation": "store.create", "service": {"name": "stores"}, "request": {"uid": "run-1"}},
        "resources": [{"type": "store", "uid": "tea-house-x7k2m", "owner": {"name": "bob"}}],
        "unmapped": {
            "actor_kind": "user",
            "environment": "prod",
            "metadata": {"cell": "01"},
            "prev_hash": "aa",
            "hash": "bb",
        },
    }


@pytest.mark.parametrize(
    ("action", "activity"),
    [
        ("store.create", 1),
        ("store.credentials.read", 2),
        ("store.update", 3),
        ("store.retry", 3),
        ("store.owner_change", 3),
        ("store.delete", 4),
        ("lease.takeover", 99),
        ("create.other", 99),
        ("", 99),
    ],
)
def test_the_last_word_of_an_action_is_the_activity(action: str, activity: int) -> None:
    event = to_event(replace(ENTRY, action=action))
    assert (event["activity_id"], event["type_uid"]) == (activity, 600300 + activity)


@pytest.mark.parametrize(
    ("outcome", "status"), [("unknown", 0), ("success", 1), ("failure", 2), ("denied", 2), ("cancelled", 99)]
)
def test_an_intent_is_of_unknown_outcome_and_a_denial_is_a_failure(outcome: Outcome, status: int) -> None:
    event = to_event(replace(ENTRY, outcome=outcome))
    assert (event["status_id"], event["status_code"]) == (status, outcome)


@pytest.mark.parametrize("outcome", get_args(Outcome))
@pytest.mark.parametrize("kind", get_args(ActorKind))
def test_every_entry_has_every_required_field(outcome: Outcome, kind: ActorKind) -> None:
    bare = replace(
        ENTRY, outcome=outcome, actor_kind=kind, run_id=None, source_ip=None, store_id=None, owner=None, reason=None
    )
    event = to_event(bare)
    assert event.keys() >= REQUIRED
    assert event["src_endpoint"] == {"name": "unknown"}
    assert not {"resources", "status_detail"} & event.keys()


def test_an_entry_about_an_owner_alone_names_the_owner() -> None:
    assert to_event(replace(ENTRY, store_id=None))["resources"] == [{"type": "owner", "name": "bob"}]
