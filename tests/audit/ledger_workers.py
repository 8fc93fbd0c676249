"""What the processes of the concurrency tests do. They are real processes with connections of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

from sqlalchemy import Connection, select

from audit import entries, judgement, slots
from audit.database import Database, Timeouts
from audit.ledger import Ledger
from audit.limits import Limits
from audit.records import Actor, Change, Holder, NewEntry, RunRequest, Status, StoreOutcome
from audit.tables import audit_logs
from stacks.errors import DatabaseUnreachableError, LockedError

WAIT_S = 300


@dataclass(frozen=True)
class Answer:
    """What one request of one process got, and how long it took."""

    worker: int
    admitted: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    error: str | None = None
    elapsed_s: float = 0.0
    began: float = 0.0
    calls_s: tuple[float, ...] = ()
    """How long each call of the ledger took."""


def run(count: int, work: Callable[..., None], *arguments: Any) -> list[Answer]:
    """Return every answer of `count` processes that began together, running `work(worker, answers, *arguments)`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["audit.ledger"])  # imported once, not once per process
    answers: Queue[Answer | None] = context.Queue()
    barrier = context.Barrier(count)
    processes: list[BaseProcess] = [
        context.Process(target=_guarded, args=(worker, barrier, answers, work, arguments)) for worker in range(count)
    ]
    for process in processes:
        process.start()
    found: list[Answer] = []
    finished = 0
    while finished < count:
        answer = answers.get(timeout=WAIT_S)
        if answer is None:
            finished += 1
        else:
            found.append(answer)
    for process in processes:
        process.join(WAIT_S)
    return found


def _guarded(
    worker: int, barrier: Barrier, answers: Queue[Answer | None], work: Callable[..., None], arguments: Sequence[Any]
) -> None:
    try:
        work(worker, barrier, answers, *arguments)
    except Exception:  # noqa: BLE001 - told to the test, which fails on it
        answers.put(Answer(worker, error=traceback.format_exc()))
    finally:
        answers.put(None)


@dataclass(frozen=True)
class Load:
    """How many new stores each process asks for, of how many owners, under which limits."""

    requests: int
    owners: int
    limits: Limits


def create_stores(worker: int, barrier: Barrier, answers: Queue[Answer | None], url: str, load: Load) -> None:
    """Ask for one new store per request, the owners taking turns."""
    with Ledger.open(url) as ledger:
        _warm_up(ledger, worker)
        barrier.wait(WAIT_S)
        found = [_create_store(ledger, worker, number, load) for number in range(load.requests)]
        barrier.wait(WAIT_S)  # telling about it takes time too, which is not to be the others'
    for answer in found:
        answers.put(answer)


def _create_store(ledger: Ledger, worker: int, number: int, load: Load) -> Answer:
    owner = f"owner{(worker * load.requests + number) % load.owners:02}"
    name = f"store-{worker}-{number}"
    request = RunRequest(
        run_id=f"run-{worker}-{number}",
        environment="prod",
        actor=Actor(owner, "ci"),
        limits=load.limits,
        owner_limits={},
        changes=(Change(name, name, owner, "01", "store.create"),),
    )
    moments = [time.monotonic()]
    try:
        admission = ledger.admit(request)
        moments.append(time.monotonic())
        if admission.admitted:
            ledger.settle(request.run_id, [StoreOutcome(name, "success", "Ready")])
            moments.append(time.monotonic())
    except Exception as error:  # noqa: BLE001 - told to the test, which fails on it
        return Answer(worker, error=repr(error), began=moments[0])
    return Answer(
        worker,
        tuple(change.owner for change in admission.admitted),
        tuple(denial.limit for denial in admission.denied),
        elapsed_s=moments[-1] - moments[0],
        began=moments[0],
        calls_s=tuple(after - before for before, after in pairwise(moments)),
    )


def _warm_up(ledger: Ledger, worker: int) -> None:
    """Do everything once, elsewhere: a program's first call of each kind takes ten times as long as the next."""
    changes = [Change(f"store-{number}", "store", "owner", "01", "store.create") for number in (1, 2)]
    limits = Limits(stores_per_owner=1)
    for changed in changes:
        request = RunRequest(
            run_id=f"warm-{worker}-{changed.store_id}",
            environment=f"warm{worker}",
            actor=Actor("worker", "ci"),
            limits=limits,
            owner_limits={},
            changes=(changed,),
        )
        if ledger.admit(request).admitted:
            ledger.settle(request.run_id, [StoreOutcome(changed.store_id, "success", "Ready")])


def write_entries(worker: int, barrier: Barrier, answers: Queue[Answer | None], url: str, entries: int) -> None:
    """Write entries one by one."""
    with Ledger.open(url) as ledger:
        barrier.wait(WAIT_S)
        for number in range(entries):
            began = time.monotonic()
            try:
                ledger.record(
                    NewEntry(Actor(f"writer{worker}", "service"), "test.write", "success", reason=str(number))
                )
            except Exception as error:  # noqa: BLE001 - told to the test, which fails on it
                answers.put(Answer(worker, error=repr(error)))
            else:
                answers.put(Answer(worker, elapsed_s=time.monotonic() - began, began=began))


def create_stores_without_lock(worker: int, barrier: Barrier, answers: Queue[Answer | None], *arguments: Any) -> None:
    """Do as `create_stores`, with a defect put in: counters are read without a lock, and nothing backs them up."""
    look, change, append = judgement.look, slots.change, entries.append
    first: list[judgement.Facts] = []

    def look_without_lock(*values: Any, held: bool = False, below: int | None = None) -> judgement.Facts:
        if not held:
            return look(*values, below=below)
        # All have read before any goes on, and a deadlock's second try believes what the first has read.
        if not first:
            seen = look(*values)
            first.append(replace(seen, head=entries.Head(0, "", seen.now)))
            barrier.wait(WAIT_S)
        return first[0]

    def change_without_ceiling(*values: Any, ceilings: Any = None, **others: Any) -> None:
        change(*values, **others)

    def append_all_the_same(*values: Any, head: Any = None, **others: Any) -> Any:
        return append(*values, **others)

    judgement.look = look_without_lock  # type: ignore[assignment]
    slots.change = change_without_ceiling
    entries.append = append_all_the_same
    create_stores(worker, barrier, answers, *arguments)


def take_cell(worker: int, barrier: Barrier, answers: Queue[Answer | None], url: str) -> None:
    """Ask for the cell and keep it."""
    with Ledger.open(url) as ledger:
        holder = Holder(Actor(f"worker{worker}", "ci"), "host", worker, f"run-{worker}")
        barrier.wait(WAIT_S)
        try:
            lease = ledger.acquire_lease("prod", "01", holder, 600)
        except LockedError as error:
            answers.put(Answer(worker, error=str(error)))
        else:
            answers.put(Answer(worker, (lease.cell,)))


def race_for_store(
    worker: int, barrier: Barrier, answers: Queue[Answer | None], url: str, pairs: Sequence[tuple[str, str]]
) -> None:
    """Want the same store as the other one, once per pair of actions; who gets the cell keeps it until both know."""
    with Ledger.open(url) as ledger:
        actor = Actor(f"runner{worker}", "ci")
        for number, actions in enumerate(pairs):
            run_id, action = f"race-{number}-{worker}", actions[worker]
            change = Change("tea-1", "tea-1", "alice", "01", action)
            lease, error = None, None
            barrier.wait(WAIT_S)
            try:
                lease = ledger.acquire_lease("prod", "01", Holder(actor, "host", worker, run_id), 600)
            except LockedError as told:
                error = str(told)
            barrier.wait(WAIT_S)
            if lease is not None:
                request = RunRequest(run_id, "prod", actor, _WIDE, {}, (change,), leases=(lease,))
                done = ledger.admit(request).admitted
                ledger.settle(run_id, [StoreOutcome("tea-1", "success", _AFTER[c.action]) for c in done])
                ledger.release_leases([lease])
            answers.put(Answer(worker, () if lease is None else (run_id,), error=error))
            barrier.wait(WAIT_S)


_WIDE = Limits(stores_per_owner=10, creates_per_hour=100_000, stores_total=10)
_AFTER: dict[str, Status] = {
    "store.create": "Ready", "store.retry": "Ready", "store.update": "Ready", "store.delete": "Deleted",
}  # fmt: skip


def write_entries_behind_the_tail(
    worker: int, barrier: Barrier, answers: Queue[Answer | None], *arguments: Any
) -> None:
    """Do as `write_entries`, with a defect put in: the chain goes on behind the last row, whose lock says nothing."""

    def locked_tail(_clock: Any) -> Any:
        last = select(audit_logs.c.seq, audit_logs.c.hash, _clock.label("now"))
        return last.order_by(audit_logs.c.seq.desc()).limit(1).with_for_update()

    entries._locked_head = locked_tail  # type: ignore[assignment]
    write_entries(worker, barrier, answers, *arguments)


def same_key(worker: int, barrier: Barrier, answers: Queue[Answer | None], url: str) -> None:
    """Send the request that all others send too."""
    with Ledger.open(url) as ledger:
        request = RunRequest(
            run_id=f"run-{worker}",
            environment="prod",
            actor=Actor("alice", "ci"),
            limits=Limits(),
            owner_limits={},
            changes=(Change("tea-1", "tea-1", "alice", "01", "store.create"),),
            idempotency_key="deploy-7",
        )
        barrier.wait(WAIT_S)
        try:
            admission = ledger.admit(request)
        except LockedError as error:
            answers.put(Answer(worker, error=str(error)))
        else:
            answers.put(Answer(worker, tuple(change.store_id for change in admission.admitted)))


def write_until_error(worker: int, barrier: Barrier, answers: Queue[Answer | None], url: str) -> None:
    """Write entries until the database is gone; tell the ids of those that were acknowledged."""
    written: list[str] = []
    with Ledger.open(url, timeouts=Timeouts(connect_s=1, read_s=2, lock_s=1)) as ledger:
        barrier.wait(WAIT_S)
        try:
            while True:
                written.append(
                    ledger.record(NewEntry(Actor(f"w{worker}", "service"), "test.write", "success")).entry_id
                )
        except DatabaseUnreachableError:
            answers.put(Answer(worker, tuple(written)))


def die_in_transaction(worker: int, barrier: Barrier, answers: Queue[Answer | None], url: str) -> None:
    """Write an entry and kill this process before it is committed."""

    def work(connection: Connection) -> None:
        entries.append(connection, database.clock, [NewEntry(Actor("w", "service"), "test.write", "success")])
        answers.put(None)
        answers.close()
        answers.join_thread()
        os.kill(os.getpid(), signal.SIGKILL)

    database = Database(url)
    database.write(work)
