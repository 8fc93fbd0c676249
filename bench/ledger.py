"""Speed and exactness of the ledger under many processes: figures 1, 2 and 3.

The workers are those of the tests. What is timed is one call of the ledger (an admission, an outcome, an entry), as a
process sees it: with its waiting for others. The engine's minutes between admission and outcome are not in it.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from audit.ledger import Ledger
from audit.limits import Limits
from audit.migrations import migrate
from audit.records import NewEntry
from bench import results
from bench.results import percentile, spread
from tests.audit import ledger_checks, ledger_workers, mariadb_server
from tests.audit.ledger_samples import ALICE, ENVIRONMENT
from tests.audit.ledger_workers import Answer

OWNERS = 30


@dataclass(frozen=True)
class Burst:
    """One repetition: whether it was exact, how many requests a second, and the slowest of a hundred calls."""

    exact: bool
    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_s: float


@contextmanager
def durable_server() -> Iterator[mariadb_server.MariadbServer]:
    """Run a server as in production: every commit is on disk before it is acknowledged."""
    with mariadb_server.running() as server:
        yield server


def admissions(*, quick: bool) -> None:
    """Figure 1: many processes ask for new stores at once."""
    repeats = 2 if quick else 20
    with durable_server() as server:
        _admissions(server, 64, 10, repeats, at_least=350, p99_ms=250)
        _admissions(server, 200, 5, max(1, repeats // 4), at_least=None, p99_ms=2000)


def _admissions(
    server: mariadb_server.MariadbServer, processes: int, requests: int, repeats: int, *, at_least: int | None,
    p99_ms: int,
) -> None:  # fmt: skip
    bursts = []
    for _ in range(repeats):
        url = server.url(server.new_database())
        migrate(url)
        bursts.append(burst(url, processes, requests))
    exact = all(found.exact for found in bursts)
    per_s, p99 = [b.per_s for b in bursts], [b.p99_ms for b in bursts]
    seen = (
        f"{'exact' if exact else 'NOT exact'} {sum(b.exact for b in bursts)} of {repeats} times, "
        f"{spread(per_s, 'requests/s')}, p50 {spread([b.p50_ms for b in bursts], 'ms')}, p99 {spread(p99, 'ms')}"
    )
    wanted = f"exactly 100 admitted, at most 5 per owner and hour, no error, p99 at most {p99_ms} ms"
    wanted += "" if at_least is None else f", at least {at_least} requests/s"
    middle = sorted(p99)[len(p99) // 2]
    met = exact and middle <= p99_ms and (at_least is None or sorted(per_s)[len(per_s) // 2] >= at_least)
    values = {"bursts": [vars(found) for found in bursts]}
    name = f"{processes} processes x {requests} creations, MariaDB"
    results.record("1", name, wanted=wanted, seen=seen, met=met, values=values)


def burst(url: str, processes: int, requests: int, limits: Limits | None = None) -> Burst:
    """Return how one burst of creations went on the ledger at `url`."""
    limits = limits or Limits()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    answers = ledger_workers.run(
        processes, ledger_workers.create_stores, url, ledger_workers.Load(requests, OWNERS, limits)
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    began, ended = min(a.began for a in answers), max(a.began + a.elapsed_s for a in answers)
    calls = [call for answer in answers for call in answer.calls_s]
    return Burst(
        exact=is_exact(url, answers, limits, processes * requests),
        per_s=processes * requests / (ended - began),
        p50_ms=1000 * percentile(calls, 0.5),
        p99_ms=1000 * percentile(calls, 0.99),
        errors=sum(answer.error is not None for answer in answers),
        cpu_s=after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime,
    )


def is_exact(url: str, answers: list[Answer], limits: Limits, requests: int) -> bool:
    """Return whether the limits were met exactly, nobody saw an error, and the log says the same."""
    return _holds(lambda: ledger_checks.check_creations(url, answers, limits, requests))


def is_one_chain(url: str, answers: list[Answer], entries: int) -> bool:
    """Return whether what everybody has written is one chain, and nobody saw an error."""
    return _holds(lambda: ledger_checks.check_chain(url, answers, entries))


def _holds(check: Callable[[], None]) -> bool:
    """Return whether a check of the tests holds; it is told on stderr why not."""
    try:
        check()
    except AssertionError as error:
        print(f"does not hold: {error!r}", file=sys.stderr)
        return False
    return True


def sqlite(*, quick: bool) -> None:
    """Figure 2: many processes on an SQLite ledger."""
    bursts = []
    for _ in range(1 if quick else 5):
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{Path(folder) / 'ledger.sqlite'}"
            migrate(url)
            bursts.append(burst(url, 32, 10))
    seen = (
        f"exact {sum(b.exact for b in bursts)} of {len(bursts)} times, {sum(b.errors for b in bursts)} errors, "
        f"{spread([b.per_s for b in bursts], 'requests/s')}, p99 {spread([b.p99_ms for b in bursts], 'ms')}"
    )
    met = all(b.exact for b in bursts)
    wanted = "exactly 100 admitted, no `database is locked`"
    values = {"bursts": [vars(b) for b in bursts]}
    results.record("2", "32 processes x 10 creations, SQLite", wanted=wanted, seen=seen, met=met, values=values)


def writers(*, quick: bool) -> None:
    """Figure 3, first half: many writers make one chain."""
    rates, p99, whole, errors = [], [], 0, 0
    with durable_server() as server:
        for _ in range(2 if quick else 10):
            url = server.url(server.new_database())
            migrate(url)
            answers = ledger_workers.run(16, ledger_workers.write_entries, url, 50)
            errors += sum(answer.error is not None for answer in answers)
            began, ended = min(a.began for a in answers), max(a.began + a.elapsed_s for a in answers)
            rates.append(len(answers) / (ended - began))
            p99.append(1000 * percentile([a.elapsed_s for a in answers], 0.99))
            whole += is_one_chain(url, answers, 800)
    seen = (
        f"{whole} of {len(rates)} chains whole, {errors} errors, {spread(rates, 'entries/s')}, p99 {spread(p99, 'ms')}"
    )
    met = whole == len(rates) and not errors and sorted(rates)[len(rates) // 2] >= 400
    wanted = "no fork, no deadlock, at least 400 entries/s"
    results.record("3", "16 writers x 50 entries, MariaDB", wanted=wanted, seen=seen, met=met, values={"per_s": rates})


def verification(*, quick: bool) -> None:
    """Figure 3, second half: a long log is read again, in flat memory."""
    count = 50_000 if quick else 1_000_000
    with mariadb_server.running(*mariadb_server.NOT_DURABLE) as server:
        url = server.url(server.new_database())
        migrate(url)
        with Ledger.open(url) as ledger:
            fill(ledger, count)
            ledger.verify()
            before, started = _peak_mib(), time.monotonic()
            found = ledger.verify()
            took, grown = time.monotonic() - started, _peak_mib() - before
    met = found.ok and found.entries == count and took <= 30 and grown <= 16
    seen = f"{took:.1f} s for {found.entries} entries, memory grew by {grown:.0f} MiB"
    wanted = "1,000,000 entries in at most 30 s, flat memory"
    results.record("3", "verification of a long log, MariaDB", wanted=wanted, seen=seen, met=met)


def fill(ledger: Ledger, count: int, batch: int = 5000) -> None:
    """Leave `count` entries in an empty log, many to a transaction."""
    from audit import entries  # noqa: PLC0415 - the one place that writes more than one at a time

    entry = NewEntry(ALICE, "store.update", "success", environment=ENVIRONMENT, store_id="tea-house-x7k2m",
                     owner="alice", run_id="run-0123456789abcdef", reason="measured",
                     metadata={"name": "tea-house", "cell": "01"})  # fmt: skip
    database = ledger._database  # noqa: SLF001 - what is filled is not what is measured
    for begin in range(0, count, batch):
        rows = [entry] * min(batch, count - begin)
        database.write(lambda connection, rows=rows: entries.append(connection, database.clock, rows))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


FIGURES = {"admissions": admissions, "sqlite": sqlite, "writers": writers, "verification": verification}
