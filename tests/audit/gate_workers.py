"""Whole runs that are killed: the gate's own, in a process, over a real ledger and a folder instead of a cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from audit.ledger import Ledger
from audit.run import Run
from stacks.program import RunOptions
from tests.audit.crash_workers import POINTS, clock
from tests.audit.ledger_samples import ALICE
from tests.audit.small_world import SmallWorld


def work(url: str, root: str, round_number: int, point: str, hasty: bool) -> None:  # noqa: FBT001 - a process's argument
    """Bring the project to what its manifest says; kill this process when `point` is reached.

    `hasty` is a defect: the engine works before anybody has asked for leave.
    """
    assert point in POINTS

    def reached(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    _tell_after(Ledger, "admit", lambda: reached("intent committed"))
    _tell_after(Ledger, "settle", lambda: reached("outcome committed"))
    observe = Run.observe

    def observed(run: Run, leases: Any) -> Any:
        reached("lease held")
        if hasty:
            run.engine.up("01", RunOptions(), frozenset(), run.on_step)
        return observe(run, leases)

    Run.observe = observed  # type: ignore[method-assign]
    with Ledger.open(url, now=clock(round_number)) as ledger, SmallWorld(Path(root), reached).gate(ledger) as gate:
        gate.up(actor=ALICE)


def _tell_after(kind: type, name: str, then: Any) -> None:
    method = getattr(kind, name)

    def called(*arguments: Any, **options: Any) -> Any:
        done = method(*arguments, **options)
        then()
        return done

    setattr(kind, name, called)


def started(url: str, root: Path, round_number: int, point: str, *, hasty: bool = False) -> BaseProcess:
    """Return a running worker."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["audit.gate"])
    process = context.Process(target=work, args=(url, str(root), round_number, point, hasty))
    process.start()
    return process
