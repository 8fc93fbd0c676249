"""The ledger's database, looked after by its owner."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click

from cli.session import Session, common, examples, json_option
from stacks.errors import AuditIncompleteError, DatabaseUnreachableError

_url = click.option(
    "--url",
    envvar="STORES_LEDGER_URL",
    required=True,
    show_envvar=True,
    help="The ledger. Better by the variable: a command line can be read by others.",
)


@click.group()
def db() -> None:
    """Look after the ledger's database."""


@db.command(
    epilog=examples(
        "STORES_LEDGER_URL=mysql+pymysql://owner:...@db/stores stores db migrate --application stores@%",
    )
)
@_url
@click.option("--application", metavar="USER@HOST", help="The account of the gate; it is granted what it needs.")
@click.option("--reader", metavar="USER@HOST", help="An account that may only read; it is granted that.")
@json_option
@click.pass_obj
@common
def migrate(session: Session, *, url: str, application: str | None, reader: str | None, as_json: bool) -> None:
    """Bring the ledger to this program's schema, and note that in its log. Doing it again changes nothing."""
    from audit import upkeep  # noqa: PLC0415 - as the gate: only commands that need it load it

    revision = upkeep.migrate(url, actor=session.actor(), application=application, reader=reader)
    if as_json:
        session.output.json({"schema": revision, "application": application, "reader": reader})
    else:
        session.output.line(f"the ledger has schema {revision}")


@db.command(
    epilog=examples(
        "stores db check",
        "STORES_LEDGER_URL=$READER_URL stores db check --as reader --json",
        "STORES_LEDGER_URL=sqlite:////srv/stores/ledger.sqlite stores db check",
    )
)
@json_option
@_url
@click.option(
    "--as",
    "role",
    type=click.Choice(["application", "reader", "owner"]),
    default="application",
    show_default=True,
    help="What the account is meant to be. What it must not be able to do is tried, and taken back.",
)
@click.pass_obj
@common
def check(session: Session, *, as_json: bool, url: str, role: Literal["application", "reader", "owner"]) -> None:
    """Show whether the database is as it must be: version, isolation, durability, rights, schema, clock.

    Changes nothing. Exits with 5 when something is not in order.
    """
    from audit import soundness  # noqa: PLC0415 - as above
    from audit.database import Database  # noqa: PLC0415

    database = Database(url)
    try:
        found = soundness.examine(database, role=role, now=datetime.now(UTC))
    finally:
        database.close()
    if as_json:
        session.output.json(found)
    else:
        session.output.table(["", "part", "found"], [[item.state, item.name, item.detail] for item in found])
        for item in found:
            if item.cure:
                session.output.line(f"{item.name}: {item.cure}")
    failed = [item.name for item in found if item.state == "fail"]
    if failed:
        cure = "do what stands behind each of them above"
        raise DatabaseUnreachableError("ledger", f"{', '.join(failed)}: not in order", cure)


@db.command(
    epilog=examples(
        "stores db backup --output ledger-2026-11-23.jsonl.gz",
        "stores db backup --output ledger.jsonl.gz --json",
    )
)
@json_option
@_url
@click.option(
    "--output",
    "file",
    metavar="FILE",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new file. It holds the whole audit log, so keep it as safe as the ledger.",
)
@click.pass_obj
@common
def backup(session: Session, *, as_json: bool, url: str, file: Path) -> None:
    """Write a copy of the ledger, as it is at one moment, into a file; nobody waits meanwhile.

    The file is read again and proven to be whole before the command ends. `stores db restore` reads it back.
    """
    from audit import dumps  # noqa: PLC0415 - as above
    from audit.database import Database  # noqa: PLC0415

    database = Database(url)
    try:
        dump = dumps.write(database, file)
    finally:
        database.close()
    if as_json:
        session.output.json(dump)
        return
    rows = sum(dump.rows.values())
    session.output.line(f"{file}: {rows} rows of {len(dump.rows)} tables, the log up to entry {dump.last_seq}")


@db.command(
    epilog=examples(
        "STORES_LEDGER_URL=mysql+pymysql://owner:...@db/restored stores db restore ledger-2026-11-23.jsonl.gz",
        "stores db restore ledger.jsonl.gz --url sqlite:////tmp/restored.sqlite",
    )
)
@json_option
@_url
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
@common
def restore(session: Session, *, as_json: bool, url: str, file: Path) -> None:
    """Bring a copy of the ledger back into an empty database, and prove the audit log in it.

    It never writes over a ledger that holds anything. Afterwards `stores db migrate` grants the accounts their rights.
    """
    from audit import upkeep  # noqa: PLC0415 - as above

    dump, verification = upkeep.restore(url, file, actor=session.actor())
    if not verification.ok:
        cure = "the log was not whole when it was backed up; follow docs/runbooks/exit-9.md"
        raise AuditIncompleteError(str(file), f"restored, but {verification}", cure)
    if as_json:
        session.output.json(dump)
        return
    session.output.line(f"restored the ledger of {dump.at}: {verification}")
    session.output.line("next: `stores db migrate` with --application and --reader, then `stores db check`")
