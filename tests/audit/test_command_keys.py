"""Idempotency keys of commands that are about no single store: reconcile in its three forms, the archive of the log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from audit import archives, failures, segments
from audit.archives import Archived
from audit.gate import Gate
from audit.ledger import Ledger
from audit.records import AUDIT_ARCHIVE, RUN_RECONCILE, STATE_IMPORT, TICKET_CLOSE, NewEntry
from stacks.errors import DatabaseUnreachableError, LockedError, UsageError
from tests.audit.conftest import FakeClock
from tests.audit.ledger_samples import ALICE, holder
from tests.audit.small_world import SmallWorld, block, make_project

TEA, BAR = "tea-bbbbb", "bar-ccccc"
KEY = "nightly-7"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallWorld:
    monkeypatch.setattr("audit.waiting.ASK_EVERY_S", 0.01)
    made = SmallWorld(make_project(tmp_path / "project"))
    made.write(block(TEA))
    return made


@pytest.fixture
def gate(world: SmallWorld, ledger: Ledger) -> Iterator[Gate]:
    with world.gate(ledger) as opened:
        opened.up(actor=ALICE)
        yield opened


def reconciled(gate: Gate, key: str | None = KEY) -> Any:
    return gate.reconcile(actor=ALICE, idempotency_key=key)


def test_a_reconciliation_is_answered_with_what_it_found(gate: Gate, world: SmallWorld) -> None:
    first = reconciled(gate)
    assert (first.replayed, first.nothing_to_do) == (False, True)
    world.broken.add(TEA)
    before = gate.ledger.entries(None)
    again = reconciled(gate)
    assert (again.replayed, again.run_id, again.exit_error) == (True, first.run_id, None)
    assert [(one.store_id, one.status, one.url) for one in again.stores] == [
        (one.store_id, one.status, one.url) for one in first.stores
    ]
    assert gate.ledger.entries(None) == before
    assert reconciled(gate, None).exit_error is not None


def test_one_that_found_a_store_broken_is_made_again_under_its_key(gate: Gate, world: SmallWorld) -> None:
    world.broken.add(TEA)
    assert reconciled(gate).exit_error is not None
    world.broken.clear()
    second = reconciled(gate)
    assert (second.replayed, second.stores[0].status) == (False, "Ready")
    assert reconciled(gate).run_id == second.run_id
    outcomes = [entry.outcome for entry in gate.ledger.entries(gate.environment, action=RUN_RECONCILE)]
    assert outcomes == ["success", "failure"]


def test_without_a_key_a_reconciliation_leaves_no_entry_of_its_own(gate: Gate) -> None:
    before = gate.ledger.entries(None)
    reconciled(gate, None)
    assert gate.ledger.entries(None) == before


def test_one_under_way_says_so_and_one_that_was_killed_is_made_again(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    said: list[str] = []
    ask = gate.entrance.ask

    def meanwhile(*_: Any, **__: Any) -> Any:
        monkeypatch.setattr(gate.entrance, "ask", ask)
        with pytest.raises(LockedError) as caught:
            reconciled(gate)
        said.append(str(caught.value))
        raise Killed

    monkeypatch.setattr(gate.entrance, "ask", meanwhile)
    with pytest.raises(Killed):
        reconciled(gate)
    assert "the same request is in flight" in said[0]
    assert not reconciled(gate).replayed
    assert reconciled(gate).replayed


def test_reconcile_its_variants_and_other_commands_are_other_requests(gate: Gate, tmp_path: Path) -> None:
    reconciled(gate)
    with pytest.raises(UsageError, match="used for another request"):
        gate.take_over(actor=ALICE, idempotency_key=KEY)
    with pytest.raises(UsageError, match="used for another request"):
        gate.up(actor=ALICE, idempotency_key=KEY)
    with pytest.raises(UsageError, match="used for another request"):
        archived(gate.ledger, tmp_path / "a.jsonl")


def test_an_import_is_answered_with_what_was_taken_up(
    gate: Gate, world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = world._file(TEA, "01", "state")
    lost = state.read_text()
    state.unlink()
    monkeypatch.setattr("audit.reconcile.generated_values", lambda _secret: {"database-password": "x"})
    monkeypatch.setattr(SmallWorld, "secret", lambda *_: {}, raising=False)
    monkeypatch.setattr(SmallWorld, "plant", lambda *_: state.write_text(lost), raising=False)
    first = gate.take_over(actor=ALICE, idempotency_key=KEY)
    assert [(one.store_id, one.status) for one in first.stores] == [(TEA, "Ready")]
    state.unlink()
    again = gate.take_over(actor=ALICE, idempotency_key=KEY)
    assert (again.replayed, again.run_id, [one.store_id for one in again.stores]) == (True, first.run_id, [TEA])
    assert not state.exists()
    assert len(gate.ledger.entries(gate.environment, action=STATE_IMPORT)) == 2
    with pytest.raises(UsageError, match="used for another request"):
        gate.reconcile(actor=ALICE, idempotency_key=KEY)


def test_a_ticket_is_closed_once_under_a_key(gate: Gate, world: SmallWorld, tmp_path: Path) -> None:
    world.write(block(TEA), block(BAR))
    gate.admit(tmp_path / "one", actor=ALICE, valid_s=600)
    world._file(BAR, "01", "namespace").touch()
    world._file(BAR, "01", "state").write_text(json.dumps(gate._observe(gate.manifest()).desired[BAR].to_dict()))

    def close() -> Any:
        return gate.close_ticket(tmp_path / "one", actor=ALICE, idempotency_key=KEY)

    first = close()
    assert [(one.store_id, one.status) for one in first.stores] == [(BAR, "Ready")]
    before = gate.ledger.entries(None)
    again = close()
    assert (again.replayed, [(one.store_id, one.status) for one in again.stores]) == (True, [(BAR, "Ready")])
    assert gate.ledger.entries(None) == before
    assert [entry.outcome for entry in gate.ledger.entries(gate.environment, action=TICKET_CLOSE)] == ["success"]
    gate.admit(tmp_path / "two", actor=ALICE, valid_s=600)


# --- the archive of the log


@pytest.fixture
def aged(ledger: Ledger, clock: FakeClock) -> Ledger:
    """Return a log with ten entries of 100 days ago and five of now."""
    for count, days in ((10, 100), (5, 0)):
        for _ in range(count):
            ledger.record(NewEntry(ALICE, "test.write", "success"))
        clock.move(days=days)
    return ledger


def archived(
    ledger: Ledger,
    file: Path,
    *,
    before: str = "60d",
    key: str | None = KEY,
    tell: Callable[[str], None] = lambda _text: None,
) -> Archived:
    moment = (before, ledger.now() - timedelta(days=int(before[:-1])))
    return archives.archive(
        ledger, file, before=moment, actor=ALICE, reason="a year has passed", idempotency_key=key, tell=tell
    )


def test_an_archive_that_is_asked_for_again_is_the_one_that_was_written(
    aged: Ledger, clock: FakeClock, tmp_path: Path
) -> None:
    file = tmp_path / "a.jsonl"
    first = archived(aged, file)
    assert first.segment is not None
    assert first.segment.entries == 10
    clock.move(days=6)
    written, entries = file.read_bytes(), aged.entries(None)
    again = archived(aged, file)
    assert again == Archived(first.segment, "a.jsonl", replayed=True)
    assert archived(aged, tmp_path / "b.jsonl") == again, "it says which file they are in"
    assert not (tmp_path / "b.jsonl").exists()
    assert (file.read_bytes(), aged.entries(None)) == (written, entries)
    with pytest.raises(UsageError, match="used for another request"):
        archived(aged, file, before="61d")
    with pytest.raises(UsageError, match="it exists"):
        archived(aged, file, key=None)


def test_that_nothing_was_old_enough_is_an_answer_too(aged: Ledger, tmp_path: Path) -> None:
    assert archived(aged, tmp_path / "a.jsonl", before="200d") == Archived(None, str(tmp_path / "a.jsonl"))
    assert archived(aged, tmp_path / "a.jsonl", before="200d") == Archived(None, "a.jsonl", replayed=True)
    assert not (tmp_path / "a.jsonl").exists()


def test_an_archive_that_failed_is_made_again_under_its_key(aged: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("something else")
    with pytest.raises(UsageError, match="it exists"):
        archived(aged, file)
    file.unlink()
    assert archived(aged, file).segment is not None
    assert [entry.outcome for entry in aged.entries(None, action=AUDIT_ARCHIVE)] == ["success", "failure"]


def test_an_archive_that_was_killed_before_its_purge_goes_on_under_its_key_in_another_file(
    aged: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    write, left = segments._write, tmp_path / "a.jsonl"

    def write_and_die(*given: Any) -> None:
        write(*given)
        raise Killed

    monkeypatch.setattr(segments, "_write", write_and_die)
    with pytest.raises(Killed):
        archived(aged, left)
    monkeypatch.undo()
    with pytest.raises(UsageError, match="only if the new one begins with the same line"):
        archived(aged, left)
    done = archived(aged, tmp_path / "b.jsonl")
    assert (done.replayed, done.segment) == (False, segments.read(tmp_path / "b.jsonl"))
    first, *_ = left.read_text().splitlines()
    assert (tmp_path / "b.jsonl").read_text().startswith(first)
    assert archived(aged, left) == Archived(done.segment, "b.jsonl", replayed=True)


def test_a_database_that_hangs_at_the_purge_is_not_waited_for_again(
    aged: Ledger, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commit took place, and its answer is lost with all that are asked for after it."""
    database, told, asked = aged._database, list[str](), list[str]()
    write = database.write

    def hang(work: Any, **more: Any) -> Any:
        if database.hung is None and "purge" not in work.__qualname__:
            return write(work, **more)
        if database.hung is None:
            write(work, **more)
            database.hung = DatabaseUnreachableError("ledger", f"timed out ({failures.NOT_KNOWN})", "look")
            raise database.hung
        asked.append(work.__qualname__)
        raise DatabaseUnreachableError("ledger", f"timed out ({failures.NOTHING_CHANGED})", "look")

    read = database.read

    def read_or_hang(work: Any) -> Any:
        return read(work) if database.hung is None else hang(work)

    monkeypatch.setattr(database, "write", hang)
    monkeypatch.setattr(database, "read", read_or_hang)
    file = tmp_path / "a.jsonl"
    with pytest.raises(DatabaseUnreachableError) as caught:
        archived(aged, file, tell=told.append)
    assert "whether they were purged from the database is not known: timed out; keep it" in str(caught.value)
    assert asked == []
    assert "the lease of the log could not be given back" in told[0]

    monkeypatch.undo()
    database.hung = None
    clock.move(seconds=61)  # the lease has ended
    assert archived(aged, tmp_path / "b.jsonl") == Archived(segments.read(file), "a.jsonl", replayed=True)


def test_an_archive_that_is_purged_and_not_removed_speaks_for_its_key(
    aged: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(_database: object) -> None:
        if aged.beginning()[0]:
            raise DatabaseUnreachableError("ledger", "gone", "start it")

    monkeypatch.setattr(segments, "_remove", lose)
    with pytest.raises(DatabaseUnreachableError, match="not all of them could be removed"):
        archived(aged, tmp_path / "a.jsonl")
    monkeypatch.undo()
    again = archived(aged, tmp_path / "a.jsonl")
    assert again == Archived(segments.read(tmp_path / "a.jsonl"), "a.jsonl", replayed=True)


def test_two_do_not_archive_at_the_same_time_and_the_same_one_is_told_so(
    aged: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    archive = aged.archive

    def meanwhile(*given: Any, **named: Any) -> Any:
        for key in (KEY, "another", None):
            with pytest.raises(LockedError) as caught:
                archived(aged, tmp_path / "a.jsonl", key=key)
            said.append(str(caught.value))
        return archive(*given, **named)

    monkeypatch.setattr(aged, "archive", meanwhile)
    assert archived(aged, tmp_path / "a.jsonl").segment is not None
    assert ["the same request is in flight" in text for text in said] == [True, False, False]
    assert all("is being changed by alice" in text for text in said[1:])


def test_a_file_that_came_into_being_meanwhile_is_never_written_over(
    aged: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the only copy of what somebody else has purged."""
    file = tmp_path / "a.jsonl"
    hardlink = Path.hardlink_to

    def late(new: Path, old: Path) -> None:
        new.write_text("another's")
        hardlink(new, old)

    monkeypatch.setattr(Path, "hardlink_to", late)
    with pytest.raises(UsageError, match="it exists"):
        archived(aged, file)
    assert file.read_text() == "another's"
    assert sorted(tmp_path.glob(".a.jsonl*")) == []
    assert aged.verify().ok
    assert len([entry for entry in aged.entries(None) if entry.action == "test.write"]) == 15


def test_whoever_has_lost_the_log_purges_nothing(aged: Ledger, clock: FakeClock, tmp_path: Path) -> None:
    moment = clock.moment - timedelta(days=60)
    mine = aged.acquire_lease(archives.LOG, archives.LOG, holder("one"), 60)
    clock.move(seconds=61)
    aged.acquire_lease(archives.LOG, archives.LOG, holder("two"), 60)
    with pytest.raises(LockedError, match="taken over"):
        aged.archive(tmp_path / "a.jsonl", before=moment, actor=ALICE, run_id="one", held=(mine,))
    assert not (tmp_path / "a.jsonl").exists()
    assert aged.beginning()[0] == 0
