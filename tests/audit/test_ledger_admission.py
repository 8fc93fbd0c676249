"""What is admitted, what is denied, and what stays on record of both; on SQLite and on MariaDB."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from audit import admission
from audit.ledger import Ledger
from audit.limits import Limits, OwnerLimits, Verdict
from audit.records import Actor, Admission, Status, StoreRecord
from audit.tables import NAME_LENGTH
from stacks.errors import InternalError, ManifestError, UsageError
from tests.audit.conftest import FakeClock
from tests.audit.ledger_samples import ALICE, ENVIRONMENT, ROBOT, change, create, creations, outcomes, request, used

HOUR = timedelta(hours=1)


def status(ledger: Ledger, store_id: str) -> str:
    return next(row.status for row in ledger.stores(ENVIRONMENT, include_deleted=True) if row.store_id == store_id)


def test_an_admitted_creation_takes_a_slot_and_leaves_an_intent(ledger: Ledger, clock: FakeClock) -> None:
    wish = request([change("tea-1", metadata={"memory": "768Mi"})], reason="first shop", actor=ROBOT)
    admission = ledger.admit(wish)
    assert admission.admitted == tuple(wish.changes)
    assert admission.denied == ()
    (row,) = ledger.stores(ENVIRONMENT)
    assert (row.status, row.holds_slot, row.since_at, row.run_id) == ("Provisioning", True, clock.moment, wish.run_id)
    (entry,) = ledger.entries(ENVIRONMENT)
    assert (entry.action, entry.outcome, entry.store_id, entry.owner) == ("store.create", "unknown", "tea-1", "alice")
    assert (entry.actor, entry.actor_kind, entry.source_ip) == ("robot", "ci", "192.0.2.7")
    assert (entry.run_id, entry.reason, entry.recorded_at) == (wish.run_id, "first shop", clock.moment)
    assert entry.metadata == {"memory": "768Mi", "name": "tea-1", "cell": "01"}
    assert [run.run_id for run in ledger.open_runs(ENVIRONMENT)] == [wish.run_id]


def test_a_request_that_changes_nothing_leaves_nothing(ledger: Ledger) -> None:
    assert ledger.admit(request([])) == Admission((), ())
    assert ledger.entries(None) == []


@pytest.mark.parametrize("length", [1, NAME_LENGTH])
def test_the_shortest_and_the_longest_names_are_kept_as_they_are(ledger: Ledger, length: int) -> None:
    name = "n" * length
    wish = request([change(name, name, name=name, cell=name)], run_id=name, environment=name)
    assert len(ledger.admit(wish).admitted) == 1
    (row,) = ledger.stores(name)
    assert (row.store_id, row.owner, row.name, row.cell, row.run_id) == (name,) * 5


def test_the_eleventh_store_of_an_owner_is_denied_and_says_used_and_limit(ledger: Ledger) -> None:
    create(ledger, 10)
    (denial,) = ledger.admit(request(creations(1, begin=10))).denied
    assert (denial.limit, denial.used, denial.limit_value, denial.retry_at) == ("stores_per_owner", 10, 10, None)
    assert str(denial) == (
        "store 'alice-010': owner 'alice' has 10 of 10 stores; "
        "delete a store of 'alice', or raise its limit in owners.yaml"
    )
    assert used(ledger) == 10


def test_the_hundred_and_first_store_of_an_environment_is_denied(ledger: Ledger) -> None:
    for number in range(10):
        create(ledger, 10, f"owner{number}")
    admission = ledger.admit(request([change("new-1", "newcomer")]))
    assert [d.limit for d in admission.denied] == ["stores_total"]
    assert "the environment has 100 of 100 stores" in str(admission.denied[0])


def test_seven_new_stores_are_admitted_in_file_order_up_to_the_hourly_limit(ledger: Ledger, clock: FakeClock) -> None:
    wish = request(creations(7))
    admission = ledger.admit(wish)
    assert [c.store_id for c in admission.admitted] == [f"alice-00{n}" for n in range(5)]
    assert [d.change.store_id for d in admission.denied] == ["alice-005", "alice-006"]
    assert {d.retry_at for d in admission.denied} == {clock.moment + HOUR}
    pending = [row for row in ledger.stores(ENVIRONMENT) if row.status == "Pending"]
    assert [(r.store_id, r.pending_until, r.holds_slot) for r in pending] == [
        ("alice-005", clock.moment + HOUR, False),
        ("alice-006", clock.moment + HOUR, False),
    ]
    assert pending[0].status_reason == str(admission.denied[0])
    assert "5 of 5 creations within 60 minutes; run again after 2026-03-01T13:00:00Z" in str(admission.denied[0])
    assert used(ledger) == 5


@pytest.mark.parametrize(("passed", "allowed"), [(timedelta(microseconds=-1), False), (timedelta(0), True)])
def test_the_hour_ends_to_the_microsecond(
    ledger: Ledger, clock: FakeClock, passed: timedelta, *, allowed: bool
) -> None:
    ledger.admit(request(creations(5)))
    clock.moment += HOUR + passed
    assert bool(ledger.admit(request(creations(1, begin=5))).admitted) is allowed


def test_a_denied_store_goes_when_its_time_has_come(ledger: Ledger, clock: FakeClock) -> None:
    denied = ledger.admit(request(creations(6))).denied[0]
    assert denied.retry_at is not None
    clock.moment = denied.retry_at
    assert [c.action for c in ledger.admit(request([denied.change])).admitted] == ["store.create"]
    row = next(row for row in ledger.stores(ENVIRONMENT) if row.store_id == denied.change.store_id)
    assert (row.status, row.pending_until, row.status_reason, row.holds_slot) == ("Provisioning", None, None, True)


def test_a_denial_is_on_record_and_costs_neither_slot_nor_start(ledger: Ledger, clock: FakeClock) -> None:
    ledger.admit(request(creations(5)))
    for number in range(3):
        ledger.admit(request([change(f"more-{number}")]))
    clock.move(hours=1)
    assert len(ledger.admit(request(creations(6, begin=10))).admitted) == 5
    denials = [entry for entry in ledger.entries(ENVIRONMENT, ascending=True) if entry.outcome == "denied"]
    assert [entry.store_id for entry in denials] == ["more-0", "more-1", "more-2", "alice-015"]
    assert denials[0].metadata["denial"] == {
        "limit": "creates_per_hour",
        "used": 5,
        "limit_value": 5,
        "retry_at_us": int((clock.moment).timestamp() * 1_000_000),
        "window_s": 3600,
        "waiting": 0,
    }


def test_a_retry_of_a_failed_store_is_no_creation(ledger: Ledger) -> None:
    wish = request(creations(5))
    ledger.settle(wish.run_id, outcomes(ledger.admit(wish), "Failed", "failure"))
    again = ledger.admit(request(creations(5)))
    assert [c.action for c in again.admitted] == ["store.retry"] * 5
    assert used(ledger) == 5


def test_an_update_needs_no_room_even_over_lowered_limits(ledger: Ledger) -> None:
    create(ledger, 3)
    none = Limits(0, 0, 3600, 0)
    admission = ledger.admit(request([change("alice-000", action="store.update")], limits=none))
    assert len(admission.admitted) == 1
    assert [d.limit for d in ledger.admit(request([change("new-1")], limits=none)).denied] == ["stores_per_owner"]


def test_a_status_holds_since_it_changed_and_not_since_it_was_written_again(ledger: Ledger, clock: FakeClock) -> None:
    create(ledger, 1)
    clock.move(minutes=1)
    began = clock.moment
    for _ in range(2):
        ledger.admit(request([change("alice-000", action="store.update")]))
        (row,) = ledger.stores(ENVIRONMENT)
        assert (row.status, row.since_at) == ("Provisioning", began)
        clock.move(minutes=1)


def test_an_update_of_a_store_that_was_never_admitted_is_a_creation(ledger: Ledger) -> None:
    (admitted,) = ledger.admit(request([change("ghost-1", action="store.update")])).admitted
    assert admitted.action == "store.create"
    assert used(ledger) == 1


def test_a_deleted_store_keeps_its_slot_until_it_is_gone(ledger: Ledger) -> None:
    create(ledger, 10)
    wish = request([change("alice-000", action="store.delete")])
    admission = ledger.admit(wish)
    assert status(ledger, "alice-000") == "Deleting"
    assert ledger.admit(request([change("late-1")])).denied[0].used == 10
    ledger.settle(wish.run_id, outcomes(admission, "Deleting", "failure"))
    assert used(ledger) == 10
    ledger.mark(ENVIRONMENT, "alice-000", "Deleted", None)
    assert used(ledger) == 9
    assert ledger.admit(request([change("late-1")], limits=Limits(creates_per_hour=20))).admitted


def test_deleting_in_the_same_request_makes_no_room_yet(ledger: Ledger, clock: FakeClock) -> None:
    create(ledger, 10)
    clock.move(hours=2)
    admission = ledger.admit(request([change("alice-000", action="store.delete"), change("new-1")]))
    assert [c.action for c in admission.admitted] == ["store.delete"]
    assert [d.limit for d in admission.denied] == ["stores_per_owner"]


def test_an_owner_change_takes_a_slot_of_the_new_owner(ledger: Ledger) -> None:
    create(ledger, 2)
    create(ledger, 1, "bob")
    moved = change("alice-000", "bob", "store.owner_change")
    assert ledger.admit(request([moved], owner_limits={"bob": OwnerLimits(stores=1)})).denied[0].used == 1
    assert (used(ledger, "alice"), used(ledger, "bob"), status(ledger, "alice-000")) == (2, 1, "Ready")
    assert ledger.admit(request([moved], limits=Limits(creates_per_hour=0))).admitted == (moved,)
    assert (used(ledger, "alice"), used(ledger, "bob")) == (1, 2)


def test_an_override_passes_every_limit_and_is_on_record(ledger: Ledger) -> None:
    create(ledger, 10)
    wish = request([change("extra-1")], override_reason="agreed with sales")
    assert len(ledger.admit(wish).admitted) == 1
    assert used(ledger) == 11
    override, intent = ledger.entries(ENVIRONMENT, run_id=wish.run_id, ascending=True)
    assert (override.action, override.outcome, override.reason) == ("limit.override", "success", "agreed with sales")
    assert override.metadata["denial"]["limit"] == "stores_per_owner"  # type: ignore[index]
    assert (intent.action, intent.outcome) == ("store.create", "unknown")
    assert ledger.admit(request([change("extra-2")])).denied[0].used == 11


def test_an_override_without_need_leaves_no_trace_of_one(ledger: Ledger) -> None:
    ledger.admit(request([change("tea-1")], override_reason="just in case"))
    assert [entry.action for entry in ledger.entries(ENVIRONMENT)] == ["store.create"]


def test_an_override_needs_a_reason(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="has no reason"):
        ledger.admit(request([change("tea-1")], override_reason=" "))


def test_environments_do_not_count_for_each_other(ledger: Ledger) -> None:
    ledger.admit(request(creations(5)))
    assert len(ledger.admit(request(creations(5), environment="local")).admitted) == 5
    assert used(ledger) == used(ledger, environment="local") == 5
    assert {entry.environment for entry in ledger.entries("local")} == {"local"}


def test_names_that_differ_only_in_case_or_a_trailing_blank_are_two(ledger: Ledger) -> None:
    for owner in ("alice", "Alice", "alice ", "alicé"):
        ledger.admit(request([change(f"of-{owner}", owner)]))
    assert [o.used for o in ledger.usage(ENVIRONMENT, Limits(), {}).owners] == [1, 1, 1, 1]


def test_a_store_never_changes_its_cell(ledger: Ledger) -> None:
    create(ledger, 1)
    with pytest.raises(ManifestError, match=r'cell was 01 and is now 02.*write back cell: "01"'):
        ledger.admit(request([change("alice-000", cell="02", action="store.update")]))


def test_one_request_cannot_change_a_store_twice(ledger: Ledger) -> None:
    with pytest.raises(InternalError, match="twice"):
        ledger.admit(request([change("tea-1"), change("tea-1", action="store.delete")]))


@pytest.mark.parametrize("name", ["", "x" * 129, "\ud800"])
def test_a_name_that_cannot_be_kept_as_it_is_is_refused_before_anything_is_written(ledger: Ledger, name: str) -> None:
    with pytest.raises(InternalError, match="cannot keep the name"):
        ledger.admit(request([change("tea-1", name)]))
    assert ledger.entries(None) == []


def test_nothing_is_kept_of_a_request_that_fails_half_way(ledger: Ledger) -> None:
    class Unsound(dict[str, object]):
        def items(self):  # type: ignore[no-untyped-def]
            raise RuntimeError("broken on purpose")

    with pytest.raises(RuntimeError, match="broken on purpose"):
        ledger.admit(request([change("tea-1"), change("tea-2", metadata={"deep": Unsound(a=1)})]))
    assert ledger.stores(ENVIRONMENT) == []
    assert ledger.entries(None) == []
    assert used(ledger) == 0
    assert ledger.admit(request(creations(5))).denied == ()


def test_a_forecast_says_what_would_be_denied_and_records_nothing(ledger: Ledger) -> None:
    wish = request(creations(6))
    assert [j.change.store_id for j in ledger.foresee(wish) if not j.verdict.allowed] == ["alice-005"]
    assert ledger.entries(None) == []
    assert ledger.stores(ENVIRONMENT) == []
    assert len(ledger.admit(wish).admitted) == 5
    assert [j.verdict.limit for j in ledger.foresee(request([change("tea-1")]))] == ["creates_per_hour"]


def test_who_is_told_a_time_finds_a_slot_then_and_who_would_not_is_told_the_limit(ledger: Ledger, clock) -> None:
    create(ledger, 4)
    clock.move(hours=2)
    wish = request(creations(7, begin=4))
    first = ledger.admit(wish)
    assert [d.limit for d in first.denied] == ["creates_per_hour", "stores_per_owner"]
    told, full = first.denied
    assert str(full) == (
        "store 'alice-010': owner 'alice' has 9 of 10 stores, and 1 before this one wait for their hour; delete a "
        "store of 'alice', or raise its limit in owners.yaml"
    )
    assert ledger.admit(wish) == first, "asked again, the same is told"
    clock.moment = told.retry_at
    later = ledger.admit(request(creations(2, begin=9)))
    assert [c.store_id for c in later.admitted] == ["alice-009"]
    assert [d.limit for d in later.denied] == ["stores_per_owner"]


def test_an_owner_change_is_in_the_log_under_both_owners(ledger: Ledger) -> None:
    create(ledger, 1)
    moved = ledger.admit(request([change("alice-000", "bob", "store.owner_change")], run_id="run-move"))
    assert len(moved.admitted) == 1
    [left] = [e for e in ledger.entries(ENVIRONMENT, owner="alice") if e.run_id == "run-move"]
    [came] = [e for e in ledger.entries(ENVIRONMENT, owner="bob") if e.run_id == "run-move"]
    assert (left.action, left.outcome, left.store_id) == ("store.owner_left", "success", "alice-000")
    assert (came.action, came.outcome) == ("store.owner_change", "unknown")
    for found in (left, came):
        assert found.metadata["owner"] == {"from": "alice", "to": "bob"}


def test_an_owner_change_that_is_denied_takes_nothing_from_anybody(ledger: Ledger) -> None:
    create(ledger, 1)
    create(ledger, 10, "bob")
    ledger.admit(request([change("alice-000", "bob", "store.owner_change")], run_id="run-move"))
    [denied] = ledger.entries(ENVIRONMENT, run_id="run-move")
    assert (denied.outcome, denied.owner, denied.metadata["owner"]) == ("denied", "bob", {"from": "alice", "to": "bob"})
    assert used(ledger) == 1


def test_the_same_run_admitted_twice_gets_the_same_answer_and_one_record(ledger: Ledger) -> None:
    """A run whose commit got no answer asks again under the same id."""
    wish = request(creations(7))
    first = ledger.admit(wish)
    before = ledger.entries(None)
    assert ledger.admit(wish) == first
    assert ledger.entries(None) == before
    assert used(ledger) == 5


def test_the_database_refuses_a_slot_too_many_whatever_the_rules_say(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(ledger, 10)
    monkeypatch.setattr("audit.judgement.judge", lambda claims, *_, **__: tuple(Verdict() for _ in claims))
    with pytest.raises(InternalError, match="nothing was changed"):
        ledger.admit(request([change("extra-1")]))
    assert used(ledger) == 10
    assert len(ledger.entries(None, limit=1000)) == 20


def test_a_denial_that_comes_late_leaves_a_store_alone_that_was_admitted_meanwhile(ledger: Ledger) -> None:
    create(ledger, 10)
    late = request([change("tea-1")])
    database = ledger._database
    denied = database.read(lambda connection: admission.foresee(connection, database.clock, late))
    assert denied is not None
    ledger.admit(request([change("tea-1")], override_reason="agreed with sales"))
    database.write(lambda connection: admission.deny(connection, database.clock, late, denied))
    assert status(ledger, "tea-1") == "Provisioning"
    assert [e.outcome for e in ledger.entries(ENVIRONMENT, store_id="tea-1")] == ["denied", "unknown", "success"]


def test_stores_that_are_found_are_counted_beyond_the_limits_and_audited(ledger: Ledger) -> None:
    create(ledger, 9)
    found = [StoreRecord(f"found-{n}", f"found-{n}", "alice", "01", "Failed", f"http://found-{n}") for n in range(3)]
    ledger.adopt(ENVIRONMENT, found, ALICE)
    ledger.adopt(ENVIRONMENT, found, ALICE)
    assert used(ledger) == 12
    adopted = ledger.entries(ENVIRONMENT, action="store.adopt")
    assert [(e.store_id, e.outcome) for e in adopted] == [(f"found-{n}", "success") for n in (2, 1, 0)]
    assert ledger.admit(request([change("more-1")])).denied[0].used == 12


@pytest.mark.parametrize(("status", "is_there"), [("Pending", False), ("Deleted", False), ("Deleting", True)])
def test_only_what_exists_is_adopted(ledger: Ledger, status: Status, *, is_there: bool) -> None:
    record = StoreRecord("found-1", "found-1", "alice", "01", status)
    if is_there:
        ledger.adopt(ENVIRONMENT, [record], ALICE)
    else:
        with pytest.raises(InternalError, match=f"exists, but as {status}"):
            ledger.adopt(ENVIRONMENT, [record], ALICE)
    assert used(ledger) == int(is_there)


def test_adopting_leaves_a_known_store_as_it_is_and_revives_one_that_was_thought_deleted(ledger: Ledger) -> None:
    create(ledger, 2)
    ledger.mark(ENVIRONMENT, "alice-001", "Deleted", "gone")
    records = [StoreRecord(f"alice-00{n}", "renamed", "bob", "01", "Failed") for n in range(2)]
    ledger.adopt(ENVIRONMENT, records, Actor("stores", "service"))
    assert {r.store_id: (r.owner, r.status) for r in ledger.stores(ENVIRONMENT)} == {
        "alice-000": ("alice", "Ready"),
        "alice-001": ("bob", "Failed"),
    }
    assert (used(ledger, "alice"), used(ledger, "bob")) == (1, 1)


def test_use_is_told_per_owner_with_the_time_of_the_next_creation(ledger: Ledger, clock: FakeClock) -> None:
    ledger.admit(request(creations(2), owner_limits={}))
    clock.move(minutes=10)
    ledger.admit(request(creations(3, begin=2)))
    usage = ledger.usage(ENVIRONMENT, Limits(), {"bob": OwnerLimits(stores=3, creates_per_hour=2)})
    alice, bob = usage.owners
    assert (alice.used, alice.limit, alice.starts, alice.starts_limit) == (5, 10, 5, 5)
    assert alice.retry_at == clock.moment + timedelta(minutes=50)
    assert (bob.used, bob.limit, bob.starts, bob.starts_limit, bob.retry_at) == (0, 3, 0, 2, clock.moment)
    assert (usage.total_used, usage.total_limit, usage.window_s, usage.at) == (5, 100, 3600, clock.moment)


def test_the_clock_that_counts_is_the_databases(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(ledger_url) as real:
        if ledger_url.startswith("mariadb"):
            # This machine's clock is a year off; the server's is not.
            truth = real.now()
            monkeypatch.setattr("time.time_ns", lambda: 0)
            real.admit(request(creations(5)))
            assert abs(real.now() - truth) < timedelta(minutes=5)
        else:
            real.admit(request(creations(5)))
        denial = real.admit(request(creations(1, begin=5))).denied[0]
        assert denial.retry_at is not None
        assert timedelta(minutes=59) < denial.retry_at - real.now() <= HOUR


def test_a_second_store_with_the_same_request_shape_keeps_its_own_metadata(ledger: Ledger) -> None:
    wish = request([change("tea-1", metadata={"n": 1}), change("tea-2", metadata={"n": 2})])
    ledger.admit(replace(wish, reason="two at once"))
    assert [e.metadata["n"] for e in ledger.entries(ENVIRONMENT, ascending=True)] == [1, 2]
