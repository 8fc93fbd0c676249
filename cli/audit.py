"""The audit log, read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from cli.output import moment
from cli.session import Session, common, examples, json_option

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def _since(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """Return the time that is meant: how long ago (`90m`, `12h`, `7d`), or a date or time in ISO 8601, else in UTC."""
    if value is None:
        return None
    if ago := re.fullmatch(r"([0-9]{1,6})([mhd])", value):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no time; write e.g. 12h, 7d or 2026-11-01") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


@click.group()
def audit() -> None:
    """Read the audit log: who did what, when, and what became of it."""


@audit.command(
    "list",
    epilog=examples(
        "stores audit list --since 12h",
        "stores audit list --store tea-house-x7k2m --limit 20",
        "stores audit list --action store.credentials.read --json",
    ),
)
@json_option
@click.option("--store", "store_id", metavar="ID", help="Only entries about this store.")
@click.option("--owner", help="Only entries about stores of this owner.")
@click.option("--actor", help="Only entries of what this person or service did.")
@click.option("--action", help="Only entries of this action, e.g. store.create.")
@click.option("--run", "run_id", metavar="ID", help="Only entries of this run.")
@click.option(
    "--since",
    metavar="TIME",
    callback=_since,
    help="Only entries from then on: 90m, 12h, 7d, or an ISO date or time in UTC.",
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many, newest first.")
@click.pass_obj
@common
def list_entries(
    session: Session,
    *,
    as_json: bool,
    store_id: str | None,
    owner: str | None,
    actor: str | None,
    action: str | None,
    run_id: str | None,
    since: datetime | None,
    limit: int,
) -> None:
    """Show entries of the audit log, the newest first."""
    with session.gate() as gate:
        entries = gate.ledger.entries(
            gate.environment,
            store_id=store_id,
            owner=owner,
            actor=actor,
            action=action,
            run_id=run_id,
            since_at=since,
            limit=limit,
        )
    if as_json:
        session.output.json(entries)
        return
    if not entries:
        session.output.line("no entry fits")
        return
    rows = [
        [
            str(entry.seq),
            moment(entry.occurred_at),
            entry.actor,
            entry.action,
            entry.outcome,
            entry.store_id or "-",
            entry.reason or "-",
        ]
        for entry in entries
    ]
    session.output.table(["entry", "at", "actor", "action", "outcome", "store", "reason"], rows)
