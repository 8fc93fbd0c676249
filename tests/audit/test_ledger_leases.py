"""One holder per cell, limited in time, fenced; on SQLite and on MariaDB."""

from __future__ import annotations

from datetime import timedelta

import pytest

from audit.ledger import Ledger
from audit.records import Lease, StoreRecord
from stacks.errors import LockedError
from tests.audit.conftest import FakeClock
from tests.audit.ledger_samples import ALICE, ENVIRONMENT, change, holder, outcomes, request, used


def acquire(ledger: Ledger, run_id: str, cell: str = "01", environment: str = ENVIRONMENT) -> Lease:
    return ledger.acquire_lease(environment, cell, holder(run_id), 60)


def test_a_held_cell_is_refused_with_the_name_of_its_holder(ledger: Ledger) -> None:
    acquire(ledger, "run-a")
    with pytest.raises(LockedError) as caught:
        acquire(ledger, "run-b")
    assert str(caught.value) == (
        "cell prod/01: is being changed by alice (run run-a, process 4711 on laptop) since 2026-03-01T12:00:00Z; "
        "wait for its end; if that process is gone, its lease ends by itself at 2026-03-01T12:01:00Z"
    )


def test_cells_and_environments_are_held_apart(ledger: Ledger) -> None:
    assert acquire(ledger, "run-a").fencing == 1
    assert acquire(ledger, "run-b", cell="02").fencing == 1
    assert acquire(ledger, "run-c", environment="local").fencing == 1


def test_the_same_run_gets_its_own_lease_again(ledger: Ledger) -> None:
    """A run whose commit got no answer asks again."""
    lease = acquire(ledger, "run-a")
    assert acquire(ledger, "run-a") == lease


@pytest.mark.parametrize(("passed_s", "free"), [(59.999999, False), (60, True), (61, True)])
def test_an_expired_lease_is_taken_over_and_the_takeover_is_on_record(
    ledger: Ledger, clock: FakeClock, passed_s: float, *, free: bool
) -> None:
    acquire(ledger, "run-a")
    clock.move(seconds=passed_s)
    if not free:
        with pytest.raises(LockedError):
            acquire(ledger, "run-b")
        (told,) = ledger.entries(None)
        assert (told.action, told.outcome, told.run_id) == ("lease.acquire", "denied", "run-b")
        assert "(run run-a, process 4711 on laptop)" in str(told.reason)
        return
    assert acquire(ledger, "run-b").fencing == 2
    (entry,) = ledger.entries(ENVIRONMENT, action="lease.takeover")
    assert entry.run_id == "run-b"
    assert entry.metadata == {
        "cell": "01",
        "fencing": 2,
        "from_run_id": "run-a",
        "from_host": "laptop",
        "from_acquired_at": "2026-03-01T12:00:00+00:00",
        "from_ended_at": "2026-03-01T12:01:00+00:00",
        "from_ttl_s": 60,
    }


def test_a_released_cell_is_free_at_once_under_a_greater_number(ledger: Ledger) -> None:
    ledger.release_leases([acquire(ledger, "run-a")])
    assert acquire(ledger, "run-b").fencing == 2
    assert ledger.entries(None) == []


def test_renewing_moves_the_end(ledger: Ledger, clock: FakeClock) -> None:
    lease = acquire(ledger, "run-a")
    clock.move(seconds=45)
    renewed = ledger.renew_leases([lease])[0]
    assert (renewed.expires_at - clock.moment).total_seconds() == 60
    assert (renewed.fencing, renewed.acquired_at) == (1, lease.acquired_at)
    clock.move(seconds=59)
    with pytest.raises(LockedError):
        acquire(ledger, "run-b")


def test_an_expired_lease_that_nobody_took_can_be_renewed(ledger: Ledger, clock: FakeClock) -> None:
    lease = acquire(ledger, "run-a")
    clock.move(seconds=600)
    assert ledger.renew_leases([lease])[0].fencing == 1


def test_a_lost_lease_can_be_neither_renewed_nor_used_nor_given_back(ledger: Ledger, clock: FakeClock) -> None:
    lease = acquire(ledger, "run-a")
    clock.move(seconds=60)
    theirs = acquire(ledger, "run-b")
    with pytest.raises(LockedError, match=r"taken over by alice \(run run-b"):
        ledger.renew_leases([lease])
    with pytest.raises(LockedError, match="taken over"):
        ledger.admit(request([change("tea-1")], leases=[lease]))
    ledger.release_leases([lease])
    with pytest.raises(LockedError):
        acquire(ledger, "run-c")
    assert ledger.renew_leases([theirs])[0].fencing == 2
    assert ledger.stores(ENVIRONMENT) == []


def test_a_lease_that_ran_out_admits_nothing(ledger: Ledger, clock: FakeClock) -> None:
    lease = acquire(ledger, "run-a")
    clock.move(seconds=60)
    with pytest.raises(LockedError, match="ran out at 2026-03-01T12:01:00Z"):
        ledger.admit(request([change("tea-1")], leases=[lease]))


def test_a_lease_that_was_given_back_admits_nothing(ledger: Ledger) -> None:
    lease = acquire(ledger, "run-a")
    ledger.release_leases([lease])
    with pytest.raises(LockedError, match="given back"):
        ledger.admit(request([change("tea-1")], leases=[lease]))
    with pytest.raises(LockedError, match="given back"):
        ledger.renew_leases([lease])


def test_a_lease_of_another_environment_admits_nothing(ledger: Ledger) -> None:
    lease = acquire(ledger, "run-a", environment="local")
    with pytest.raises(LockedError):
        ledger.admit(request([change("tea-1")], leases=[lease]))


def test_what_was_applied_to_a_cell_is_kept(ledger: Ledger, clock: FakeClock) -> None:
    assert ledger.cell_record(ENVIRONMENT, "01") is None
    for digest in ("one", "two"):
        ledger.record_cell(
            ENVIRONMENT, "01", manifest_digest=digest, commit="c0ffee", program_version="0.1.0", cluster_uid="uid"
        )
        clock.move(hours=1)
    record = ledger.cell_record(ENVIRONMENT, "01")
    assert record is not None
    assert (record.manifest_digest, record.commit, record.program_version, record.cluster_uid) == (
        "two", "c0ffee", "0.1.0", "uid",
    )  # fmt: skip
    assert (clock.moment - record.applied_at).total_seconds() == 3600


def test_all_leases_are_renewed_and_given_back_in_one_transaction(ledger: Ledger, clock: FakeClock) -> None:
    held = [acquire(ledger, "run-a", cell=cell) for cell in ("02", "01", "03")]
    clock.move(seconds=30)
    renewed = ledger.renew_leases(held)
    assert [lease.cell for lease in renewed] == ["02", "01", "03"]
    assert {lease.expires_at for lease in renewed} == {clock.moment + timedelta(seconds=60)}
    clock.move(seconds=61)
    acquire(ledger, "run-b", cell="03")
    with pytest.raises(LockedError, match=r"was taken over by alice .run run-b"):
        ledger.renew_leases(held)
    with pytest.raises(LockedError, match="its lease ran out"):
        ledger.admit(request([change("tea-1")], run_id="run-a", leases=[held[1]]))
    ledger.release_leases(held)
    assert acquire(ledger, "run-c", cell="01").fencing == 2
    with pytest.raises(LockedError, match="run run-b"):
        acquire(ledger, "run-c", cell="03")


@pytest.mark.parametrize("taken", [False, True])
def test_who_lost_the_cell_writes_nothing_of_what_it_saw(ledger: Ledger, clock: FakeClock, *, taken: bool) -> None:
    """A process that was asleep for longer than its lease wakes up over the work of who took the cell."""
    wish = request([change("tea-1")])
    ledger.settle(wish.run_id, outcomes(ledger.admit(wish)))
    lease = acquire(ledger, "run-a")
    clock.move(seconds=61)
    if taken:
        acquire(ledger, "run-b")
    found = StoreRecord("tea-2", "tea-2", "alice", "01")
    digest = {"manifest_digest": "d", "commit": None, "program_version": "1", "cluster_uid": None}

    def write() -> None:
        ledger.mark(ENVIRONMENT, "tea-1", "Deleted", None, leases=[lease])
        ledger.adopt(ENVIRONMENT, [found], ALICE, leases=[lease])
        ledger.record_cell(ENVIRONMENT, "01", **digest, held=[lease])

    if not taken:
        write()
        assert [row.store_id for row in ledger.stores(ENVIRONMENT)] == ["tea-2"]
        return
    before = ledger.entries(None)
    for one in (
        lambda: ledger.mark(ENVIRONMENT, "tea-1", "Deleted", None, leases=[lease]),
        lambda: ledger.adopt(ENVIRONMENT, [found], ALICE, leases=[lease]),
        lambda: ledger.record_cell(ENVIRONMENT, "01", **digest, held=[lease]),
    ):
        with pytest.raises(LockedError, match=r"was taken over by alice .run run-b"):
            one()
    assert ledger.entries(None) == before
    assert [(row.store_id, row.status) for row in ledger.stores(ENVIRONMENT)] == [("tea-1", "Ready")]
    assert ledger.cell_record(ENVIRONMENT, "01") is None
    assert used(ledger) == 1
