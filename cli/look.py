"""Commands that only look: the stores, their credentials, the limits, and what the platform runs on."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import click

from cli import names
from cli.render import print_statuses, print_usage
from cli.session import Session, common, examples, json_option
from stacks.errors import ClusterUnreachableError, UsageError

_STATUSES: Final = ("Pending", "Provisioning", "Ready", "Failed", "Deleting")


@click.command(
    "list",
    epilog=examples(
        "stores list",
        "stores list --owner alice --status Failed",
        "stores status tea-house-x7k2m --deep",
        "stores status --env prod --json",
    ),
)
@json_option
@click.argument("store_ids", metavar="[ID]...", nargs=-1, shell_complete=names.store_ids)
@click.option("--owner", shell_complete=names.owners, help="Only stores of this owner.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only stores that are this.")
@click.option("--cell", shell_complete=names.cells, help="Only stores of this cell, e.g. 02.")
@click.option(
    "--held", is_flag=True, help="Only held stores: those on whose release somebody has worked by plain Helm."
)
@click.option(
    "--deep",
    is_flag=True,
    help="Ask every store now for its shop page, its login page and its store API, and say why where one fails.",
)
@click.pass_obj
@common
def list_stores(
    session: Session,
    *,
    as_json: bool,
    store_ids: tuple[str, ...],
    owner: str | None,
    status: str | None,
    cell: str | None,
    held: bool,
    deep: bool,
) -> None:
    """Show every store with its status, since when, and its URL; `status` is the same command.

    They stand in the manifest's order; those that it has no block for follow, by id. Only stores that every filter fits
    are shown.
    `answered` is when the store was last seen to answer. `held`: somebody has worked on its release by plain Helm.
    """
    with session.gate() as gate:
        found = gate.status(deep=deep, unsure=session.output.note)
    known = {store.store_id for store in found}
    if unknown := [store_id for store_id in store_ids if store_id not in known]:
        raise UsageError(f"store '{unknown[0]}'", "there is no such store", "see `stores list` for the ids")
    chosen = [
        store
        for store in found
        if (not store_ids or store.store_id in store_ids)
        and owner in (None, store.owner)
        and status in (None, store.status)
        and cell in (None, store.cell)
        and (not held or store.held is not None)
    ]
    if as_json:
        session.output.json(chosen)
    elif found and not chosen:
        session.output.line("no store fits")
    else:
        print_statuses(session.output, chosen)


@click.command(epilog=examples("stores credentials tea-house-x7k2m", "stores credentials tea-house-x7k2m --json"))
@json_option
@click.argument("store_id", metavar="ID", shell_complete=names.store_ids)
@click.pass_obj
@common
def credentials(session: Session, *, as_json: bool, store_id: str) -> None:
    """Show how to sign in to a store as its administrator. That you looked is written to the audit log first."""
    with session.gate() as gate:
        found = gate.credentials(store_id, actor=session.actor())
    if as_json:
        session.output.json(found)
        return
    session.output.line(f"url:      {found.url}")
    session.output.line(f"user:     {found.user}")
    session.output.line(f"password: {found.password}")


@click.command(epilog=examples("stores limits", "stores limits alice --json", "stores limits --reached"))
@json_option
@click.argument("owner", required=False, shell_complete=names.owners)
@click.option("--reached", is_flag=True, help="Only owners who can begin no creation now.")
@click.pass_obj
@common
def limits(session: Session, *, as_json: bool, owner: str | None, reached: bool) -> None:
    """Show how much of each limit is used, of all owners or of one, and when the next creation may begin.

    Owners are in alphabetical order.
    """
    if owner is not None and reached:
        raise click.UsageError("--reached chooses among all owners; leave it out, or OWNER.")
    with session.gate() as gate:
        usage = gate.usage()
    if reached:
        full = [one for one in usage.owners if one.used >= one.limit or one.retry_at is None or one.retry_at > usage.at]
        usage = replace(usage, owners=tuple(full))
    owners = [found for found in usage.owners if owner in (None, found.owner)]
    if owner is not None and not owners:
        raise UsageError(f"owner '{owner}'", "there is no such owner", "see `stores limits` for the owners")
    if as_json:
        session.output.json(usage if owner is None else owners[0])
    else:
        print_usage(session.output, usage, owner)


@click.command(epilog=examples("stores doctor", "stores doctor --deep", "stores doctor --env prod --json"))
@json_option
@click.option(
    "--deep",
    is_flag=True,
    help="Try whether the cluster enforces network policies, with two short-lived pods in a namespace of their own; "
    "takes about half a minute. Without it, what was seen last is shown, with its age.",
)
@click.pass_obj
@common
def doctor(session: Session, *, as_json: bool, deep: bool) -> None:
    """Show which engine, plugins, cluster, images and database are in use, what is wrong, and the cure.

    Exits with 7 when something does not work.
    """
    with session.gate() as gate:
        checks = gate.doctor(deep=deep, report=lambda text: session.output.note(f"network policies: {text}"))
    if as_json:
        session.output.json(checks)
    else:
        session.output.table(["", "part", "found"], [[check.state, check.name, check.detail] for check in checks])
        for check in checks:
            if check.cure:
                session.output.line(f"{check.name}: {check.cure}")
    failed = [check for check in checks if check.state == "fail"]
    if failed:
        names = ", ".join(check.name for check in failed)
        raise ClusterUnreachableError("doctor", f"{names}: not in order", "do what stands behind each of them above")


COMMANDS = (list_stores, credentials, limits, doctor)
