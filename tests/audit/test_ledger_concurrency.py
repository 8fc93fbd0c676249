"""Many processes at once: nothing oversubscribes, nothing forks, nobody sees a database error.

Short forms, for every run.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pymysql
import pytest
from sqlalchemy.engine import make_url

from audit.ledger import Ledger
from audit.limits import Limits
from audit.migrations import migrate
from audit.records import Actor, NewEntry
from audit.tables import to_us
from bench.ledger import is_exact, is_one_chain
from tests.audit import ledger_workers
from tests.audit.ledger_checks import check_chain, check_creations
from tests.audit.ledger_samples import ENVIRONMENT, change, holder, request
from tests.audit.mariadb_server import MariadbServer
from tests.figures import Figures


@pytest.mark.parametrize(("processes", "requests"), [(16, 5)])
def test_sixteen_processes_fill_the_limits_exactly(mariadb_url: str, processes: int, requests: int) -> None:
    limits = Limits(stores_per_owner=4, creates_per_hour=3, stores_total=20)
    answers = ledger_workers.run(
        processes, ledger_workers.create_stores, mariadb_url, ledger_workers.Load(requests, 9, limits)
    )
    check_creations(mariadb_url, answers, limits, processes * requests)


def test_eight_processes_fill_the_limits_exactly_on_sqlite(sqlite_url: str) -> None:
    limits = Limits(stores_per_owner=4, creates_per_hour=3, stores_total=10)
    answers = ledger_workers.run(8, ledger_workers.create_stores, sqlite_url, ledger_workers.Load(5, 6, limits))
    check_creations(sqlite_url, answers, limits, 40)


def test_eight_writers_make_one_chain(ledger_url: str) -> None:
    migrate(ledger_url)
    check_chain(ledger_url, ledger_workers.run(8, ledger_workers.write_entries, ledger_url, 15), 120)


def test_of_many_that_want_a_cell_one_gets_it(ledger_url: str) -> None:
    migrate(ledger_url)
    answers = ledger_workers.run(8, ledger_workers.take_cell, ledger_url)
    assert Counter(answer.admitted for answer in answers) == {("01",): 1, (): 7}
    assert all("is being changed by" in str(answer.error) for answer in answers if not answer.admitted)


def test_of_many_that_find_a_cell_abandoned_one_takes_it_over(ledger_url: str) -> None:
    migrate(ledger_url)
    with Ledger.open(ledger_url) as ledger:
        ledger.acquire_lease(ENVIRONMENT, "01", holder("crashed"), 0)
        answers = ledger_workers.run(8, ledger_workers.take_cell, ledger_url)
        assert Counter(answer.admitted for answer in answers) == {("01",): 1, (): 7}
        assert len(ledger.entries(ENVIRONMENT, action="lease.takeover")) == 1


def test_of_many_equal_requests_under_one_key_one_runs(ledger_url: str) -> None:
    migrate(ledger_url)
    answers = ledger_workers.run(8, ledger_workers.same_key, ledger_url)
    assert Counter(answer.admitted for answer in answers) == {("tea-1",): 1, (): 7}
    assert all("in flight" in str(answer.error) for answer in answers if not answer.admitted)
    with Ledger.open(ledger_url) as ledger:
        assert len(ledger.entries(None)) == 1


def test_a_check_that_counts_before_it_locks_is_caught(mariadb_url: str) -> None:
    """The check of figure 1 can fail: with the lock left out, it does, by the limit and not by an error."""
    limits = Limits(stores_per_owner=20, creates_per_hour=20, stores_total=10)
    answers = ledger_workers.run(
        16, ledger_workers.create_stores_without_lock, mariadb_url, ledger_workers.Load(1, 9, limits)
    )
    with pytest.raises(AssertionError):
        check_creations(mariadb_url, answers, limits, 16)
    assert not is_exact(mariadb_url, answers, limits, 16), "nor does the check of the full count"
    assert [answer.error for answer in answers if answer.error] == []
    assert sum(len(answer.admitted) for answer in answers) > limits.stores_total


def race(url: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Let two runners race for one store, and assert that one wins, the other is told, and the log names both."""
    migrate(url)
    answers = ledger_workers.run(2, ledger_workers.race_for_store, url, pairs)
    assert len(answers) == 2 * len(pairs)
    with Ledger.open(url) as ledger:
        found = ledger.entries(ENVIRONMENT, limit=1_000_000)
        assert ledger.open_runs(ENVIRONMENT) == []
        assert ledger.verify().ok
    outcomes = {run: sorted(e.outcome for e in found if e.run_id == run) for run in {e.run_id for e in found}}
    winners = {run for answer in answers for run in answer.admitted}
    losers = set(outcomes) - winners
    assert (len(winners), len(losers)) == (len(pairs), len(pairs))
    assert {run[:-1] for run in winners if run} == {run[:-1] for run in losers if run}, "one of each race"
    assert all(outcomes[run] == ["success", "unknown"] for run in winners)
    assert all(outcomes[run] == ["denied"] for run in losers)
    told = [answer.error for answer in answers if not answer.admitted]
    assert all("is being changed by runner" in str(text) for text in told)


RACES = [("store.create", "store.create"), ("store.create", "store.delete"), ("store.update", "store.delete")]


def test_of_two_runners_on_one_store_one_wins_and_the_other_is_told(ledger_url: str) -> None:
    race(ledger_url, RACES * 2)


@pytest.mark.long
@pytest.mark.parametrize("actions", RACES, ids=["create-create", "create-delete", "update-delete"])
def test_a_hundred_races_for_one_store(ledger_url: str, actions: tuple[str, str], figures: Figures) -> None:
    race(ledger_url, [actions] * 100)
    kind, where = " and ".join(a.removeprefix("store.") for a in actions), make_url(ledger_url).get_backend_name()
    figures.reached(
        "6",
        f"two runners on one store, {kind}, {where}",
        wanted="one wins, the other is told, both are in the log",
        seen="100 of 100 races",
    )


def test_a_chain_behind_the_last_row_is_caught(mariadb: MariadbServer, mariadb_url: str) -> None:
    """The check of figure 3 can fail: with the tail locked instead of the head it does, by a fork and not by an error.

    The log's keys and triggers are a backstop that keeps it from forking all the same, so they go too.
    """
    name = make_url(mariadb_url).database
    with closing(mariadb.connect(name)) as admin, admin.cursor() as cursor:
        cursor.execute("SHOW TRIGGERS")
        for trigger, *_ in cursor.fetchall():
            cursor.execute(f"DROP TRIGGER {trigger}")
        cursor.execute("ALTER TABLE audit_logs DROP PRIMARY KEY, ADD INDEX (seq), DROP INDEX prev_hash")
    # Of the one before: while there is no row at all, there is nothing to lock.
    with Ledger.open(mariadb_url) as ledger:
        ledger.record(NewEntry(Actor("w", "service"), "test.write", "success"))
    answers = ledger_workers.run(8, ledger_workers.write_entries_behind_the_tail, mariadb_url, 15)
    with closing(mariadb.connect(name)) as admin, admin.cursor() as cursor:
        cursor.execute("SELECT COUNT(*), COUNT(DISTINCT prev_hash) FROM audit_logs")
        rows, followed = cursor.fetchone() or (0, 0)
    assert (rows, [answer.error for answer in answers if answer.error]) == (121, [])
    assert followed < rows, "two follow the same one"
    with pytest.raises(AssertionError, match="entry"):
        check_chain(mariadb_url, answers, 120)
    assert not is_one_chain(mariadb_url, answers, 120), "nor does the check of the full count"


@pytest.mark.parametrize("locked", ["audit_head", "slots"])
def test_the_time_that_counts_is_the_one_after_the_wait_for_a_lock(
    mariadb: MariadbServer, mariadb_url: str, locked: str
) -> None:
    name = make_url(mariadb_url).database
    with Ledger.open(mariadb_url) as ledger:
        ledger.admit(request([]))
        with closing(mariadb.connect(name)) as other, other.cursor() as cursor, ThreadPoolExecutor(1) as pool:
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT * FROM {locked} FOR UPDATE")  # noqa: S608
            waiting = pool.submit(ledger.admit, request([change("tea-1")]))
            _await_lock_wait(cursor)
            cursor.execute("SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)")
            (released_us,) = cursor.fetchone() or (0,)
            cursor.execute("COMMIT")
            waiting.result()
        (entry,) = ledger.entries(ENVIRONMENT)
        assert to_us(entry.recorded_at) >= released_us
        if locked == "slots":
            (run,) = ledger.open_runs(ENVIRONMENT)
            assert to_us(run.admitted_at) >= released_us


def _await_lock_wait(cursor: pymysql.cursors.Cursor) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        cursor.execute("SELECT COUNT(*) FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT'")
        if cursor.fetchone() == (1,):
            return
        time.sleep(0.2)  # the server shows its answer of before to those who ask more often
    raise AssertionError("nobody waited for the lock")
