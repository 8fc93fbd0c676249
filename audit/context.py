"""What every phase of a run has at hand: where it works, for whom, and with what; and what has become of it so far."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from audit.engine.driver import Engine
from audit.engine.events import Step
from audit.entrance import Entrance
from audit.ledger import Ledger
from audit.records import Actor, Lease, Status
from audit.results import ProgressEvent, Report
from audit.scope import Scope
from audit.waiting import Waiting
from components import desired
from stacks.cluster import Cluster
from stacks.manifest import Manifest
from stacks.settings import Settings

# A store has 17 resources: told are those that take time or that people know, and every failure.
_TOLD: Final = frozenset({desired.NAMESPACE, desired.CREDENTIALS, desired.RELEASE})


@dataclass
class RunContext:
    """One run's surroundings. `scope` None: it is about every store of the manifest."""

    root: Path
    settings: Settings
    manifest: Manifest
    ledger: Ledger
    engine: Engine
    cluster: Cluster
    entrance: Entrance
    actor: Actor
    report: Report
    overwrite_drift: bool = False
    without_final_backup: frozenset[str] = frozenset()
    """Stores that may be removed although they cannot be backed up."""
    replaces_data: frozenset[str] = frozenset()
    """Stores whose data this run replaces: they may be closed, from an earlier try."""
    unprotect: str | None = None
    """Why the environment's protection may be taken away; None: it may not. See `audit.unprotection`."""
    stdout_taken: bool = False
    """Whether anchors that were meant for stdout go to stderr; see `audit.gate`."""
    run_id: str = field(default_factory=lambda: f"run-{secrets.token_hex(8)}")
    scope: Scope | None = None
    leases: tuple[Lease, ...] = ()
    """The cells that the run holds, or held last. What it writes is refused once one was taken over."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set once the run was asked to stop."""
    touched: set[str] = field(default_factory=set)
    """Stores that the engine has begun to change, or whose data was."""

    @property
    def environment(self) -> str:
        """The environment's name."""
        return self.settings.environment

    @property
    def waiting(self) -> Waiting:
        """How this run waits for stores."""
        return Waiting(self.cluster, self.entrance, self.cancelled, self.tell)

    def tell(self, store_id: str | None, text: str, status: Status | None = None) -> None:
        """Show what is being done."""
        self.report(ProgressEvent(store_id, text, status))

    def on_step(self, step: Step, phase: str) -> None:
        """Take note of a step of the engine, and show it."""
        if step.store_id is None or step.op in ("same", "read") or step.part is None:
            return
        self.touched.add(step.store_id)
        if phase == "failed" or (phase == "started" and step.part in _TOLD):
            self.tell(step.store_id, f"{step.op} {step.part}" + (" failed" if phase == "failed" else ""))

    def cancel(self) -> None:
        """Ask the run to stop: its waits end now, the engine once it is done with what it is in the middle of."""
        self.cancelled.set()
        self.engine.interrupt()
