"""The audit log as it is written and read; on SQLite and on MariaDB."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.ledger import Ledger
from audit.records import Actor, NewEntry
from tests.audit.conftest import FakeClock
from tests.audit.ledger_samples import ALICE, ENVIRONMENT, ROBOT, create

HOSTILE = [
    "'; DROP TABLE audit_logs; --",
    "$(reboot)",
    "`id`",
    "--flag",
    "%s %(x)s :name ?",
    "nul\0inside",
    "line\nfeed\r\t\x1b[31mred",
    "\ud800 lone surrogate",
    "trailing blank ",
    "Zażółć 店 🏪",
    "\u202ereversed",
    "x" * 5000,
    "{{ 7*7 }}",
    "\\",
    '"quoted"',
]


def entry(**values: object) -> NewEntry:
    given: dict[str, object] = {"actor": ALICE, "action": "test.write", "outcome": "success"} | values
    return NewEntry(**given)  # type: ignore[arg-type]


def test_an_entry_comes_back_as_it_was_written(ledger: Ledger, clock: FakeClock) -> None:
    happened = datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
    written = ledger.record(
        entry(
            actor=ROBOT,
            environment=ENVIRONMENT,
            store_id="tea-1",
            owner="alice",
            run_id="run-1",
            reason="because",
            metadata={"n": 1, "deep": {"list": [1, "two", None, True, 0.5]}},
            occurred_at=happened,
        )
    )
    assert ledger.entries(ENVIRONMENT) == [written]
    assert (written.seq, written.occurred_at, written.recorded_at) == (1, happened, clock.moment)
    assert written.metadata == {"n": 1, "deep": {"list": [1, "two", None, True, 0.5]}}
    assert len(written.entry_id) == 36
    assert ledger.verify().ok


def test_every_filter_narrows_and_the_newest_come_first(ledger: Ledger, clock: FakeClock) -> None:
    rows = [
        entry(environment="prod", store_id="tea-1", owner="alice", run_id="r1"),
        entry(environment="prod", store_id="tea-2", owner="bob", run_id="r1", action="other"),
        entry(environment="local", store_id="tea-1", owner="alice", run_id="r2", actor=ROBOT),
        entry(),
    ]
    for row in rows:
        ledger.record(row)
        clock.move(minutes=1)

    def seqs(environment: str | None, **filters: object) -> list[int]:
        return [e.seq for e in ledger.entries(environment, **filters)]  # type: ignore[arg-type]

    assert seqs(None) == [4, 3, 2, 1]
    assert seqs(None, ascending=True, limit=2) == [1, 2]
    assert seqs("prod") == [2, 1]
    assert seqs(None, store_id="tea-1") == [3, 1]
    assert seqs("prod", store_id="tea-1", owner="alice") == [1]
    assert seqs(None, owner="bob") == [2]
    assert seqs(None, actor="robot") == [3]
    assert seqs(None, action="other") == [2]
    assert seqs(None, run_id="r1") == [2, 1]
    assert seqs(None, since_at=clock.moment - timedelta(minutes=2)) == [4, 3]
    assert seqs("nowhere") == []


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_kept_as_text_in_every_field(ledger: Ledger, text: str) -> None:
    written = ledger.record(
        entry(
            actor=Actor(text, "user", text),
            environment=text,
            store_id=text,
            owner=text,
            run_id=text,
            reason=text,
            action=text,
            metadata={text: text},
        )
    )
    assert ledger.entries(None) == [written]
    assert written.metadata == {text: text}
    if len(text) < 64 and "\ud800" not in text:
        assert {written.actor, written.owner, written.store_id, written.reason, written.environment} == {text}
        assert ledger.entries(text, owner=text) == [written]
    assert ledger.verify().ok


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(max_size=300),
    metadata=st.dictionaries(
        st.text(max_size=20),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=8,
        ),
        max_size=4,
    ),
    micros=st.integers(min_value=0, max_value=4_000_000_000_000_000),
)
def test_whatever_is_written_verifies(ledger: Ledger, name: str, metadata: dict[str, object], micros: int) -> None:
    happened = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    written = ledger.record(entry(actor=Actor(name, "user"), reason=name, metadata=metadata, occurred_at=happened))
    assert written.occurred_at == happened
    assert written.metadata == metadata
    assert ledger.entries(None, limit=1) == [written]
    assert ledger.verify().ok


def test_what_is_too_long_is_cut_with_a_mark(ledger: Ledger) -> None:
    written = ledger.record(entry(reason="x" * 5000, store_id="y" * 300, metadata={"z": "z" * 100_000}))
    assert written.reason == "x" * 3999 + "…"
    assert written.store_id == "y" * 254 + "…"
    assert written.metadata["too_long"] == 100_008
    whole = ledger.record(entry(reason="x" * 4000, store_id="y" * 255))
    assert (whole.reason, whole.store_id) == ("x" * 4000, "y" * 255)
    assert ledger.verify().ok


@pytest.mark.parametrize("value", [b"bytes", object(), {1, 2}, float("nan")])
def test_metadata_that_has_no_one_text_is_refused(ledger: Ledger, value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        ledger.record(entry(metadata={"value": value}))
    assert ledger.entries(None) == []


def test_anchors_say_where_the_log_ends(ledger: Ledger, clock: FakeClock) -> None:
    empty = ledger.anchor()
    create(ledger, 2)
    anchor = ledger.anchor()
    assert (empty.seq, anchor.seq, anchor.at, anchor.chain_id) == (0, 4, clock.moment, empty.chain_id)
    assert anchor.hash == ledger.entries(None)[0].hash
    assert ledger.verify([empty, anchor]).entries == 4


def test_one_entry_is_found_by_its_number_and_by_its_id(ledger: Ledger) -> None:
    written = [ledger.record(NewEntry(ALICE, "test.write", "success", environment=name)) for name in ("a", "b")]
    for entry in written:
        assert ledger.entry(entry.seq) == entry
        assert ledger.entry(entry.entry_id) == entry
    assert ledger.entry(3) is None
    assert ledger.entry("3") is None


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_a_stream_gives_every_entry_once_by_number_whatever_the_page(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("audit.audit_log._PAGE", 2)
    written = [ledger.record(NewEntry(ALICE, "test.write", "success")) for _ in range(count)]
    assert list(ledger.stream()) == written
    assert list(ledger.stream(after=1)) == written[1:]


def test_a_stream_ends_at_what_was_the_last_entry_when_it_began(ledger: Ledger) -> None:
    ledger.record(NewEntry(ALICE, "test.write", "success"))
    seqs = []
    for entry in ledger.stream():
        seqs.append(entry.seq)
        ledger.record(NewEntry(ALICE, "test.write", "success"))
    assert seqs == [1]
