"""What the database's owner does to the ledger itself, on record in it: a new schema, granted rights, a restored copy.

The entry comes after the work, since before it there may be no log to write into. Where nothing was changed there is
none.
"""

from __future__ import annotations

from pathlib import Path

from audit import dumps, migrations
from audit.database import Database
from audit.dumps import Dump
from audit.ledger import Ledger
from audit.records import LEDGER_MIGRATE, LEDGER_RESTORE, Actor, NewEntry
from audit.verification import Verification


def migrate(url: str, *, actor: Actor, application: str | None = None, reader: str | None = None) -> str:
    """Bring the ledger to this program's schema and the accounts to their rights; return the schema's name.

    See `audit.migrations.migrate`. On record unless nothing was asked for but a schema that is there.
    """
    before = _schema(url)
    after = migrations.migrate(url, application=application, reader=reader)
    if before != after or application is not None or reader is not None:
        facts = {"from": before, "to": after, "application": application, "reader": reader}
        _record(url, NewEntry(actor, LEDGER_MIGRATE, "success", metadata=facts))
    return after


def restore(url: str, file: Path, *, actor: Actor) -> tuple[Dump, Verification]:
    """Bring a copy back into an empty ledger and prove the log in it; see `audit.dumps.restore`.

    That it was restored is the first entry behind those of the copy, where that is whole.
    """
    dump, verification = dumps.restore(url, file)
    if verification.ok:
        facts = {"file": file.name, "of": dump.at, "last_seq": dump.last_seq, "chain_id": dump.chain_id}
        _record(url, NewEntry(actor, LEDGER_RESTORE, "success", metadata=facts))
    return dump, verification


def _schema(url: str) -> str | None:
    database = Database(url)
    try:
        return database.read(migrations.current)
    finally:
        database.close()


def _record(url: str, entry: NewEntry) -> None:
    with Ledger.open(url) as ledger:
        ledger.record(entry)
