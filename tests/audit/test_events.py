"""What is told from outside is in the log once, as what it is, however often it is told; on SQLite and on MariaDB."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from audit import events
from audit.admins import is_admin
from audit.ledger import Ledger
from audit.records import PRODUCT_UPDATED, Actor, NewEntry
from stacks.errors import UsageError
from tests.audit.conftest import FakeClock
from tests.audit.ledger_samples import ALICE, ENVIRONMENT

TEA = "tea-house-x7k2m"
HAPPENED = datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
EVENT_ID = "89b07c05-a023-4616-8d1a-b4a56a0abdd0"


def changed(store_id: str = TEA, **more: object) -> events.OutsideEvent:
    known: dict[str, object] = {
        "told": (EVENT_ID,),
        "occurred_at": HAPPENED,
        "owner": "alice",
        "login": "admin",
        "source_ip": "203.0.113.7",
        "metadata": {"object": {"type": "product", "id": 10}},
    }
    return events.product_change(ENVIRONMENT, store_id, PRODUCT_UPDATED, **known | more)  # type: ignore[arg-type]


def signed_in(outcome: str = "success", **more: object) -> events.OutsideEvent:
    actor = Actor("mara", "user", "198.51.100.9")
    known: dict[str, object] = {"occurred_at": HAPPENED} | more
    return events.sign_in(ENVIRONMENT, actor, "request-1", outcome, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize("event", [changed(), signed_in(), signed_in("denied", reason="the password is wrong")])
def test_what_is_told_twice_is_one_entry(ledger: Ledger, clock: FakeClock, event: events.OutsideEvent) -> None:
    first = ledger.record(event.entry, event.entry_id)
    clock.move(hours=3)
    ledger.record(NewEntry(ALICE, "test.write", "success"))
    assert ledger.record(event.entry, event.entry_id) == first
    assert [found.entry_id for found in ledger.entries(None)][1:] == [event.entry_id]
    assert (first.occurred_at, first.source_ip) == (HAPPENED, event.entry.actor.source_ip)
    assert ledger.entry(event.entry_id) == first
    assert ledger.verify().ok


def test_what_is_told_by_many_at_once_is_one_entry(ledger: Ledger) -> None:
    event = changed()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ledger.record(event.entry, event.entry_id), range(24)))
    assert {entry.seq for entry in found} == {1}
    assert [entry.seq for entry in ledger.entries(None)] == [1]
    assert ledger.verify().ok


@pytest.mark.parametrize(
    "other",
    [
        {"metadata": {"object": {"type": "product", "id": 11}}},
        {"login": "mallory"},
        {"source_ip": None},
        {"outcome": "unknown"},
        {"occurred_at": datetime(2026, 2, 28, tzinfo=UTC)},
    ],
)
def test_another_thing_under_the_same_id_is_refused_and_not_recorded(ledger: Ledger, other: dict[str, object]) -> None:
    ledger.record(changed().entry, changed().entry_id)
    with pytest.raises(UsageError, match="on record already, with another"):
        ledger.record(changed(**other).entry, changed().entry_id)
    assert len(ledger.entries(None)) == 1


def test_a_store_that_has_another_owner_by_now_does_not_make_its_event_another_one(ledger: Ledger) -> None:
    ledger.record(changed().entry, changed().entry_id)
    again = changed(owner="bob")
    assert ledger.record(again.entry, again.entry_id).owner == "alice"


def test_an_event_without_a_time_of_its_own_is_of_when_it_was_first_recorded(ledger: Ledger, clock: FakeClock) -> None:
    event = changed()
    entry = replace(event.entry, occurred_at=None)
    first = ledger.record(entry, event.entry_id)
    clock.move(minutes=1)
    assert ledger.record(entry, event.entry_id) == first


@pytest.mark.parametrize("bad", ["", "x", EVENT_ID[:-1], "'; DROP TABLE audit_logs; --", "\ud800"])
def test_an_id_that_is_none_is_refused(ledger: Ledger, bad: str) -> None:
    with pytest.raises(UsageError, match="is no id of an entry"):
        ledger.record(changed().entry, bad)
    assert ledger.entries(None) == []


def test_without_an_id_each_record_is_an_entry_of_its_own(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.record(changed().entry)
    assert len({entry.entry_id for entry in ledger.entries(None)}) == 2


def test_an_id_follows_from_what_was_told_and_from_nothing_less() -> None:
    assert changed().entry_id == changed(login="bob").entry_id
    others = {
        changed().entry_id,
        changed("other-shop-a1b2c").entry_id,
        changed(told=(EVENT_ID, "")).entry_id,
        changed(told=("webhook-1", "delivery", "ab")).entry_id,
        changed(told=("webhook-1", "deliverya", "b")).entry_id,
        changed(told=("\ud800",)).entry_id,
        changed(told=("\\ud800",)).entry_id,
        signed_in().entry_id,
        events.sign_out(ENVIRONMENT, ALICE, "request-1", occurred_at=HAPPENED).entry_id,
    }
    assert len(others) == 9
    # Written down: an event that was sent again years later must still have it.
    assert changed().entry_id == "1be25ef9-c9c4-5b4c-88bf-a9c4c530e72f"


def test_a_shops_admin_is_nobody_of_the_platform(ledger: Ledger) -> None:
    theirs = events.shop_user(TEA, "admin")
    assert theirs == Actor("tea-house-x7k2m/admin", "shop")
    assert theirs != events.shop_user("other-shop-a1b2c", "admin")
    assert events.shop_user(TEA, None) == events.shop_user(TEA, "") == Actor(TEA, "shop")
    assert not is_admin(["admin", theirs.name, f"shop:{theirs.name}", "shop:admin"], theirs)
    ledger.record(NewEntry(Actor("admin", "user"), "test.write", "success"))
    ledger.record(changed().entry)
    assert [entry.actor_kind for entry in ledger.entries(None, actor="admin")] == ["user"]
    assert [entry.actor_kind for entry in ledger.entries(None, actor=theirs.name)] == ["shop"]
