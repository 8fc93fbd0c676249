"""What was done to the log is named, with the first bad entry; on SQLite and on MariaDB.

The tamperer is the database's owner: triggers and rights do not hold him.
"""

# ruff: noqa: S608 - these statements are written by hand on purpose, from the test's own constants

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Protocol

import pytest
from sqlalchemy.engine import make_url

from audit import chain, verification
from audit.anchors import Anchor
from audit.ledger import Ledger
from audit.records import NewEntry
from tests.audit.ledger_samples import ALICE
from tests.audit.mariadb_server import MariadbServer

COUNT = 12
COLUMNS = (*chain.HASHED_COLUMNS, "prev_hash", "hash")


class Database(Protocol):
    """The log as its tamperer sees it: plain SQL, nothing in the way."""

    def __call__(self, statement: str) -> list[tuple[Any, ...]]: ...


@contextmanager
def _sqlite(url: str) -> Iterator[Database]:
    with closing(sqlite3.connect(str(make_url(url).database), isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        yield lambda statement: connection.execute(statement).fetchall()


@contextmanager
def _mariadb(url: str, server: MariadbServer) -> Iterator[Database]:
    with closing(server.connect(make_url(url).database)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW TRIGGERS")
        for row in cursor.fetchall():
            cursor.execute(f"DROP TRIGGER {row[0]}")

        def run(statement: str) -> list[tuple[Any, ...]]:
            cursor.execute(statement)
            return list(cursor.fetchall())

        yield run


@pytest.fixture
def log(ledger: Ledger) -> Ledger:
    """Return a ledger with COUNT entries."""
    for number in range(COUNT):
        ledger.record(NewEntry(ALICE, "test.write", "success", owner="alice", metadata={"number": number}))
    return ledger


@pytest.fixture
def tamper(log: Ledger, ledger_url: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """Return the log's database without its fences."""
    if ledger_url.startswith("sqlite"):
        with _sqlite(ledger_url) as database:
            yield database
    else:
        with _mariadb(ledger_url, request.getfixturevalue("mariadb")) as database:
            yield database


def _rows(run: Database, since: int = 1) -> list[dict[str, Any]]:
    columns = ", ".join(COLUMNS)
    return [
        dict(zip(COLUMNS, row, strict=True))
        for row in run(f"SELECT {columns} FROM audit_logs WHERE seq >= {since} ORDER BY seq")
    ]


def _text(value: object) -> str:
    return "NULL" if value is None else str(value) if isinstance(value, int) else "'" + str(value) + "'"


def _insert(run: Database, row: dict[str, Any]) -> None:
    run(f"INSERT INTO audit_logs ({', '.join(row)}) VALUES ({', '.join(_text(value) for value in row.values())})")


def _shift(run: Database, since: int, by: int) -> None:
    for row in sorted(_rows(run, since), key=lambda r: r["seq"], reverse=by > 0):
        run(f"UPDATE audit_logs SET seq = {row['seq'] + by} WHERE seq = {row['seq']}")


def _seal_from(run: Database, since: int) -> None:
    """Recompute every hash from `since` on, and the head."""
    rows = _rows(run, since)
    (before,) = run(f"SELECT hash FROM audit_logs WHERE seq = {since - 1}")
    prev = before[0]
    for row in rows:  # out of each other's way: no two may follow the same entry
        run(f"UPDATE audit_logs SET prev_hash = 'aside {row['seq']}' WHERE seq = {row['seq']}")
    for row in rows:
        sealed = chain.entry_hash(prev, [row[name] for name in chain.HASHED_COLUMNS])
        run(f"UPDATE audit_logs SET prev_hash = '{prev}', hash = '{sealed}' WHERE seq = {row['seq']}")
        prev = sealed
    run(f"UPDATE audit_head SET seq = {rows[-1]['seq']}, hash = '{prev}'")


def _edit(column: str, value: str) -> Callable[[Database], None]:
    return lambda run: void(run(f"UPDATE audit_logs SET {column} = {value} WHERE seq = 5"))


def void(_: object) -> None:
    return None


def _edit_with_its_own_hash(run: Database) -> None:
    row = _rows(run, 5)[0] | {"owner": "mallory"}
    sealed = chain.entry_hash(row["prev_hash"], [row[name] for name in chain.HASHED_COLUMNS])
    run(f"UPDATE audit_logs SET owner = 'mallory', hash = '{sealed}' WHERE seq = 5")


def _edit_the_last_with_its_own_hash(run: Database) -> None:
    row = _rows(run, COUNT)[0] | {"owner": "mallory"}
    sealed = chain.entry_hash(row["prev_hash"], [row[name] for name in chain.HASHED_COLUMNS])
    run(f"UPDATE audit_logs SET owner = 'mallory', hash = '{sealed}' WHERE seq = {COUNT}")


def _delete_and_close_the_gap(run: Database) -> None:
    run("DELETE FROM audit_logs WHERE seq = 5")
    _shift(run, 6, -1)
    run(f"UPDATE audit_head SET seq = {COUNT - 1}")


def _delete_two_and_close_the_gap(run: Database) -> None:
    run("DELETE FROM audit_logs WHERE seq IN (5, 6)")
    _shift(run, 7, -2)
    run(f"UPDATE audit_head SET seq = {COUNT - 2}")


def _cut_with_head(run: Database) -> None:
    run(f"DELETE FROM audit_logs WHERE seq > {COUNT - 3}")
    (row,) = _rows(run, COUNT - 3)
    run(f"UPDATE audit_head SET seq = {COUNT - 3}, hash = '{row['hash']}'")


def _insert_in_the_middle(run: Database) -> None:
    _shift(run, 5, 1)
    forged = _rows(run, 4)[0] | {"seq": 5, "entry_id": "forged", "prev_hash": "f" * 64, "hash": "e" * 64}
    _insert(run, forged)
    run(f"UPDATE audit_head SET seq = {COUNT + 1}")


def _insert_sealed_in_the_middle(run: Database) -> None:
    _shift(run, 5, 1)
    before = _rows(run, 4)[0]
    forged = before | {"seq": 5, "entry_id": "forged", "prev_hash": before["hash"][::-1]}
    forged["hash"] = chain.entry_hash(forged["prev_hash"], [forged[name] for name in chain.HASHED_COLUMNS])
    _insert(run, forged)
    run(f"UPDATE audit_head SET seq = {COUNT + 1}")


def _insert_behind_the_head(run: Database) -> None:
    last = _rows(run, COUNT)[0]
    forged = last | {"seq": COUNT + 1, "entry_id": "forged", "prev_hash": last["hash"]}
    forged["hash"] = chain.entry_hash(forged["prev_hash"], [forged[name] for name in chain.HASHED_COLUMNS])
    _insert(run, forged)


def _swap_numbers(run: Database) -> None:
    for old, new in ((5, 999), (8, 5), (999, 8)):
        run(f"UPDATE audit_logs SET seq = {new} WHERE seq = {old}")


def _swap_contents(run: Database) -> None:
    five, eight = _rows(run, 5)[0], _rows(run, 8)[0]
    run("UPDATE audit_logs SET entry_id = 'aside' WHERE seq = 5")
    for target, row in ((8, five), (5, eight)):
        values = ", ".join(f"{name} = {_text(row[name])}" for name in chain.HASHED_COLUMNS[1:])
        run(f"UPDATE audit_logs SET {values} WHERE seq = {target}")


def _swap_sealed_contents(run: Database) -> None:
    """Everything changes places but the numbers and what each says it follows."""
    five, eight = _rows(run, 5)[0], _rows(run, 8)[0]
    _swap_contents(run)
    for target, row in ((8, five), (5, eight)):
        run(f"UPDATE audit_logs SET hash = '{row['hash']}' WHERE seq = {target}")


def _rewrite(run: Database) -> None:
    run("UPDATE audit_logs SET owner = 'mallory' WHERE seq = 5")
    _seal_from(run, 5)


def _delete_and_rewrite(run: Database) -> None:
    _delete_and_close_the_gap(run)
    _seal_from(run, 5)


WITHOUT_ANCHOR: list[tuple[str, Callable[[Database], None], str, int]] = [
    ("owner", _edit("owner", "'mallory'"), "edit", 5),
    ("actor", _edit("actor", "'mallory'"), "edit", 5),
    ("outcome", _edit("outcome", "'failure'"), "edit", 5),
    ("metadata", _edit("metadata", "'{\"number\": 4}'"), "edit", 5),
    ("reason from null", _edit("reason", "''"), "edit", 5),
    ("time", _edit("recorded_at", "recorded_at + 1"), "edit", 5),
    ("hash", _edit("hash", f"'{'0' * 64}'"), "edit", 5),
    ("number", _edit("seq", "77"), "edit", 5),
    ("edit with its own hash", _edit_with_its_own_hash, "edit", 5),
    ("edit of the last with its own hash", _edit_the_last_with_its_own_hash, "edit", COUNT),
    ("delete", lambda run: void(run("DELETE FROM audit_logs WHERE seq = 5")), "deletion", 5),
    ("delete the first", lambda run: void(run("DELETE FROM audit_logs WHERE seq = 1")), "deletion", 1),
    ("delete and renumber", _delete_and_close_the_gap, "deletion", 5),
    ("delete two and renumber", _delete_two_and_close_the_gap, "deletion", 5),
    ("delete the tail", lambda run: void(run("DELETE FROM audit_logs WHERE seq >= 10")), "truncation", 10),
    ("delete all", lambda run: void(run("DELETE FROM audit_logs")), "truncation", 1),
    ("insert", _insert_in_the_middle, "insertion", 5),
    ("insert with its own hash", _insert_sealed_in_the_middle, "insertion", 5),
    ("insert at the end", _insert_behind_the_head, "insertion", COUNT + 1),
    ("swap numbers", _swap_numbers, "swap", 5),
    ("swap contents", _swap_contents, "swap", 5),
    ("swap contents with their hashes", _swap_sealed_contents, "swap", 5),
]


def check_named(log: Ledger, named: str, first: int, anchors: Sequence[Anchor] = ()) -> None:
    """Assert that what was done to the log is named, with the first bad entry."""
    found = log.verify(anchors)
    assert (found.tampering, found.first_bad_seq) == (named, first), str(found)
    assert not found.ok


@pytest.mark.parametrize(
    ("act", "named", "first"), [case[1:] for case in WITHOUT_ANCHOR], ids=[case[0] for case in WITHOUT_ANCHOR]
)
def test_tampering_is_named_with_the_first_bad_entry(
    log: Ledger, tamper: Database, act: Callable[[Database], None], named: str, first: int
) -> None:
    assert log.verify().ok
    act(tamper)
    check_named(log, named, first)
    assert log.verify().entries == first - 1


WITH_ANCHOR = pytest.mark.parametrize(
    ("act", "named", "first"),
    [(_rewrite, "rewrite", 5), (_delete_and_rewrite, "rewrite", 5), (_cut_with_head, "truncation", COUNT - 2)],
    ids=["rewrite", "delete and rewrite", "truncation with its head"],
)


@WITH_ANCHOR
def test_what_has_matching_hashes_is_named_by_an_anchor_and_by_nothing_else(
    log: Ledger, tamper: Database, act: Callable[[Database], None], named: str, first: int
) -> None:
    anchors = [_anchor_after(tamper, log, 4), _anchor_after(tamper, log, 8), log.anchor()]
    act(tamper)
    assert log.verify().ok, "without an anchor this cannot be seen"
    check_named(log, named, first, anchors)
    # One anchor alone tells less, but that something was done is seen.
    assert not log.verify(anchors[2:]).ok


@WITH_ANCHOR
def test_a_verification_that_goes_by_no_anchor_is_caught(
    log: Ledger,
    tamper: Database,
    monkeypatch: pytest.MonkeyPatch,
    *,
    act: Callable[[Database], None],
    named: str,
    first: int,
) -> None:
    """The check of the matrix can fail: where anchors are taken and not looked at, it does, in all of these cases."""
    anchors = [_anchor_after(tamper, log, 4), _anchor_after(tamper, log, 8), log.anchor()]
    verify = verification.verify
    monkeypatch.setattr(verification, "verify", lambda connection, _anchors: verify(connection, ()))
    act(tamper)
    with pytest.raises(AssertionError, match="chain unbroken"):
        check_named(log, named, first, anchors)


@pytest.mark.parametrize("act", [_rewrite, _delete_and_rewrite])
def test_a_rewrite_that_is_written_on_is_seen_by_the_next_run_and_by_verify(
    log: Ledger, tamper: Database, act: Callable[[Database], None]
) -> None:
    """What a run asks is one question about the last anchor: it must not be one about the end alone."""
    anchor = log.anchor()
    assert log.holds(anchor)
    act(tamper)
    for _ in range(2):
        log.record(NewEntry(ALICE, "test.write", "success"))
    assert log.verify().ok, "without an anchor this cannot be seen"
    assert log.anchor().seq > anchor.seq
    assert not log.holds(anchor)
    found = log.verify([anchor])
    assert (found.tampering, found.first_bad_seq) == ("rewrite", 1), str(found)


def test_a_log_that_only_grew_holds_each_of_its_ends(ledger: Ledger) -> None:
    ends = [ledger.anchor()]
    for _ in range(3):
        ledger.record(NewEntry(ALICE, "test.write", "success"))
        ends.append(ledger.anchor())
    assert [ledger.holds(end) for end in ends] == [True] * 4
    assert not ledger.holds(Anchor("another", 1, ends[1].hash, ends[1].at))
    assert not ledger.holds(Anchor(ends[0].chain_id, 0, ends[1].hash, ends[1].at))
    assert not ledger.holds(Anchor(ends[0].chain_id, 9, ends[3].hash, ends[3].at))


def test_an_anchor_of_another_log_says_so(log: Ledger) -> None:
    anchor = log.anchor()
    stranger = Anchor("another", anchor.seq, anchor.hash, anchor.at)
    assert log.verify([stranger]).tampering == "rewrite"


def test_a_whole_log_replaced_by_a_new_one_is_seen(log: Ledger, tamper: Database) -> None:
    anchor = log.anchor()
    tamper("DELETE FROM audit_logs")
    tamper(f"UPDATE audit_head SET chain_id = 'new', seq = 0, hash = '{chain.genesis_hash('new')}'")
    log.record(NewEntry(ALICE, "test.write", "success"))
    assert log.verify().ok
    assert log.verify([anchor]).tampering == "rewrite"


def test_more_entries_than_one_batch_are_walked(log: Ledger, tamper: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.verification._BATCH", 5)
    assert log.verify().entries == COUNT
    tamper(f"UPDATE audit_logs SET owner = 'mallory' WHERE seq = {COUNT}")
    assert log.verify().first_bad_seq == COUNT


def _anchor_after(run: Database, log: Ledger, seq: int) -> Anchor:
    head = log.anchor()
    return Anchor(head.chain_id, seq, _rows(run, seq)[0]["hash"], head.at)
