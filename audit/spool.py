"""Outcomes that could not be written because the database went away: kept on this machine until they can be.

One file per run, on disk before anybody is told. The next run on this machine settles from here before it looks at
anything else, so nothing more is changed for an owner whose last change has no outcome. A file that cannot be read
stops every change: what it says is not known.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from audit.ledger import Ledger
from audit.records import AUDIT_SPOOL, Actor, Lease, NewEntry, StoreOutcome
from stacks.errors import AuditIncompleteError, InternalError, LockedError

_FORMAT: Final = 1
_SUFFIX: Final = ".json"
_UNFINISHED: Final = ".new"


@dataclass(frozen=True)
class Spooled:
    """The outcomes of one run, as they lie in its file."""

    file: Path
    run_id: str
    environment: str
    actor: Actor
    outcomes: tuple[StoreOutcome, ...]


def folder_of(root: Path, environment: str, ledger_id: str) -> Path:
    """Return where the outcomes for one ledger are kept: never are they settled into another one."""
    return root / ".stores" / "spool" / f"{environment}-{ledger_id}"


def keep(folder: Path, run_id: str, environment: str, actor: Actor, outcomes: Sequence[StoreOutcome]) -> Path:
    """Leave the outcomes on disk and return their file, readable by its owner alone. Keeping more of a run adds up.

    Raises AuditIncompleteError, which names the outcomes, where they cannot be kept either: the disk is full, say.
    """
    file = folder / f"{run_id}{_SUFFIX}"
    try:
        _keep(file, environment, actor, outcomes)
    except OSError as error:
        with suppress(OSError):
            file.with_suffix(_UNFINISHED).unlink(missing_ok=True)
        told = ", ".join(f"{outcome.store_id} {outcome.status}" for outcome in outcomes)
        raise AuditIncompleteError(
            f"run {run_id}",
            f"its outcomes ({told}) could neither be written into the ledger nor be kept on this machine: {folder}: "
            f"{error.strerror or error}",
            "keep this message; make room there and bring the database back, then run `stores up`, which settles the "
            "run by looking at what exists",
        ) from error
    return file


def _keep(file: Path, environment: str, actor: Actor, outcomes: Sequence[StoreOutcome]) -> None:
    folder, run_id = file.parent, file.stem
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = {outcome.store_id: outcome for outcome in (_read(file).outcomes if file.exists() else ())}
    known |= {outcome.store_id: outcome for outcome in outcomes}
    said = {
        "spool": _FORMAT,
        "run_id": run_id,
        "environment": environment,
        "actor": asdict(actor),
        "outcomes": [{**asdict(outcome), "metadata": dict(outcome.metadata)} for outcome in known.values()],
    }
    temporary = file.with_suffix(_UNFINISHED)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        json.dump(said, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(file)
    _sync(folder)


def waiting(folder: Path) -> list[Spooled]:
    """Return what waits to be settled, by run. Raises AuditIncompleteError for a file that cannot be read."""
    return [_read(file) for file in sorted(folder.glob(f"*{_SUFFIX}"))]


def settle(folder: Path, ledger: Ledger, actor: Actor, leases: Sequence[Lease] = ()) -> list[Spooled]:
    """Leave everything that waits on record, under `leases`, and return it. Doing it again changes nothing.

    What somebody else has settled otherwise meanwhile stays as he settled it; that there was another outcome is put on
    record beside it. Raises DatabaseUnreachableError; what is not settled then still waits.
    """
    if not folder.is_dir():
        return []
    with _alone(folder):
        found = waiting(folder)
        for spooled in found:
            for outcome in spooled.outcomes:
                _settle_one(ledger, spooled, outcome, actor, leases)
            spooled.file.unlink()
            _sync(folder)
        return found


def _settle_one(ledger: Ledger, spooled: Spooled, outcome: StoreOutcome, actor: Actor, leases: Sequence[Lease]) -> None:
    try:
        ledger.settle(spooled.run_id, [outcome], leases=leases)
    except (LockedError, InternalError) as error:
        # Taken over, settled by looking, or of a ledger that was restored from before the run: told, never forced.
        ledger.record(
            NewEntry(
                actor,
                AUDIT_SPOOL,
                "failure",
                environment=spooled.environment,
                store_id=outcome.store_id,
                run_id=spooled.run_id,
                reason=str(error),
                metadata={
                    "outcome": outcome.outcome,
                    "status": outcome.status,
                    "reason": outcome.reason,
                    "by": spooled.actor.name,
                },
            )
        )


def _read(file: Path) -> Spooled:
    try:
        said: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        said = {_FORMAT: said}[said["spool"]]
        outcomes = tuple(StoreOutcome(**outcome) for outcome in said["outcomes"])
        return Spooled(file, str(said["run_id"]), str(said["environment"]), Actor(**said["actor"]), outcomes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AuditIncompleteError(
            str(file),
            f"the outcomes of a run cannot be read from it: {type(error).__name__}: {error}",
            "restore the file, or move it away and write down that its run was never settled; until then nothing is "
            "changed",
        ) from None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
