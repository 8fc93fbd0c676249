"""One who may only look sees the same as the ledger itself, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from audit.ledger import Ledger
from audit.limits import Limits, OwnerLimits
from audit.reading import Reader
from audit.records import NewEntry
from tests.audit.ledger_samples import ALICE, ENVIRONMENT, ROBOT, change, create, outcomes, request


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """Return a ledger with stores of two owners, one of them gone, and entries of all kinds, by the server's clock."""
    with Ledger.open(ledger_url) as opened:
        create(opened, 3)
        create(opened, 1, "bob")
        gone = request([change("alice-000", action="store.delete")], actor=ROBOT)
        opened.settle(gone.run_id, outcomes(opened.admit(gone), "Deleted"))
        opened.record(NewEntry(ALICE, "test.write", "success", reason="ä ' % ? \\ \u2028", metadata={"a": [1, "ü"]}))
        yield opened


@pytest.fixture
def reader(ledger: Ledger, ledger_url: str) -> Iterator[Reader]:
    assert ledger
    with Reader.open(ledger_url) as opened:
        yield opened


def test_stores_and_use_are_the_ledgers(ledger: Ledger, reader: Reader) -> None:
    assert reader.stores(ENVIRONMENT) == ledger.stores(ENVIRONMENT)
    assert reader.stores(ENVIRONMENT, include_deleted=True) == ledger.stores(ENVIRONMENT, include_deleted=True)
    own = {"carol": OwnerLimits(stores=2)}
    seen, known = (one.usage(ENVIRONMENT, Limits(), own) for one in (reader, ledger))
    assert [replace(one, retry_at=None) for one in seen.owners] == [replace(one, retry_at=None) for one in known.owners]
    assert [(one.owner, one.used, one.starts) for one in seen.owners] == [
        ("alice", 2, 3),
        ("bob", 1, 1),
        ("carol", 0, 0),
    ]
    assert seen.total_used == 3


@pytest.mark.parametrize(
    "filters",
    [
        {}, {"store_id": "alice-001"}, {"owner": "bob"}, {"actor": "robot"}, {"action": "store.delete"},
        {"outcome": "unknown"}, {"run_id": "nothing' OR '1"}, {"owner": "alice", "outcome": "success", "limit": 2},
        {"ascending": True, "limit": 3},
    ],
)  # fmt: skip
def test_every_filter_and_order_finds_what_the_ledger_finds(
    ledger: Ledger, reader: Reader, filters: dict[str, object]
) -> None:
    assert reader.entries(ENVIRONMENT, **filters) == ledger.entries(ENVIRONMENT, **filters)  # type: ignore[arg-type]
    assert reader.entries(None, **filters) == ledger.entries(None, **filters)  # type: ignore[arg-type]


def test_times_bound_what_is_found(ledger: Ledger, reader: Reader) -> None:
    last = ledger.entries(None)[0].recorded_at
    for bounds in ({"since_at": last}, {"until_at": last}, {"since_at": last + timedelta(microseconds=1)}):
        assert reader.entries(None, **bounds) == ledger.entries(None, **bounds)


def test_pages_follow_each_other_without_a_gap(ledger: Ledger, reader: Reader) -> None:
    every = [entry.seq for entry in ledger.entries(None, limit=1000)]
    pages: list[int] = []
    while found := reader.entries(None, limit=4, before_seq=pages[-1] if pages else None):
        pages += [entry.seq for entry in found]
    assert pages == every
    assert [entry.seq for entry in reader.entries(None, after_seq=2, ascending=True, limit=2)] == [3, 4]


def test_one_entry_is_found_by_its_number_and_by_its_id(ledger: Ledger, reader: Reader) -> None:
    entry = ledger.entries(None)[0]
    assert reader.entry(entry.seq) == reader.entry(entry.entry_id) == entry
    assert reader.entry(10**6) is reader.entry("nobody's") is None


def test_a_filter_that_there_is_not_is_a_defect(reader: Reader) -> None:
    with pytest.raises(TypeError, match="no such filter: cell"):
        reader.entries(None, cell="01")
