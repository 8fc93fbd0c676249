"""Mutation testing of the limits and the audit core: how many small defects do their tests notice?

`python -m bench.mutation`: each defect is put into a module as it is imported, in a process of its own, and that
module's tests run on SQLite until the first one fails. What survives is printed with its place. A defect that makes the
tests hang counts as noticed. First come the tests that noticed most of the defects before, then the quick ones.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import importlib.abc
import importlib.machinery
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.mutants import ROOT, Mutant, mutants

# What a defect may take at most: of the processor, and by the clock (of a machine that does other things too).
CPU_S, WALL_S = 60, 150
JOBS = 2
# What was found in each module, and when: one may be tried anew without the others.
PARTS = ROOT / "bench" / "mutation.json"
# In memory, where there is such a folder: nothing here is to outlive a process.
MEMORY = Path("/dev/shm")  # noqa: S108 - folders in it have random names

_LEDGER = ("admission", "idempotency", "settlement", "leases")
# By module, the tests that are to notice.
TESTS: dict[str, tuple[str, ...]] = {
    "audit.limits": ("test_limits",),
    "audit.chain": ("test_chain", "test_verification"),
    "audit.verification": ("test_verification", "test_segments"),
    "audit.anchors": ("test_anchors", "test_ledger_entries"),
    "audit.entries": ("test_ledger_entries", "test_events", "test_ledger_admission"),
    "audit.judgement": ("test_ledger_admission", "test_ledger_settlement"),
    "audit.admission": tuple(f"test_ledger_{name}" for name in _LEDGER),
    "audit.slots": ("test_ledger_admission", "test_ledger_settlement", "test_ledger_model"),
    "audit.settlement": ("test_ledger_settlement", "test_ledger_admission", "test_ledger_leases"),
    "audit.leases": ("test_ledger_leases", "test_ledger_admission", "test_broken_locks"),
    "audit.idempotency": ("test_ledger_idempotency", "test_run_keys", "test_command_keys", "test_restore_keys"),
    "audit.segments": ("test_segments",),
    "audit.spool": ("test_spool",),
    "audit.counters": ("test_counters",),
    "audit.events": ("test_events",),
    "audit.records": ("test_ledger_admission", "test_ledger_settlement", "test_ledger_model"),
}
_OPTIONS = [
    "-x",
    "-q",
    "-k",
    "not mariadb",
    "-m",
    "not long",
    "-p",
    "no:cacheprovider",
    "--hypothesis-seed=0",
    "--assert=plain",
]


class _Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the mutated source for the one module."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name == self.mutant.module else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.mutant.source, f"<mutant of {self.mutant.module}>", "exec"), module.__dict__)  # noqa: S102


class _Order:
    """A plugin of pytest: tests in the order that was given, and what each took or which one failed."""

    def __init__(self, rank: dict[str, tuple[int, float]]) -> None:
        self.rank = rank
        self.took: dict[str, float] = {}
        self.failed: str | None = None

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [item for item in items if "mariadb" not in item.fixturenames]  # `-k` sees only names
        items.sort(key=lambda item: self.rank.get(item.nodeid, (0, 0.0)))

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.took[report.nodeid] = self.took.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed = self.failed or report.nodeid


@dataclass
class _Bench:
    """The tests of one module, and what is known of them."""

    module: str
    template: Path
    folder: Path
    took: dict[str, float] = field(default_factory=dict)
    noticed: Counter[str] = field(default_factory=Counter)

    def rank(self) -> dict[str, tuple[int, float]]:
        return {name: (-self.noticed[name], took_s) for name, took_s in self.took.items()}

    def start(self, mutant: Mutant | None, folder: Path) -> int:
        """Return the process that runs the tests; what it says is in the folder then."""
        folder.mkdir()
        child = os.fork()
        if child == 0:
            _run_tests(mutant, TESTS[self.module], self.rank(), self.template, folder)
        return child

    def learn(self, folder: Path) -> None:
        """Keep what a process has said of the tests."""
        with contextlib.suppress(FileNotFoundError):
            said = json.loads((folder / "said.json").read_text())
            if said["failed"] is None:
                self.took = said["took"]
            else:
                self.noticed[said["failed"]] += 1
        shutil.rmtree(folder, ignore_errors=True)

    def survivors(self, found: Sequence[Mutant | None]) -> Iterator[Mutant | None]:
        """Yield those with which every test passes. None: no defect."""
        waiting = list(enumerate(found))
        running: dict[int, tuple[Mutant | None, Path, float]] = {}
        while waiting or running:
            while waiting and len(running) < JOBS:
                number, mutant = waiting.pop(0)
                folder = self.folder / f"{self.module}-{number}"
                running[self.start(mutant, folder)] = (mutant, folder, time.monotonic() + WALL_S)
            for child, (mutant, folder, deadline) in list(running.items()):
                if time.monotonic() > deadline:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child, signal.SIGKILL)
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    del running[child]
                    self.learn(folder)
                    if os.waitstatus_to_exitcode(status) == 0:
                        yield mutant
            time.sleep(0.01)


def _run_tests(
    mutant: Mutant | None, tests: Sequence[str], rank: dict[str, tuple[int, float]], template: Path, folder: Path
) -> None:
    import pytest  # noqa: PLC0415 - loaded before the fork

    code = 1
    try:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.chdir(ROOT)
        tempfile.tempdir = str(folder)
        if mutant is not None:
            sys.meta_path.insert(0, _Loader(mutant))
        _copy_instead_of_migrating(template)
        order = _Order(rank)
        names = [f"tests/audit/{name}.py" for name in tests]
        code = int(pytest.main([*_OPTIONS, f"--basetemp={folder / 'tests'}", *names], [order]))
        (folder / "said.json").write_text(json.dumps({"failed": order.failed, "took": order.took}))
    finally:
        os._exit(code)


def _copy_instead_of_migrating(template: Path) -> None:
    """Let a new SQLite ledger begin as a copy: its schema is not what is tried here, and takes most of a test's time.

    It has a chain of its own. On MariaDB nothing is tried here.
    """
    from audit.migrations import upgrade  # noqa: PLC0415 - with the defect, if it is in what this needs

    run = upgrade.run

    def copied(database: Any, application: str | None, reader: str | None) -> None:
        path = Path(str(database.url.database))
        if not database.is_sqlite or path.stat().st_size:
            run(database, application, reader)
            return
        shutil.copyfile(template, path)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            _begin_chain(connection)

    upgrade.run = copied


def _begin_chain(connection: sqlite3.Connection) -> None:
    """Give the copy an id and a first hash of its own, as `v0001_ledger` does; its trigger would not let it."""
    triggers = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_head'"
    ).fetchall()
    for name, _sql in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    chain_id = str(uuid.uuid4())
    first = hashlib.sha256(b"stores-audit-1\0genesis\0" + chain_id.encode()).hexdigest()
    connection.execute("UPDATE audit_head SET chain_id = ?, hash = ?", (chain_id, first))
    for _name, sql in triggers:
        connection.execute(sql)
    connection.commit()


def main() -> int:
    """Try the defects, write the figure down, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.mutation", description=__doc__)
    parser.add_argument("module", nargs="*", help=f"of {', '.join(TESTS)}; default: all")
    parser.add_argument("--sample", type=int, help="only so many of each module, chosen by a fixed seed")
    parser.add_argument("--at-least", type=float, default=85, help="percent that must be noticed [default: 85]")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="stores-mutation-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        return _try(chosen.module or list(TESTS), chosen.sample, chosen.at_least, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _try(modules: Sequence[str], sample: int | None, at_least: float, at: Path) -> int:
    template = _template(at)
    _load()
    found: dict[str, dict[str, Any]] = {}
    for module in modules:
        bench = _Bench(module, template, at)
        if not list(bench.survivors([None])):
            print(f"the tests of {module} fail without any defect", file=sys.stderr)
            return 1
        every = tried = list(mutants(module))
        if sample and len(every) > sample:
            tried = sorted(random.Random(1).sample(every, sample), key=lambda mutant: mutant.line)  # noqa: S311
        alive: list[Mutant] = []
        for mutant in bench.survivors(tried):
            assert mutant is not None
            print(f"survived: {mutant}", flush=True)
            alive.append(mutant)
        survived = [str(mutant) for mutant in sorted(alive, key=lambda mutant: mutant.line)]
        counts = {"of": len(every), "tried": len(tried), "noticed": len(tried) - len(alive)}
        found[module] = {**counts, "survived": survived}
        print(f"{module}: {found[module]['noticed']} of {len(tried)} noticed", flush=True)
        _record({module: found[module]}, at_least)
    share = _share(found)
    print(f"{share:.1f} % noticed")
    return 0 if share >= at_least else 1


def _share(found: dict[str, dict[str, Any]]) -> float:
    """Return the percentage that is noticed; a module of which a sample was tried counts by all its defects."""
    noticed = sum(one["of"] * one["noticed"] / one["tried"] for one in found.values())
    return 100 * noticed / sum(one["of"] for one in found.values())


def _record(found: dict[str, dict[str, Any]], at_least: float) -> None:
    """Write the figure down when every module is known: those that were not tried now are kept as they were."""
    from bench import results  # noqa: PLC0415 - it must not be loaded before the fork's tests are

    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    known: dict[str, dict[str, Any]] = {}
    if PARTS.exists():
        known = json.loads(PARTS.read_text(encoding="utf-8"))
    known |= {module: {"at": now, **one} for module, one in found.items()}
    known = {module: known[module] for module in TESTS if module in known}
    PARTS.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    if known.keys() != TESTS.keys():
        return
    share, noticed, tried, every = (
        _share(known),
        *(sum(one[name] for one in known.values()) for name in ("noticed", "tried", "of")),
    )
    kind = "" if tried == every else f"; samples by a fixed seed, weighted by the {every} that there are"
    results.record(
        "9", "mutation testing of limits and audit core", wanted=f"at least {at_least:.0f} % noticed",
        seen=f"{share:.1f} % ({noticed} of {tried} tried{kind})", met=share >= at_least,
        values={module: f"{one['noticed']} of {one['tried']}" for module, one in known.items()},
    )  # fmt: skip


def _template(folder: Path) -> Path:
    """Return an empty SQLite ledger, made by a process of its own: this one must not load what is mutated."""
    path = folder / "template.sqlite"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            from audit.migrations import migrate  # noqa: PLC0415

            migrate(f"sqlite:///{path}")
            code = 0
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise RuntimeError("an empty ledger cannot be made")
    return path


def _load() -> None:
    """Load what takes long and is never mutated, so that each process begins with it."""
    sys.path.insert(0, str(ROOT))
    for name in (
        "pytest",
        "hypothesis.stateful",
        "sqlalchemy",
        "sqlalchemy.dialects.sqlite",
        "pymysql",
        "alembic.command",
        "alembic.autogenerate",
        "tests.conftest",
        "stacks.manifest",
        "stacks.settings",
        "stacks.cluster",
    ):
        __import__(name)
    mutated = sorted(set(TESTS) & sys.modules.keys())
    assert not mutated, f"{mutated} must be loaded by each process itself"
    gc.freeze()  # what every process begins with is not looked through again in each


if __name__ == "__main__":
    sys.exit(main())
