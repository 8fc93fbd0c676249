"""The time for which a run holds its cells, and how it is made to end early.

All cells or none. Who cannot renew a lease any more stops the engine, and so does a signal: in order, since the
outcomes of what was done until then are still written.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

from audit.context import RunContext
from audit.phases.broken_locks import Locks
from audit.phases.lease_keeper import LeaseKeeper
from audit.records import Holder, Lease, RunRequest
from components import naming
from stacks.errors import LockedError, StoresError

LEASE_S: Final = 60


@contextmanager
def held(context: RunContext, request: RunRequest | None, cells: Collection[str] | None) -> Iterator[list[Lease]]:
    """Hold these cells, or every cell of the environment, renewed until the end; a signal stops the run in order.

    Who cannot renew stops the engine. Raises LockedError where somebody else holds one; see `acquired`.
    """
    leases = acquired(context, context.run_id, LEASE_S, request, cells)
    keeper = LeaseKeeper(leases, context.ledger.renew_leases, context.cancel, lambda text: context.tell(None, text))
    try:
        with keeper, _signals(context):
            yield leases
    finally:
        give_back(context, leases)


def acquired(
    context: RunContext,
    run_id: str,
    ttl_s: int,
    request: RunRequest | None = None,
    cells: Collection[str] | None = None,
) -> list[Lease]:
    """Return the leases of these cells, or of every cell of the environment; of all or of none.

    With a request, who finds a cell held is told first what its key says. Under the leases the engine's own locks are
    judged by what the ledger knows of their holders.
    """
    holder = Holder(actor=context.actor, host=socket.gethostname(), pid=os.getpid(), run_id=run_id)
    if cells is None:
        cells = {store.cell for store in context.manifest.stores} | {naming.FIRST_CELL}
    leases: list[Lease] = []
    try:
        leases.extend(context.ledger.acquire_lease(context.environment, cell, holder, ttl_s) for cell in sorted(cells))
    except LockedError:
        give_back(context, leases)
        if request is not None:
            context.ledger.replayed(request)  # it may be this very request that holds the cell
        raise
    except BaseException:
        give_back(context, leases)
        raise
    context.leases = tuple(leases)
    context.engine.on_lock = Locks(context, leases, LEASE_S).may_break
    return leases


def give_back(context: RunContext, leases: Sequence[Lease]) -> None:
    """Leave the cells free for others. Leases that cannot be given back are told: they end by themselves."""
    if not leases:
        return
    try:
        # Who has just waited for the database in vain does not wait once more.
        if context.ledger.hung is not None:
            raise context.ledger.hung
        context.ledger.release_leases(leases)
    except StoresError as error:
        # What the run did matters more than this.
        context.tell(None, f"the leases could not be given back, they end within {leases[0].ttl_s} s: {error}")


@contextmanager
def _signals(context: RunContext) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into an orderly stop; the outcomes are still written."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def cancel() -> None:
        context.cancel()
        context.tell(None, "stopping: the engine finishes what it is in the middle of")

    def stop(_number: int, _frame: FrameType | None) -> None:
        # Not from here: the signal may have come in the middle of a write to the same stream, or of a wait for the very
        # event, whose lock this thread then holds.
        threading.Thread(target=cancel).start()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
