"""Backups of several stores as one request: what failed is made again under its key, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit import backups
from audit.backup_requests import BackupResult, back_up
from audit.gate import Gate
from audit.ledger import Ledger
from audit.records import STORE_BACKUP
from stacks.errors import LockedError, StoreFailedError, UsageError
from tests.audit.ledger_samples import ALICE
from tests.audit.small_world import SmallWorld, block, make_project

TEA, BAR, PUB = "tea-bbbbb", "bar-ccccc", "pub-ddddd"
ALL = (TEA, BAR, PUB)
KEY = "before-the-sale"


class Killed(BaseException):
    """The end of the process, wherever it is."""


class Backups:
    """Backups that succeed, but for those of the stores in `failing`."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.failing: set[str] = set()
        self.meanwhile: Any = lambda _store_id: None

    def make(self, _cluster: object, store_id: str, *_: object, **__: object) -> dict[str, object]:
        self.meanwhile(store_id)
        if store_id in self.failing:
            raise StoreFailedError(f"store '{store_id}'", "its backup failed: no room", "make room")
        self.made.append(store_id)
        return {"snapshot_id": f"{len(self.made):064d}", "total_bytes_processed": 7}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Backups:
    found = Backups()
    monkeypatch.setattr(backups, "make", found.make)
    monkeypatch.setattr(backups, "server_of", lambda _gate: SimpleNamespace(ensure=lambda _ids: False))
    return found


@pytest.fixture
def gate(tmp_path: Path, ledger: Ledger, made: Backups, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    monkeypatch.setattr("audit.waiting.ASK_EVERY_S", 0.01)
    world = SmallWorld(make_project(tmp_path / "project"))
    world.write(*(block(store_id) for store_id in ALL))
    with world.gate(ledger) as opened:
        opened.up(actor=ALICE)
        yield opened


def backed_up(gate: Gate, store_ids: tuple[str, ...] | None = ALL, key: str | None = KEY) -> BackupResult:
    return back_up(gate, store_ids, actor=ALICE, note="before the sale", idempotency_key=key)


def told(result: BackupResult) -> list[tuple[str, bool, bool]]:
    return [(one.store_id, one.snapshot is not None, one.replayed) for one in result.stores]


@pytest.mark.parametrize("store_ids", [ALL, None, (TEA,)])
def test_the_same_request_is_answered_with_its_snapshots(
    gate: Gate, made: Backups, store_ids: tuple[str, ...] | None
) -> None:
    first = backed_up(gate, store_ids)
    before = gate.ledger.entries(None)
    again = backed_up(gate, store_ids)
    assert [(one.store_id, one.snapshot) for one in again.stores] == [
        (one.store_id, one.snapshot) for one in first.stores
    ]
    assert all(one.replayed for one in again.stores)
    assert sorted(made.made) == sorted(store_ids or ALL)
    assert gate.ledger.entries(None) == before
    assert len(backed_up(gate, store_ids, None).stores) == len(store_ids or ALL)
    assert len(made.made) == 2 * len(store_ids or ALL)


@pytest.mark.parametrize("failing", [{TEA}, {BAR}, {PUB}, {TEA, PUB}])
def test_what_failed_is_made_again_and_nothing_else(gate: Gate, made: Backups, failing: set[str]) -> None:
    made.failing = failing
    first = backed_up(gate)
    assert isinstance(first.exit_error, StoreFailedError)
    assert told(first) == [(store_id, store_id not in failing, False) for store_id in ALL]
    made.failing = set()
    second = backed_up(gate)
    assert second.exit_error is None
    assert told(second) == [(store_id, True, store_id not in failing) for store_id in ALL]
    assert sorted(made.made) == sorted(ALL)
    assert all(one.replayed for one in backed_up(gate).stores)


@pytest.mark.parametrize("parts_before", [0, 1])
def test_what_succeeded_since_its_key_was_asked_for_is_not_backed_up_again(
    gate: Gate, made: Backups, monkeypatch: pytest.MonkeyPatch, parts_before: int
) -> None:
    firsts: list[BackupResult] = []
    server_of, asked = backups.server_of, []

    def meanwhile(of: Any) -> Any:
        asked.append(of)
        if len(asked) == parts_before + 1:
            firsts.append(backed_up(gate))
        return server_of(of)

    monkeypatch.setattr(backups, "server_of", meanwhile)
    second = backed_up(gate)
    assert told(second) == [(store_id, True, True) for store_id in ALL]
    assert [one.snapshot for one in second.stores] == [one.snapshot for one in firsts[0].stores]
    assert sorted(made.made) == sorted(ALL)
    assert gate.ledger.open_runs(gate.environment) == []


@pytest.mark.parametrize("other", [(TEA,), None, (TEA, BAR, "new-eeeee")])
def test_other_stores_under_the_same_key_are_another_request(
    gate: Gate, made: Backups, other: tuple[str, ...] | None
) -> None:
    backed_up(gate)
    with pytest.raises(UsageError, match="used for another request"):
        backed_up(gate, other)
    assert len(made.made) == len(ALL)


def test_the_order_of_the_stores_is_no_part_of_the_request(gate: Gate, made: Backups) -> None:
    backed_up(gate)
    assert all(one.replayed for one in backed_up(gate, tuple(reversed(ALL))).stores)


def test_one_under_way_says_so(gate: Gate, made: Backups) -> None:
    said: list[str] = []

    def again(_store_id: str) -> None:
        with pytest.raises(LockedError) as caught:
            backed_up(gate)
        said.append(str(caught.value))

    made.meanwhile = again
    backed_up(gate)
    assert len(said) == len(ALL)
    assert all("the same request is in flight" in text for text in said)
    assert len(made.made) == len(ALL)


def test_a_process_that_was_killed_in_the_middle_is_gone_on_with(gate: Gate, made: Backups) -> None:
    def die(store_id: str) -> None:
        if store_id == BAR:
            raise Killed

    made.meanwhile = die
    with pytest.raises(Killed):
        backed_up(gate)
    made.meanwhile = lambda _store_id: None
    second = backed_up(gate)
    assert told(second) == [(TEA, True, True), (BAR, True, False), (PUB, True, False)]
    assert made.made == [TEA, BAR, PUB]
    outcomes = [entry.outcome for entry in gate.ledger.entries(gate.environment, action=STORE_BACKUP)]
    assert sorted(outcomes) == sorted(["unknown"] * 4 + ["success"] * 3 + ["failure"])


def test_a_store_that_is_not_there_is_told_and_what_was_made_before_counts(gate: Gate, made: Backups) -> None:
    asked = (TEA, "new-eeeee")
    with pytest.raises(UsageError, match="there is no such store"):
        backed_up(gate, asked)
    with pytest.raises(UsageError, match="there is no such store"):
        backed_up(gate, asked)
    assert made.made == [TEA]
