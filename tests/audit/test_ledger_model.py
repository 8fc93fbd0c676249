"""Any sequence of calls leaves the ledger as a model in memory says, on both databases alike.

A short form, for every run, and a long one.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from audit.ledger import Ledger
from audit.limits import Limits
from audit.migrations import migrate
from audit.records import Status, StoreOutcome, StoreRecord, holds_slot
from tests.audit.conftest import FakeClock
from tests.audit.ledger_samples import ENVIRONMENT, change, request
from tests.audit.mariadb_server import MariadbServer
from tests.figures import Figures

LIMITS = Limits(stores_per_owner=3, creates_per_hour=2, window_s=60, stores_total=5)
OWNERS = ("alice", "bob", "carol")
IDS = tuple(f"store-{n}" for n in range(8))
ENDINGS: list[tuple[str, Status]] = [("success", "Ready"), ("failure", "Failed"), ("cancelled", "Failed")]


class Model:
    """What the ledger should hold: statuses, owners, starts and open intents, and nothing of how it is stored."""

    def __init__(self) -> None:
        self.status: dict[str, Status] = {}
        self.owner: dict[str, str] = {}
        self.held: dict[str, str] = {}
        self.starts: list[tuple[str, str, str, datetime]] = []
        self.open: dict[tuple[str, str], str] = {}
        self.entries = 0

    def used(self, owner: str) -> int:
        return list(self.held.values()).count(owner)

    def counting(self, owner: str, now: datetime) -> int:
        return sum(o == owner and now - at < LIMITS.window for _, _, o, at in self.starts)

    def admit(self, run_id: str, wishes: Sequence[tuple[str, str, str]], now: datetime) -> list[str]:
        """Return the ids that go."""
        going = []
        for store_id, owner, action in wishes:
            self.entries += 1
            if action == "store.delete":
                self.owner[store_id] = owner
                self.status[store_id] = "Deleting"
                self.open[run_id, store_id] = action
                going.append(store_id)
                continue
            new, moved = store_id not in self.held, self.held.get(store_id, owner) != owner
            full = (new or moved) and self.used(owner) >= LIMITS.stores_per_owner
            full = full or (new and len(self.held) >= LIMITS.stores_total)
            full = full or (new and self.counting(owner, now) >= LIMITS.creates_per_hour)
            if full:
                if new:
                    self.status[store_id], self.owner[store_id] = "Pending", owner
                continue
            if new:
                self.starts.append((run_id, store_id, owner, now))
            self.entries += moved  # who lost the store has an entry of his own
            self.held[store_id] = self.owner[store_id] = owner
            self.status[store_id] = "Provisioning"
            self.open[run_id, store_id] = "store.create" if new else "other"
            going.append(store_id)
        return going

    def see(self, store_id: str, status: Status) -> None:
        """What exists holds a slot, also when another run has seen it gone meanwhile."""
        self.status[store_id] = status
        if not holds_slot(status, held_before=store_id in self.held):
            self.held.pop(store_id, None)
        else:
            self.held.setdefault(store_id, self.owner[store_id])


class LedgerMachine(RuleBasedStateMachine):
    """Calls of all kinds; after each, ledger and model tell the same."""

    server: ClassVar[MariadbServer | None] = None
    runs = Bundle("runs")

    @initialize()
    def begin(self) -> None:
        self.clock = FakeClock()
        self.model = Model()
        self.numbers = itertools.count()
        if self.server is None:
            self.folder = tempfile.TemporaryDirectory()
            self.ledger = Ledger.open(f"sqlite:///{Path(self.folder.name) / 'ledger.sqlite'}", now=self.clock)
        else:
            url = self.server.url(self.server.new_database())
            migrate(url)
            self.ledger = Ledger.open(url, now=self.clock)

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            assert self.ledger.verify().ok
            self.ledger.close()
            if self.server is None:
                self.folder.cleanup()

    @rule(
        target=runs,
        wishes=st.lists(
            st.tuples(
                st.sampled_from(IDS),
                st.sampled_from(OWNERS),
                st.sampled_from(["store.create", "store.create", "store.update", "store.delete"]),
            ),
            min_size=1,
            max_size=5,
            unique_by=lambda wish: wish[0],
        ),
    )
    def admit(self, wishes: list[tuple[str, str, str]]) -> str:
        run_id = f"run-{next(self.numbers)}"
        # Who deletes a store names its owner as it is.
        wishes = [(i, self.model.held.get(i, o) if a == "store.delete" else o, a) for i, o, a in wishes]
        wish = request([change(*values) for values in wishes], run_id=run_id, limits=LIMITS)
        expected = self.model.admit(run_id, wishes, self.clock.moment)
        admission = self.ledger.admit(wish)
        assert [c.store_id for c in admission.admitted] == expected
        if expected:
            assert self.ledger.admit(wish) == admission, "asked again, it is the same run"
        return run_id

    @rule(run_id=runs, ending=st.sampled_from(ENDINGS), reached=st.booleans(), gone=st.booleans())
    def settle(self, run_id: str, ending: tuple[str, Status], reached: bool, gone: bool) -> None:  # noqa: FBT001
        outcomes = []
        for (run, store_id), action in list(self.model.open.items()):
            if run != run_id:
                continue
            outcome, status = ending
            if action == "store.delete":
                status = "Deleted" if gone else "Deleting"
            outcomes.append(StoreOutcome(store_id, outcome, status, reached_engine=reached))  # type: ignore[arg-type]
            if action == "store.create" and not reached:
                status = "Pending"
                self.model.starts = [start for start in self.model.starts if start[:2] != (run_id, store_id)]
            elif not reached:
                self.model.starts = [start for start in self.model.starts if start[:2] != (run_id, store_id)]
            self.model.see(store_id, status)
            self.model.entries += 1
            del self.model.open[run, store_id]
        if outcomes:
            self.ledger.settle(run_id, outcomes)
            self.ledger.settle(run_id, outcomes)

    @rule(store_id=st.sampled_from(IDS), status=st.sampled_from(["Ready", "Failed", "Deleted"]))
    def mark(self, store_id: str, status: Status) -> None:
        if store_id in self.model.held or (store_id in self.model.status and status == "Deleted"):
            self.model.entries += self.model.status[store_id] != status
            self.model.see(store_id, status)
            self.ledger.mark(ENVIRONMENT, store_id, status, None)

    @rule(store_id=st.sampled_from(IDS), owner=st.sampled_from(OWNERS))
    def adopt(self, store_id: str, owner: str) -> None:
        self.ledger.adopt(ENVIRONMENT, [StoreRecord(store_id, store_id, owner, "01", "Failed")], request([]).actor)
        if store_id not in self.model.held:
            self.model.held[store_id] = self.model.owner[store_id] = owner
            self.model.status[store_id] = "Failed"
            self.model.entries += 1

    @rule(seconds=st.sampled_from([0.000001, 1, 29, 30, 59.999999, 60]))
    def wait(self, seconds: float) -> None:
        self.clock.moment += timedelta(seconds=seconds)

    @invariant()
    def tells_the_same(self) -> None:
        if not hasattr(self, "ledger"):
            return
        rows = self.ledger.stores(ENVIRONMENT, include_deleted=True)
        assert {row.store_id: row.status for row in rows} == self.model.status
        assert {row.store_id: row.owner for row in rows if row.holds_slot} == self.model.held
        usage = self.ledger.usage(ENVIRONMENT, LIMITS, {})
        assert usage.total_used == len(self.model.held)
        now = self.clock.moment
        found = {o.owner: (o.used, o.starts) for o in usage.owners}
        for owner in OWNERS:
            assert found.get(owner, (0, 0)) == (self.model.used(owner), self.model.counting(owner, now))
        counted = self.ledger._database.read(_counters)
        assert counted.pop("", 0) == len(self.model.held), "the counters are the sum of the stores"
        assert {owner: used for owner, used in counted.items() if used} == {
            owner: self.model.used(owner) for owner in OWNERS if self.model.used(owner)
        }
        open_changes = {(r.run_id, c.store_id) for r in self.ledger.open_runs(ENVIRONMENT) for c in r.changes}
        assert open_changes == set(self.model.open)
        assert self.ledger.anchor().seq == self.model.entries


def _counters(connection: Any) -> dict[str, int]:
    return {row.owner: row.used for row in connection.exec_driver_sql("SELECT owner, used FROM slots")}


def _run(server: MariadbServer | None, examples: int, steps: int, *, shrink: bool = True) -> None:
    machine = type("Machine", (LedgerMachine,), {"server": server})
    checks = list(HealthCheck)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=checks,
            database=None,
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        ),
    )


def test_sqlite_does_as_the_model() -> None:
    _run(None, 25, 20)


def test_mariadb_does_as_the_model(mariadb: MariadbServer) -> None:
    _run(mariadb, 10, 20)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_five_hundred_sequences_of_fifty_calls_do_as_the_model(
    mariadb: MariadbServer, kind: str, figures: Figures
) -> None:
    _run(None if kind == "sqlite" else mariadb, 500, 50)
    figures.reached(
        "8",
        f"state machine, {kind}",
        wanted="500 x 50 steps against one model, 0 divergences",
        seen="500 x 50 steps, 0 divergences",
    )


@pytest.mark.parametrize("defect", ["audit.settlement.holds_slot"])
def test_a_slot_that_is_given_back_too_early_is_caught(monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    """The claims above can fail: with a defect put in, they do."""
    monkeypatch.setattr(defect, lambda status, **_: status not in ("Pending", "Deleted", "Failed"))
    with pytest.raises(BaseException):  # noqa: B017, PT011 - an assertion, or a constraint of the database
        _run(None, 25, 20, shrink=False)
