"""The audit log of a ledger: entries are appended to it, listed, proved whole, and archived. None is ever changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import select

from audit import entries, segments, verification
from audit.anchors import Anchor
from audit.opened import Opened
from audit.records import Actor, Entry, Lease, NewEntry
from audit.segments import Segment
from audit.tables import audit_head
from audit.verification import Verification

_PAGE: Final = 1000


class AuditLog(Opened):
    """The log. Every call is one transaction, as those of `audit.ledger`; each is of whichever environment."""

    def record(self, entry: NewEntry, entry_id: str | None = None) -> Entry:
        """Return the entry as written at the end of the log.

        With an `entry_id` of the caller's (`audit.events`), what was recorded under it before is returned instead, also
        to callers at the same moment. Raises UsageError if that says something else, or if the id is no UUID.
        """
        clock = self._database.clock
        own_id = entries.new_id() if entry_id is None else entries.checked_id(entry_id)

        # An id is there once: who comes second is told so by the database, and finds what the first one wrote.
        written = self._database.write(
            lambda connection: entries.append(connection, clock, [entry], [own_id])[0],
            find=lambda connection: entries.find(connection, clock, own_id),
        )
        if entry_id is not None:
            entries.check_same(written, entry)
        return written

    def entries(
        self,
        environment: str | None,
        *,
        store_id: str | None = None,
        owner: str | None = None,
        actor: str | None = None,
        action: str | None = None,
        run_id: str | None = None,
        since_at: datetime | None = None,
        until_at: datetime | None = None,
        outcome: str | None = None,
        limit: int = 100,
        ascending: bool = False,
    ) -> list[Entry]:
        """Return at most `limit` entries that fit every given filter, the newest first. Environment None: of all."""
        return self._database.read(
            lambda connection: entries.listed(
                connection,
                environment,
                store_id=store_id,
                owner=owner,
                actor=actor,
                action=action,
                run_id=run_id,
                since_at=since_at,
                until_at=until_at,
                outcome=outcome,
                limit=limit,
                ascending=ascending,
            )
        )

    def last_successes(self, environment: str, action: str) -> dict[str, datetime]:
        """Return when an action last succeeded, by the store; those that it never succeeded for are not in it."""
        return self._database.read(lambda connection: entries.last_successes(connection, environment, action))

    def entry(self, reference: int | str) -> Entry | None:
        """Return the entry with that number, or with that id, of whichever environment."""
        return self._database.read(lambda connection: entries.one(connection, reference))

    def stream(self, *, after: int = 0) -> Iterator[Entry]:
        """Yield the log's entries behind number `after`, by number, in flat memory.

        It ends at what is the last entry when it begins. Each page is a transaction of its own; since entries are only
        ever appended, they are together what one transaction would have read.
        """
        until = self._database.read(entries.last_seq)
        while found := self._page(after, until):
            yield from found
            after = found[-1].seq

    def _page(self, after: int, until: int) -> list[Entry]:
        return self._database.read(lambda c: entries.page(c, after=after, until=until, limit=_PAGE))

    def verify(self, anchors: Sequence[Anchor] = ()) -> Verification:
        """Return whether the log is whole, and if not, the first bad entry and what was done to it.

        Only anchors, which were kept elsewhere, show a rewrite with matching hashes, or a cut tail with a matching
        head.
        """
        return self._database.read(lambda connection: verification.verify(connection, anchors))

    def archive(
        self,
        file: Path,
        *,
        before: datetime,
        actor: Actor,
        reason: str | None = None,
        run_id: str | None = None,
        held: Sequence[Lease] = (),
    ) -> Segment | None:
        """Leave the entries from before `before` in `file` and purge them; see `audit.segments.archive`.

        Only for the database's owner. None: there is no such entry.
        """
        return segments.archive(
            self._database, file, before=before, actor=actor, reason=reason, run_id=run_id, held=held
        )

    def beginning(self) -> tuple[int, str]:
        """Return the number of the entry before the first one that is there, and its hash; 0 when none was purged."""
        query = select(audit_head.c.purged_seq, audit_head.c.purged_hash)
        row = self._database.read(lambda connection: connection.execute(query).one())
        return row.purged_seq, row.purged_hash

    def anchor(self) -> Anchor:
        """Return the end of the log as it is now, to be kept where the database's users cannot write."""
        clock = self._database.clock
        return self._database.read(lambda connection: verification.anchor(connection, clock))

    def holds(self, anchor: Anchor) -> bool:
        """Return whether the entry that was the last one at the anchor is still there, with its hash, or was archived.

        An entry's hash seals all before it, so nothing up to there was rewritten if it is.
        """
        return self._database.read(lambda connection: verification.holds(connection, anchor))
