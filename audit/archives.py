"""One archive of the audit log, asked for: by one at a time, and once under an idempotency key.

The log is one for all environments of a ledger, so whoever archives holds one lease for all of it. The entry of what
was purged is committed with it, and is what the key stands for.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from audit import idempotency
from audit.limits import Limits
from audit.phases.lease_keeper import LeaseKeeper
from audit.records import AUDIT_ARCHIVE, Actor, Holder, Lease, NewEntry, RunRequest
from audit.segments import Segment
from stacks.errors import DatabaseUnreachableError, LockedError, StoresError

if TYPE_CHECKING:
    from audit.ledger import Ledger

LOG: Final = "audit-log"
"""Environment and cell of the lease of whoever archives: no environment and no cell has such a name."""
_LEASE_S: Final = 60


@dataclass(frozen=True)
class Archived:
    """What came of it. `segment` None: no entry was that old. `replayed`: it is an earlier call's result.

    `file`: what the segment is in; of an earlier call's, the name alone is on record.
    """

    segment: Segment | None
    file: str
    replayed: bool = False


def archive(
    ledger: Ledger,
    file: Path,
    *,
    before: tuple[str, datetime],
    actor: Actor,
    reason: str,
    idempotency_key: str | None = None,
    tell: Callable[[str], None] = lambda _text: None,
) -> Archived:
    """Leave the entries from before a moment in `file` and purge them; see `audit.segments.archive`.

    `before`: as it was asked for, which tells the request from others under its key, and the moment that is meant. The
    file does not: a call that was killed may have left it, and is gone on with in another.
    Raises LockedError where somebody else is at it.
    """
    run_id = f"archive-{secrets.token_hex(8)}"
    asked = idempotency.asked("audit archive", before=before[0])
    request = RunRequest(
        run_id, LOG, actor, Limits(), {}, (), reason=reason, idempotency_key=idempotency_key, fingerprint=asked
    )
    holder = Holder(actor, socket.gethostname(), os.getpid(), run_id)
    try:
        held = [ledger.acquire_lease(LOG, LOG, holder, _LEASE_S)]
    except LockedError:
        ledger.replayed(request)  # it may be this very request that is under way
        raise
    try:
        # Nothing is stopped where the lease is lost: what is purged is asked for it.
        with LeaseKeeper(held, ledger.renew_leases, lambda: None, tell):
            earlier = ledger.claim(replace(request, leases=tuple(held)))
            if earlier is not None:
                return Archived(_segment_of(earlier.metadata), str(earlier.metadata["file"]), replayed=True)
            return Archived(_archived(ledger, file, before[1], request, held=tuple(held)), str(file))
    finally:
        try:
            # Who has just waited for the database in vain does not wait once more.
            if ledger.hung is not None:
                raise ledger.hung
            ledger.release_leases(held)
        except StoresError as error:
            tell(f"the lease of the log could not be given back, it ends within {_LEASE_S} s: {error}")


def _archived(
    ledger: Ledger, file: Path, before: datetime, request: RunRequest, *, held: tuple[Lease, ...]
) -> Segment | None:
    """Archive, and leave an entry that speaks for the key: the purge's own, or one that says why there is none."""
    actor, reason, run_id = request.actor, request.reason, request.run_id
    metadata = {"file": file.name}
    said = NewEntry(actor, AUDIT_ARCHIVE, "success", run_id=run_id, reason=reason, metadata=metadata)
    try:
        segment = ledger.archive(file, before=before, actor=actor, reason=reason, run_id=run_id, held=held)
    except StoresError as error:
        # The purge may be on record, or is, where its file was left: a failure behind it would hide that from the key.
        left = isinstance(error, DatabaseUnreachableError) and file.exists()
        if request.idempotency_key is not None and ledger.hung is None and not left:
            with suppress(StoresError):
                ledger.record(replace(said, outcome="failure", reason=str(error)))
        raise
    if segment is None and request.idempotency_key is not None:
        ledger.record(said)
    return segment


def _segment_of(said: Mapping[str, object]) -> Segment | None:
    if "last_seq" not in said:
        return None
    first, last = (int(str(said[name])) for name in ("first_seq", "last_seq"))
    return Segment(
        str(said["chain_id"]), first, last, str(said["prev_hash"]), str(said["last_hash"]), str(said["sha256"])
    )
