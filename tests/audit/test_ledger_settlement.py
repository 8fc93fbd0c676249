"""How runs end: one outcome per intent, honest status, slots given back; on SQLite and on MariaDB."""

from __future__ import annotations

import pytest

from audit.ledger import Ledger
from audit.records import Actor, StoreOutcome, StoreRow
from stacks.errors import InternalError, LockedError
from tests.audit.conftest import FakeClock
from tests.audit.ledger_samples import ALICE, ENVIRONMENT, change, create, creations, holder, outcomes, request, used


def row(ledger: Ledger, store_id: str) -> StoreRow:
    return next(r for r in ledger.stores(ENVIRONMENT, include_deleted=True) if r.store_id == store_id)


def test_a_success_is_recorded_with_status_address_and_the_actor_of_the_run(ledger: Ledger, clock: FakeClock) -> None:
    wish = request([change("tea-1")], reason="first shop")
    ledger.admit(wish)
    clock.move(minutes=3)
    ledger.settle(wish.run_id, [StoreOutcome("tea-1", "success", "Ready", "ok", "http://tea-1", {"content": "shop"})])
    found = row(ledger, "tea-1")
    assert (found.status, found.status_reason, found.url) == ("Ready", "ok", "http://tea-1")
    assert found.since_at == found.ready_at == clock.moment
    outcome = ledger.entries(ENVIRONMENT)[0]
    assert (outcome.action, outcome.outcome, outcome.actor, outcome.reason) == (
        "store.create",
        "success",
        "alice",
        "ok",
    )
    assert outcome.metadata == {"content": "shop", "status": "Ready"}
    assert ledger.open_runs(ENVIRONMENT) == []


def test_an_outcome_that_is_sent_again_changes_nothing(ledger: Ledger, clock: FakeClock) -> None:
    wish = request(creations(3))
    done = outcomes(ledger.admit(wish))
    ledger.settle(wish.run_id, done[:2])
    before = ledger.entries(None), ledger.stores(ENVIRONMENT)[:2]
    clock.move(minutes=1)
    ledger.settle(wish.run_id, done[:2])
    assert (ledger.entries(None), ledger.stores(ENVIRONMENT)[:2]) == before
    assert [c.store_id for c in ledger.open_runs(ENVIRONMENT)[0].changes] == ["alice-002"]
    ledger.settle(wish.run_id, done)
    assert len(ledger.entries(None)) == 6


def test_a_second_outcome_that_differs_is_refused(ledger: Ledger) -> None:
    wish = request([change("tea-1")])
    ledger.admit(wish)
    ledger.settle(wish.run_id, [StoreOutcome("tea-1", "failure", "Failed", "no image")])
    with pytest.raises(LockedError, match="its outcome is success, but failure was recorded meanwhile"):
        ledger.settle(wish.run_id, [StoreOutcome("tea-1", "success", "Ready")])
    assert row(ledger, "tea-1").status == "Failed"


def test_an_outcome_without_intent_is_a_defect(ledger: Ledger) -> None:
    wish = request([change("tea-1")])
    ledger.admit(wish)
    with pytest.raises(InternalError, match="store 'tea-2' was not admitted"):
        ledger.settle(
            wish.run_id, [StoreOutcome("tea-1", "success", "Ready"), StoreOutcome("tea-2", "success", "Ready")]
        )
    with pytest.raises(InternalError, match="was never admitted"):
        ledger.settle("run-unknown", [StoreOutcome("tea-1", "success", "Ready")])
    assert row(ledger, "tea-1").status == "Provisioning"


def test_a_failed_creation_keeps_its_slot_and_counts_for_the_hour(ledger: Ledger) -> None:
    wish = request(creations(5))
    ledger.settle(wish.run_id, outcomes(ledger.admit(wish), "Failed", "failure"))
    assert used(ledger) == 5
    assert ledger.admit(request([change("tea-1")])).denied[0].limit == "creates_per_hour"


def test_a_creation_that_never_reached_the_engine_gives_everything_back(ledger: Ledger) -> None:
    wish = request(creations(5))
    untouched = outcomes(ledger.admit(wish), "Failed", "cancelled", reached_engine=False, reason="stopped before")
    ledger.settle(wish.run_id, untouched)
    ledger.settle(wish.run_id, untouched)
    assert used(ledger) == 0
    assert row(ledger, "alice-000").status == "Pending"
    assert [c.action for c in ledger.admit(request(creations(5))).admitted] == ["store.create"] * 5


def test_a_retry_that_never_reached_the_engine_keeps_its_slot(ledger: Ledger) -> None:
    create(ledger, 1)
    wish = request([change("alice-000", action="store.update")])
    ledger.settle(wish.run_id, outcomes(ledger.admit(wish), "Failed", "cancelled", reached_engine=False))
    assert (row(ledger, "alice-000").status, used(ledger)) == ("Failed", 1)


def test_a_slot_is_free_once_and_only_when_the_store_is_gone(ledger: Ledger) -> None:
    create(ledger, 3)
    wish = request([change("alice-000", action="store.delete")])
    gone = outcomes(ledger.admit(wish), "Deleted")
    assert used(ledger) == 3
    ledger.settle(wish.run_id, gone)
    ledger.settle(wish.run_id, gone)
    ledger.mark(ENVIRONMENT, "alice-000", "Deleted", None)
    assert used(ledger) == 2
    assert [r.store_id for r in ledger.stores(ENVIRONMENT)] == ["alice-001", "alice-002"]


def test_a_store_that_was_only_ever_denied_can_be_dropped(ledger: Ledger) -> None:
    ledger.admit(request(creations(6)))
    wish = request([change("alice-005", action="store.delete")])
    ledger.settle(wish.run_id, outcomes(ledger.admit(wish), "Deleted"))
    assert (row(ledger, "alice-005").status, used(ledger)) == ("Deleted", 5)


def test_a_store_that_was_deleted_and_comes_back_is_a_creation(ledger: Ledger) -> None:
    create(ledger, 1)
    ledger.mark(ENVIRONMENT, "alice-000", "Deleted", None)
    (again,) = ledger.admit(request([change("alice-000", action="store.update")])).admitted
    assert again.action == "store.create"
    assert ledger.usage(ENVIRONMENT, request([]).limits, {}).owners[0].starts == 2


def test_a_changed_status_is_audited_and_the_same_again_only_moves_the_time_it_answered(
    ledger: Ledger, clock: FakeClock
) -> None:
    create(ledger, 1)
    began = clock.moment
    clock.move(minutes=1)
    ledger.mark(ENVIRONMENT, "alice-000", "Ready", None, url="http://new")
    assert (row(ledger, "alice-000").since_at, row(ledger, "alice-000").ready_at) == (began, clock.moment)
    assert row(ledger, "alice-000").url == "http://new"
    assert ledger.entries(ENVIRONMENT, action="store.status") == []
    before = row(ledger, "alice-000").run_id
    ledger.mark(ENVIRONMENT, "alice-000", "Failed", "HTTP 502", actor=ALICE)
    assert row(ledger, "alice-000").run_id == before
    ledger.mark(ENVIRONMENT, "alice-000", "Failed", "HTTP 503", run_id="run-look")
    assert (row(ledger, "alice-000").run_id, row(ledger, "alice-000").status_reason) == ("run-look", "HTTP 503")
    (entry,) = ledger.entries(ENVIRONMENT, action="store.status")
    assert (entry.actor, entry.reason, entry.metadata) == ("alice", "HTTP 502", {"from": "Ready", "to": "Failed"})
    assert row(ledger, "alice-000").since_at == clock.moment


@pytest.mark.parametrize("status", ["Provisioning", "Ready", "Failed"])
def test_a_mark_never_takes_a_slot(ledger: Ledger, status: str) -> None:
    create(ledger, 1)
    ledger.mark(ENVIRONMENT, "alice-000", "Deleted", None)
    with pytest.raises(InternalError, match="holds no slot"):
        ledger.mark(ENVIRONMENT, "alice-000", status, None)  # type: ignore[arg-type]
    with pytest.raises(InternalError, match="is not known"):
        ledger.mark(ENVIRONMENT, "nobody-1", status, None)  # type: ignore[arg-type]


def test_open_runs_tell_who_wanted_what(ledger: Ledger) -> None:
    first, second = (
        request([change("tea-1", metadata={"a": 1})]),
        request([change("tea-2", "bob")], actor=Actor("b", "ci")),
    )
    ledger.admit(first)
    ledger.admit(second)
    one, two = ledger.open_runs(ENVIRONMENT)
    assert (one.run_id, one.actor, one.changes) == (first.run_id, ALICE, tuple(first.changes))
    assert (two.actor.kind, two.changes[0].owner) == ("ci", "bob")
    assert ledger.open_runs("local") == []


def test_a_run_that_lost_its_cell_cannot_record_an_outcome(ledger: Ledger, clock: FakeClock) -> None:
    lease = ledger.acquire_lease(ENVIRONMENT, "01", holder("run-a"), 60)
    ledger.admit(request([change("tea-1")], run_id="run-a", leases=[lease]))
    clock.move(seconds=60)
    theirs = ledger.acquire_lease(ENVIRONMENT, "01", holder("run-b", "bob"), 60)
    late = [StoreOutcome("tea-1", "success", "Ready")]
    with pytest.raises(LockedError, match="taken over by another run"):
        ledger.settle("run-a", late)
    assert [run.run_id for run in ledger.open_runs(ENVIRONMENT)] == ["run-a"]
    seen = [StoreOutcome("tea-1", "failure", "Failed", "crashed")]
    ledger.settle("run-a", seen, actor=theirs.holder.actor, leases=[theirs])
    assert ledger.entries(ENVIRONMENT)[0].actor == "bob"
    with pytest.raises(LockedError, match="meanwhile"):
        ledger.settle("run-a", late)


def test_a_lease_that_ran_out_but_was_not_taken_still_lets_the_outcome_in(ledger: Ledger, clock: FakeClock) -> None:
    lease = ledger.acquire_lease(ENVIRONMENT, "01", holder("run-a"), 60)
    wish = request([change("tea-1")], run_id="run-a", leases=[lease])
    admission = ledger.admit(wish)
    clock.move(hours=1)
    ledger.settle("run-a", outcomes(admission))
    assert row(ledger, "tea-1").status == "Ready"


def test_nobody_settles_a_run_under_a_lease_that_was_lost(ledger: Ledger, clock: FakeClock) -> None:
    lease = ledger.acquire_lease(ENVIRONMENT, "01", holder("run-a"), 60)
    ledger.admit(request([change("tea-1")], run_id="run-a", leases=[lease]))
    clock.move(seconds=60)
    theirs = ledger.acquire_lease(ENVIRONMENT, "01", holder("run-b"), 60)
    clock.move(seconds=60)
    ledger.acquire_lease(ENVIRONMENT, "01", holder("run-c"), 60)
    with pytest.raises(LockedError, match="taken over"):
        ledger.settle("run-a", [StoreOutcome("tea-1", "success", "Ready")], leases=[theirs])
