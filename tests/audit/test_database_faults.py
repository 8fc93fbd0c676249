"""A database that fails, hangs or loses an answer: never a hang, never a double, and the error says what is known."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest
from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError

import audit.database
from audit import admission, entries, judgement
from audit.database import Clock, Database, Timeouts
from audit.ledger import Ledger
from audit.limits import Limits
from audit.migrations import migrate
from audit.records import Admission, NewEntry, RunRequest
from stacks.errors import DatabaseUnreachableError, UsageError
from tests.audit import ledger_workers, mariadb_server
from tests.audit.fault_proxy import Fault, FaultProxy
from tests.audit.ledger_samples import ALICE, ENVIRONMENT, change, creations, holder, outcomes, request, used
from tests.audit.mariadb_server import MariadbServer
from tests.figures import Figures

# PyMySQL leaves its socket to the garbage collector when it cannot connect.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

QUICK = Timeouts(connect_s=2, read_s=2, lock_s=1, sqlite_busy_s=1)
RESETS = [Fault.DONE_THEN_RESET, Fault.LOST_AND_RESET]
ENTRY = NewEntry(ALICE, "test.write", "success")


def fill(ledger: Ledger) -> None:
    for number in range(1000):
        ledger.admit(request([change(f"tea-{number}")]))


@pytest.fixture
def proxy(mariadb: MariadbServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProxy]:
    """Return a proxy before the run's MariaDB."""
    opened = FaultProxy(tmp_path_factory.mktemp("p") / "s", mariadb.socket_path)
    yield opened
    opened.close()


@pytest.fixture
def behind(proxy: FaultProxy, mariadb_url: str) -> Iterator[Ledger]:
    """Return a ledger that is reached through the proxy, with a connection ready."""
    url = make_url(mariadb_url).update_query_dict({"unix_socket": str(proxy.path)})
    with Ledger.open(str(url), timeouts=QUICK) as ledger:
        ledger.admit(request([], environment=ENVIRONMENT))
        yield ledger


def lose(ledger: Ledger, proxy: FaultProxy, fault: Fault) -> None:
    """Let the ledger's next commit be lost. A connection is made first, because making one commits as well."""
    ledger.now()
    proxy.break_next_commit(fault)


# --- a commit whose answer is lost


def check_lost_commits(ledger: Ledger, proxy: FaultProxy, fault: Fault, count: int) -> None:
    """Lose `count` commits at reserve and as many at outcome; assert that each is one intent, one slot, one outcome."""
    wide = Limits(stores_per_owner=1000, creates_per_hour=1000, stores_total=1000)
    for number in range(count):
        wish = request([change(f"tea-{number}")], limits=wide)
        lose(ledger, proxy, fault)
        admission = ledger.admit(wish)
        assert len(admission.admitted) == 1
        assert [run.run_id for run in ledger.open_runs(ENVIRONMENT)] == [wish.run_id], "committed before any engine"
        lose(ledger, proxy, fault)
        ledger.settle(wish.run_id, outcomes(admission, "Deleted" if number % 2 else "Ready"))
        assert used(ledger) == number // 2 + 1
        assert len(ledger.entries(ENVIRONMENT, run_id=wish.run_id)) == 2
    assert proxy.broken == 2 * count
    assert ledger.verify().entries == 2 * count


@pytest.mark.parametrize("fault", RESETS)
def test_lost_commits_at_reserve_and_at_outcome(behind: Ledger, proxy: FaultProxy, fault: Fault) -> None:
    check_lost_commits(behind, proxy, fault, 2)


@pytest.mark.long
@pytest.mark.parametrize("fault", RESETS)
def test_a_hundred_lost_commits_at_reserve_and_at_outcome(
    behind: Ledger, proxy: FaultProxy, fault: Fault, figures: Figures
) -> None:
    check_lost_commits(behind, proxy, fault, 100)
    figures.reached(
        "5",
        f"COMMIT lost, {fault.name.lower().replace('_', ' ')}",
        wanted="100 at reserve and 100 at outcome: 0 double slots, 0 lost slots, 0 starts without an intent",
        seen="200 lost, 0 double, 0 lost, each intent was there before the run went on",
    )


@pytest.mark.parametrize("fault", RESETS)
def test_an_admission_is_made_once_whether_or_not_its_lost_commit_was_done(
    behind: Ledger, proxy: FaultProxy, fault: Fault
) -> None:
    for number in range(5):
        wish = request(creations(3, begin=2 * number), owner_limits={})
        expected = behind.foresee(wish)
        lose(behind, proxy, fault)
        admission = behind.admit(wish)
        assert [d.change for d in admission.denied] == [j.change for j in expected if not j.verdict.allowed]
        assert len(behind.entries(ENVIRONMENT, run_id=wish.run_id)) == 3
    assert proxy.broken == 5
    assert used(behind) == 5
    assert sum(len(run.changes) for run in behind.open_runs(ENVIRONMENT)) == sum(
        entry.outcome == "unknown" for entry in behind.entries(None, limit=1000)
    )
    assert behind.verify().ok


@pytest.mark.parametrize("fault", RESETS)
def test_an_outcome_is_recorded_once_whether_or_not_its_lost_commit_was_done(
    behind: Ledger, proxy: FaultProxy, fault: Fault
) -> None:
    wish = request(creations(5))
    for outcome in outcomes(behind.admit(wish), "Deleted"):
        lose(behind, proxy, fault)
        behind.settle(wish.run_id, [outcome])
    assert proxy.broken == 5
    assert used(behind) == 0
    assert len(behind.entries(None)) == 10
    assert behind.verify().ok


@pytest.mark.parametrize("fault", RESETS)
def test_an_entry_and_a_lease_are_written_once(behind: Ledger, proxy: FaultProxy, fault: Fault) -> None:
    lose(behind, proxy, fault)
    written = behind.record(ENTRY)
    assert behind.entries(None) == [written]
    lose(behind, proxy, fault)
    lease = behind.acquire_lease(ENVIRONMENT, "01", holder("run-a"), 60)
    assert (lease.fencing, proxy.broken) == (1, 2)


def test_a_commit_that_was_done_in_silence_is_found(behind: Ledger, proxy: FaultProxy) -> None:
    lose(behind, proxy, Fault.DONE_THEN_SILENCE)
    wish = request([change("tea-1")])
    assert len(behind.admit(wish).admitted) == 1
    assert (used(behind), len(behind.entries(None))) == (1, 1)


@pytest.mark.timeout(60)
def test_a_commit_that_may_still_arrive_is_called_unknown_and_frees_its_locks(
    behind: Ledger, proxy: FaultProxy, mariadb_url: str
) -> None:
    lose(behind, proxy, Fault.LOST_IN_SILENCE)
    with pytest.raises(DatabaseUnreachableError, match="whether it was recorded is not known, and nothing else was"):
        behind.admit(request([change("tea-1")]))
    # The server still holds that transaction; it gives up by itself, and nothing of it stays.
    with Ledger.open(mariadb_url, timeouts=Timeouts(lock_s=20, read_s=30)) as other:
        assert other.admit(request([change("tea-2")])).admitted
        assert [row.store_id for row in other.stores(ENVIRONMENT)] == ["tea-2"]


def test_a_blind_retry_is_caught(behind: Ledger, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above can fail: who does not look first does again what was done, and leaves two intents."""
    decide, tries = admission.decide, itertools.count()

    def blind(connection: Connection, clock: Clock, asked: RunRequest) -> Admission:
        number = next(tries)
        again = replace(asked, run_id=f"{asked.run_id}-again-{number}") if number else asked
        return decide(connection, clock, again)

    monkeypatch.setattr(admission, "find", lambda *_: None)
    monkeypatch.setattr(admission, "decide", blind)
    with pytest.raises(AssertionError, match="committed before any engine"):
        check_lost_commits(behind, proxy, Fault.DONE_THEN_RESET, 1)
    (first, second) = behind.open_runs(ENVIRONMENT)
    assert second.run_id == f"{first.run_id}-again-1"
    assert [intent.store_id for run in (first, second) for intent in run.changes] == ["tea-0", "tea-0"]


# --- a database that hangs


@pytest.fixture(scope="module")
def own_server() -> Iterator[MariadbServer]:
    """Return a server that these tests may stop and kill."""
    try:
        with mariadb_server.running() as server:
            yield server
    except mariadb_server.MissingServerError as error:
        pytest.fail(str(error))


@pytest.fixture
def own_url(own_server: MariadbServer) -> str:
    """Return an empty ledger on that server."""
    url = own_server.url(own_server.new_database())
    migrate(url)
    return url


@pytest.fixture
def stopped(own_server: MariadbServer) -> Iterator[Any]:
    """Return what stops the server as if its machine had frozen; it goes on after the test."""
    pid = own_server.process.pid

    def stop() -> None:
        os.kill(pid, signal.SIGSTOP)
        # The signal reaches one thread after the other.
        while any(_state(task) != "T" for task in Path(f"/proc/{pid}/task").iterdir()):
            time.sleep(0.01)

    yield stop
    os.kill(pid, signal.SIGCONT)


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.timeout(30)
def test_a_frozen_server_ends_every_call_with_an_error(own_url: str, stopped: Any) -> None:
    with Ledger.open(own_url, timeouts=QUICK) as ledger:
        wish = request([change("tea-1")])
        admission = ledger.admit(wish)
        stopped()
        for call in (
            lambda: ledger.record(ENTRY),
            lambda: ledger.admit(request([change("tea-2")])),
            lambda: ledger.settle(wish.run_id, outcomes(admission)),
            lambda: ledger.stores(ENVIRONMENT),
        ):
            with pytest.raises(
                DatabaseUnreachableError, match=r"nothing was changed.*check the server and the network"
            ):
                call()


@pytest.mark.timeout(30)
def test_a_frozen_server_cannot_hang_a_new_connection(own_url: str, stopped: Any) -> None:
    stopped()
    with pytest.raises(DatabaseUnreachableError, match="nothing was changed"):
        Ledger.open(own_url, timeouts=QUICK)


@pytest.mark.timeout(60)
def test_who_waits_too_long_for_a_lock_leaves_nothing_behind(own_url: str, own_server: MariadbServer) -> None:
    """A lock wait timeout rolls back one statement; what came before it must not be committed later."""
    with Ledger.open(own_url, timeouts=QUICK) as ledger:
        ledger.admit(request([]))
        with closing(own_server.connect(make_url(own_url).database)) as other, other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT * FROM audit_head FOR UPDATE")
            with pytest.raises(DatabaseUnreachableError, match="holds the ledger for too long"):
                ledger.admit(request([change("tea-1")]))
            cursor.execute("ROLLBACK")
        ledger.record(ENTRY)
        assert ledger.stores(ENVIRONMENT) == []
        assert used(ledger) == 0
        assert len(ledger.entries(None)) == 1


# --- a database that is not there, or not ours


def test_a_server_that_is_gone_is_an_error_and_one_that_comes_back_is_used_again(
    own_url: str, own_server: MariadbServer
) -> None:
    with Ledger.open(own_url, timeouts=QUICK) as ledger:
        ledger.record(ENTRY)
        own_server.process.kill()
        own_server.process.wait()
        with pytest.raises(DatabaseUnreachableError, match=r"nothing was changed.*check that the server runs"):
            ledger.record(ENTRY)
        own_server.process = mariadb_server.start(own_server.folder)
        ledger.record(ENTRY)
        assert ledger.verify().entries == 2


def kill_under(own_url: str, own_server: MariadbServer, writers: int, entries: int) -> tuple[int, int]:
    """Return how many entries were acknowledged, and how many of those the killed server has lost."""

    def kill_amid_writing() -> None:
        with Ledger.open(own_url) as watching:
            while watching.anchor().seq < entries:
                time.sleep(0.01)
        own_server.process.kill()

    killer = threading.Thread(target=kill_amid_writing)
    killer.start()
    answers = ledger_workers.run(writers, ledger_workers.write_until_error, own_url)
    killer.join()
    own_server.process.wait()
    own_server.process = mariadb_server.start(own_server.folder)
    acknowledged = {entry_id for answer in answers for entry_id in answer.admitted}
    with Ledger.open(own_url) as ledger:
        verification = ledger.verify()
        assert verification.ok, str(verification)
        kept = {entry.entry_id for entry in ledger.entries(None, limit=1_000_000)}
    return len(acknowledged), len(acknowledged - kept)


def test_no_acknowledged_entry_is_lost_when_the_server_is_killed(own_url: str, own_server: MariadbServer) -> None:
    acknowledged, lost = kill_under(own_url, own_server, 4, 100)
    assert (acknowledged > 0, lost) == (True, 0)


@pytest.mark.long
def test_no_acknowledged_entry_of_many_is_lost_when_the_server_is_killed(
    own_url: str, own_server: MariadbServer, figures: Figures
) -> None:
    acknowledged, lost = kill_under(own_url, own_server, 8, 5000)
    assert lost == 0
    figures.reached(
        "5",
        "kill -9 of MariaDB under 8 writers",
        wanted="0 acknowledged entries lost",
        seen=f"{acknowledged} acknowledged, {lost} lost, the chain is whole",
    )


def kill_connections(server: MariadbServer, url: str) -> None:
    """Let the server end every connection to the ledger, and wait until they are gone."""
    of_ledger = "FROM information_schema.PROCESSLIST WHERE DB = %s"
    with closing(server.connect()) as admin, admin.cursor() as cursor:
        cursor.execute(f"SELECT ID {of_ledger}", (make_url(url).database,))
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL {number}")
        while cursor.execute(f"SELECT ID {of_ledger}", (make_url(url).database,)):
            pass


class Slow:
    """In the place of the module `time`: so much passes from one look to the next."""

    def __init__(self, step_s: int) -> None:
        self.seconds = itertools.count(step=step_s)

    def monotonic(self) -> float:
        return float(next(self.seconds))

    sleep = staticmethod(time.sleep)
    time_ns = staticmethod(time.time_ns)


def lost(code: int, *, silent: bool = False) -> OperationalError:
    """Return the error of a connection that was lost."""
    original = pymysql.err.OperationalError(code, "Lost connection")
    original.__context__ = TimeoutError() if silent else ConnectionResetError()
    return OperationalError("x", None, original, connection_invalidated=True)


@pytest.fixture
def database(mariadb_url: str) -> Iterator[Database]:
    opened = Database(mariadb_url, timeouts=Timeouts(connect_s=4, read_s=6, lock_s=5))
    yield opened
    opened.close()


@pytest.mark.parametrize("way", ["read", "write"])
def test_a_connection_that_died_in_the_pool_is_made_anew_however_late_that_is_seen(
    database: Database, mariadb_url: str, mariadb: MariadbServer, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.database.time", Slow(3600))

    def one(connection: Connection) -> int:
        return int(connection.exec_driver_sql("SELECT 1").scalar_one())

    getattr(database, way)(one)
    kill_connections(mariadb, mariadb_url)
    assert getattr(database, way)(one) == 1


def test_a_transaction_that_the_server_gave_up_while_this_process_stood_still_is_done_anew_and_once(
    mariadb_url: str, mariadb: MariadbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger.open(mariadb_url) as ledger:
        ledger.admit(request([]))
        monkeypatch.setattr("audit.database.time", Slow(3600))
        look, stood_still = judgement.look, []

        def looked_and_stood_still(*arguments: Any, held: bool = False, **more: Any) -> judgement.Facts:
            facts = look(*arguments, held=held, **more)
            if held and not stood_still:
                stood_still.append(True)
                kill_connections(mariadb, mariadb_url)
            return facts

        monkeypatch.setattr(judgement, "look", looked_and_stood_still)
        wish = request(creations(2))
        assert len(ledger.admit(wish).admitted) == 2
        assert stood_still == [True]
        assert (used(ledger), len(ledger.entries(None))) == (2, 2)
        assert ledger.verify().ok


@pytest.mark.parametrize("way", ["read", "write"])
@pytest.mark.parametrize(
    ("error", "tries"),
    [(lost(2006), 2), (lost(2013), 2), (lost(2013, silent=True), 1)],
    ids=["gone", "reset", "silent"],
)
def test_who_lost_the_connection_tries_twice_and_who_heard_nothing_once(
    database: Database, way: str, error: OperationalError, tries: int
) -> None:
    calls: list[object] = []

    def work(connection: Connection) -> None:
        calls.append(connection)
        raise error

    with pytest.raises(DatabaseUnreachableError, match="nothing was changed"):
        getattr(database, way)(work)
    assert len(calls) == tries


@pytest.mark.parametrize(
    ("error", "elapsed_s", "left_s"),
    [(lost(2013), 0, 6), (lost(2013), 4, 2), (lost(2013), 6, 0.75), (lost(2013), 60, 0.75), (lost(2006), 60, 6)],
    ids=["at once", "in time", "at the end", "after it", "nothing was sent"],
)
def test_the_second_try_has_the_time_that_the_first_one_left(
    database: Database, error: OperationalError, elapsed_s: int, left_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Timeouts] = []
    engine = audit.database._engine
    monkeypatch.setattr("audit.database._engine", lambda url, timeouts: made.append(timeouts) or engine(url, timeouts))
    monkeypatch.setattr("audit.database.time", Slow(elapsed_s))
    tries = itertools.count()

    def work(connection: Connection) -> str:
        if next(tries) == 0:
            raise error
        return str(connection.exec_driver_sql("SELECT 'done'").scalar_one())

    assert database.read(work) == "done"
    assert [timeouts.read_s for timeouts in made] == [left_s]


def test_a_commit_that_fails_with_its_writes_leaves_nothing_of_them_and_no_lock(
    mariadb: MariadbServer, mariadb_url: str
) -> None:
    """Writes are sent together with the commit: what went before the one that fails must not be committed later."""
    database = Database(mariadb_url)
    with Ledger.open(mariadb_url) as other:
        written = other.record(ENTRY)

        def write(connection: Connection) -> None:
            entries.append(connection, database.clock, [ENTRY], [entries.new_id()])
            entries.append(connection, database.clock, [ENTRY], [written.entry_id])

        with pytest.raises(IntegrityError):
            database._transact(database.engine, write)
        with closing(mariadb.connect()) as admin, admin.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM information_schema.INNODB_TRX")
            assert cursor.fetchone() == (0,)
        assert other.record(ENTRY).seq == 2, "nobody waits for it"
        database.write(lambda connection: entries.append(connection, database.clock, [ENTRY]))
        assert [entry.seq for entry in other.entries(None)] == [3, 2, 1]
        assert other.verify().ok
    database.close()


def test_a_dropped_connection_is_made_anew_without_a_word(mariadb_url: str, mariadb: MariadbServer) -> None:
    with Ledger.open(mariadb_url) as ledger:
        ledger.record(ENTRY)
        kill_connections(mariadb, mariadb_url)
        ledger.record(ENTRY)
        assert ledger.verify().entries == 2


@pytest.mark.parametrize(
    ("user", "database", "text"),
    [
        ("stranger", "mysql", "Access denied.*check user and password"),
        ("root", "nowhere", "Unknown database 'nowhere'.*create the database"),
    ],
)
def test_what_is_wrong_with_the_url_is_said_with_its_cure(
    mariadb: MariadbServer, user: str, database: str, text: str
) -> None:
    with pytest.raises(DatabaseUnreachableError, match=text) as caught:
        Ledger.open(mariadb.url(database, user, "topsecret" if user != "root" else ""))
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sqlite://", "forget the limits"),
        ("sqlite:///:memory:", "forget the limits"),
        ("postgresql://user:topsecret@host/db", "names the database 'postgresql'"),
        ("not a url topsecret", "cannot be read"),
    ],
)
def test_a_url_that_names_no_ledger_is_refused_without_showing_it(url: str, text: str) -> None:
    with pytest.raises(UsageError, match=text) as caught:
        Ledger.open(url)
    assert "topsecret" not in str(caught.value)


def test_a_read_only_server_is_an_error(mariadb: MariadbServer) -> None:
    name = mariadb.new_database()
    mariadb.execute(f"CREATE USER 'ro_{name}'@'localhost' IDENTIFIED BY 'secret'")
    migrate(mariadb.url(name), application=f"ro_{name}@localhost")
    with Ledger.open(mariadb.url(name, f"ro_{name}", "secret")) as ledger:
        mariadb.execute("SET GLOBAL read_only = 1")
        try:
            with pytest.raises(DatabaseUnreachableError, match="read-only; use the primary server"):
                ledger.record(ENTRY)
        finally:
            mariadb.execute("SET GLOBAL read_only = 0")


def test_a_missing_table_names_the_migration(mariadb: MariadbServer, mariadb_url: str) -> None:
    with Ledger.open(mariadb_url) as ledger:
        mariadb.execute("DROP TABLE audit_logs", database=make_url(mariadb_url).database)
        with pytest.raises(DatabaseUnreachableError, match="run `stores db migrate`"):
            ledger.record(ENTRY)


def test_a_transaction_that_lost_a_race_is_tried_again(mariadb_url: str) -> None:
    database = Database(mariadb_url)
    tries: list[int] = []

    def work(_connection: object) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OperationalError("x", None, pymysql.err.OperationalError(1213, "Deadlock found"))
        return "done"

    assert database.write(work) == "done"
    database.close()


# --- SQLite


def test_a_busy_sqlite_ledger_is_an_error_after_its_time(sqlite_url: str) -> None:
    with Ledger.open(sqlite_url, timeouts=QUICK) as ledger:
        with closing(sqlite3.connect(str(make_url(sqlite_url).database), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(DatabaseUnreachableError, match="another process holds the ledger"):
                ledger.record(ENTRY)
            assert ledger.entries(None) == [], "readers do not wait"
            other.execute("ROLLBACK")
        ledger.record(ENTRY)


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("this is no database" * 100)
    with pytest.raises(DatabaseUnreachableError, match="names a file that is no ledger"):
        Ledger.open(f"sqlite:///{path}")
    assert path.read_text() == "this is no database" * 100


def test_a_full_disk_changes_nothing(sqlite_url: str) -> None:
    with Ledger.open(sqlite_url, timeouts=QUICK) as ledger:

        @event.listens_for(ledger._database.engine, "checkout")
        def _no_room(connection: sqlite3.Connection, *_: object) -> None:
            connection.execute("PRAGMA max_page_count = 1")

        with pytest.raises(DatabaseUnreachableError, match=r"nothing was changed.*make room on the disk"):
            fill(ledger)
        assert ledger.verify().ok


def test_a_sqlite_ledger_survives_a_killed_writer(sqlite_url: str) -> None:
    with Ledger.open(sqlite_url) as ledger:
        ledger.record(ENTRY)
        ledger_workers.run(1, ledger_workers.die_in_transaction, sqlite_url)
        assert len(ledger.entries(None)) == 1
        ledger.record(ENTRY)
        assert ledger.verify().entries == 2
