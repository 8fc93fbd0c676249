"""The ledger's database, looked after by its owner."""

from __future__ import annotations

import click

from cli.session import Session, common, examples


@click.group()
def db() -> None:
    """Look after the ledger's database."""


@db.command(
    epilog=examples(
        "STORES_LEDGER_URL=mysql+pymysql://owner:...@db/stores stores db migrate --application stores@%",
    )
)
@click.option("--url", envvar="STORES_LEDGER_URL", required=True, show_envvar=True, help="The ledger, as its owner.")
@click.option("--application", metavar="USER@HOST", help="The account of the gate; it is granted what it needs.")
@click.option("--reader", metavar="USER@HOST", help="An account that may only read; it is granted that.")
@click.pass_obj
@common
def migrate(session: Session, *, url: str, application: str | None, reader: str | None) -> None:
    """Bring the ledger to this program's schema. Doing it again changes nothing."""
    from audit import migrations  # noqa: PLC0415 - as the gate: only commands that need it load it

    revision = migrations.migrate(url, application=application, reader=reader)
    session.output.line(f"the ledger has schema {revision}")
