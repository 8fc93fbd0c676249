"""The ledger as one who may only look sees it, such as a dashboard: he can hold nothing that a writer waits for.

On MariaDB his account may call the procedures `read_*` and nothing else (`audit/migrations/versions/0003_reader.py`);
on SQLite there are no accounts, and the same is read from the tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, select, text

from audit import entries, migrations, reports
from audit.database import DEFAULT_TIMEOUTS, Database, Timeouts
from audit.limits import Limits, OwnerLimits
from audit.opened import Opened
from audit.records import Entry, StoreRow, Usage
from audit.tables import audit_logs, intents, stores, to_us

_FILTERS: Final = ("store_id", "owner", "actor", "action", "run_id", "outcome")
_STORES: Final = text("CALL read_stores(:environment)").columns(*stores.c)
_STARTS: Final = text("CALL read_starts(:environment, :since)").columns(intents.c.owner, intents.c.admitted_at)
_ENTRY: Final = text("CALL read_entry(:seq, :entry_id)").columns(*audit_logs.c)
_ENTRIES: Final = text(
    "CALL read_entries(:environment, :store_id, :owner, :actor, :action, :run_id, :outcome, :since, :until, :after_seq,"
    " :before_seq, :ascending, :rows)"
).columns(*audit_logs.c)


class Reader(Opened):
    """What of the ledger may be looked at. Safe in many threads; close it, or use it as a context manager."""

    @classmethod
    def open(cls, url: str, *, timeouts: Timeouts = DEFAULT_TIMEOUTS) -> Reader:
        """Return the ledger at `url`; raises DatabaseUnreachableError unless it has this program's schema."""
        database = Database(url, timeouts=timeouts)
        migrations.check(database)
        return cls(database)

    def stores(self, environment: str, *, include_deleted: bool = False) -> list[StoreRow]:
        """Return the environment's stores by id."""
        if self._database.is_sqlite:
            return self._database.read(lambda c: reports.stores_of(c, environment, include_deleted=include_deleted))
        found = [reports.to_store(row) for row in self._called(_STORES, environment=environment)]
        kept = (store for store in found if include_deleted or store.status != "Deleted")
        return sorted(kept, key=lambda store: store.store_id)

    def usage(self, environment: str, limits: Limits, owner_limits: Mapping[str, OwnerLimits]) -> Usage:
        """Return what is in use of each limit, for every owner that uses something or has limits of its own."""
        clock = self._database.clock
        if self._database.is_sqlite:
            return self._database.read(lambda c: reports.usage(c, clock, environment, limits, owner_limits))
        now: datetime = self._database.read(lambda c: c.execute(select(clock.label("now"))).scalar_one())
        begun: dict[str, list[datetime]] = {}
        for row in self._called(_STARTS, environment=environment, since=to_us(now - limits.window)):
            begun.setdefault(row.owner, []).append(row.admitted_at)
        used = Counter(store.owner for store in self.stores(environment) if store.holds_slot)
        return reports.summed(environment, now, used, begun, limits=limits, owner_limits=owner_limits)

    def entries(
        self,
        environment: str | None,
        *,
        since_at: datetime | None = None,
        until_at: datetime | None = None,
        after_seq: int | None = None,
        before_seq: int | None = None,
        limit: int = 100,
        ascending: bool = False,
        **filters: str | None,
    ) -> list[Entry]:
        """Return at most `limit` entries that fit every given filter, the newest first. Environment None: of all.

        `filters`: store_id, owner, actor, action, run_id, outcome. The next page begins `before_seq` (or, ascending,
        `after_seq`) the last entry of this one.
        """
        given: dict[str, Any] = {name: filters.pop(name, None) for name in _FILTERS}
        if filters:
            raise TypeError(f"no such filter: {', '.join(sorted(filters))}")
        bounds: dict[str, Any] = {"after_seq": after_seq, "before_seq": before_seq}
        if self._database.is_sqlite:
            asked: dict[str, Any] = {**given, **bounds, "since_at": since_at, "until_at": until_at}
            return self._database.read(
                lambda c: entries.listed(c, environment, **asked, limit=limit, ascending=ascending)
            )
        since, until = (None if moment is None else to_us(moment) for moment in (since_at, until_at))
        asked = {**given, **bounds, "since": since, "until": until, "ascending": int(ascending), "rows": limit}
        return [entries.to_entry(row) for row in self._called(_ENTRIES, environment=environment, **asked)]

    def entry(self, reference: int | str) -> Entry | None:
        """Return the entry with that number, or with that id, of whichever environment."""
        if self._database.is_sqlite:
            return self._database.read(lambda connection: entries.one(connection, reference))
        number, name = (reference, None) if isinstance(reference, int) else (None, reference)
        found = self._called(_ENTRY, seq=number, entry_id=name)
        return entries.to_entry(found[0]) if found else None

    def _called(self, call: Any, **asked: object) -> list[Row[Any]]:
        def work(connection: Connection) -> list[Row[Any]]:
            return list(connection.execute(call, asked))

        return self._database.read(work)
