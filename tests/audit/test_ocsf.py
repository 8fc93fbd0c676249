"""Entries become events of the OCSF's classes API Activity and Authentication."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest

from audit import records
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
            "event_code": "store.create",
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


# What OCSF has no activity for: locks, leases, limits, and the log's own spool.
OTHERS = {"limit.override", "lease.takeover", "lease.acquire", "engine.unlock", "audit.spool"}
ACTIONS = {value for name, value in vars(records).items() if name.isupper() and isinstance(value, str) and "." in value}


@pytest.mark.parametrize(
    ("action", "type_uid"),
    [
        ("store.create", 600301),
        ("store.credentials.read", 600302),
        ("store.backup", 600302),
        ("store.update", 600303),
        ("store.restore", 600303),
        ("store.retry", 600303),
        ("store.owner_change", 600303),
        ("store.delete", 600304),
        ("product.created", 600301),
        ("product.updated", 600303),
        ("product.trashed", 600303),
        ("product.deleted", 600304),
        ("session.sign_in", 300201),
        ("session.sign_out", 300202),
        ("lease.takeover", 600399),
        ("create.other", 600399),
        ("", 600399),
    ],
)
def test_an_action_has_its_class_and_its_activity(action: str, type_uid: int) -> None:
    event = to_event(replace(ENTRY, action=action))
    assert (event["type_uid"], event["class_uid"], event["activity_id"]) == (type_uid, *divmod(type_uid, 100))
    assert event["category_uid"] == event["class_uid"] // 1000
    assert event["metadata"]["event_code"] == action


def test_every_action_of_ours_has_an_activity_but_those_that_ocsf_has_none_for() -> None:
    assert len(ACTIONS) > 20
    assert {action for action in ACTIONS if to_event(replace(ENTRY, action=action))["activity_id"] == 99} == OTHERS
    assert to_event(replace(ENTRY, action="limit.override"))["activity_name"] == "limit.override"


def test_a_sign_in_has_what_its_class_requires_and_nothing_of_another_class() -> None:
    event = to_event(replace(ENTRY, action="session.sign_in", outcome="denied", reason="wrong password", owner=None))
    assert event["user"] == event["actor"]["user"] == {"name": "alice", "type_id": 1, "type": "User"}
    assert (event["service"], event["src_endpoint"]) == ({"name": "stores"}, {"ip": "192.0.2.7"})
    assert (event["activity_name"], event["status"], event["status_detail"]) == ("Logon", "Failure", "wrong password")
    assert not {"api", "resources"} & event.keys()
    assert event["unmapped"]["store_id"] == "tea-house-x7k2m"


def test_a_shops_user_is_no_user_of_the_platform() -> None:
    user = to_event(replace(ENTRY, actor="tea-house-x7k2m/admin", actor_kind="shop"))["actor"]["user"]
    assert user == {
        "name": "tea-house-x7k2m/admin",
        "type_id": 99,
        "type": "Shop user",
        "domain": "tea-house-x7k2m",
    }


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
