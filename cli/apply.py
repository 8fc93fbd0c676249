"""Commands that ask the gate for a change, or for what a change would be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import names
from cli.markdown import plan_comment
from cli.output import destination
from cli.progress import RunProgress
from cli.render import print_admission, print_plan, print_run
from cli.session import Session, common, examples, json_option, key_option, reason_option
from stacks.errors import ChangesPendingError, RefusedError, UsageError

if TYPE_CHECKING:
    from audit.plan import Plan

overwrite_option = click.option(
    "--overwrite-drift",
    is_flag=True,
    help="Also bring held stores back to what the manifest says: those on whose Helm release somebody worked by hand.",
)


@click.command(
    epilog=examples(
        "stores plan",
        "stores plan --env prod --json > plan.json",
        "stores plan --env prod --markdown --output comment.md",
        "stores plan --env prod --against origin/main --markdown --output comment.md",
        "stores plan --detailed-exitcode || echo 'there are changes'",
    )
)
@json_option
@click.option(
    "--detailed-exitcode", is_flag=True, help="Exit with 10 when there are changes, with 0 only when there are none."
)
@click.option(
    "--markdown", "as_markdown", is_flag=True, help="Print a comment for a pull request, in Markdown, instead of text."
)
@click.option(
    "--output",
    "file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --markdown: write to this file instead of stdout, whole or not at all.",
)
@overwrite_option
@click.option(
    "--against",
    "ref",
    metavar="REF",
    help="Plan from the files alone: what this checkout changes since it left REF. Asks no cluster, no state and no "
    "database, and needs no secret, so it works for a fork's pull request.",
)
@click.option(
    "--quick", is_flag=True, help="Leave out the engine's own preview, which counts the resources of each store."
)
@click.pass_context
@common
def plan(
    context: click.Context,
    *,
    as_json: bool,
    as_markdown: bool,
    file: Path | None,
    detailed_exitcode: bool,
    ref: str | None,
    overwrite_drift: bool,
    quick: bool,
) -> None:
    """Show what `up` would do to each store and to the limits. Changes nothing.

    A change that would replace, move or shrink a store's data is shown first, and the command ends with exit code 11:
    `up` refuses the whole manifest then.
    """
    if as_json and as_markdown:
        raise click.UsageError("Give --json or --markdown, not both.")
    if file is not None and not as_markdown:
        raise click.UsageError("--output goes with --markdown.")
    session = context.ensure_object(Session)
    if ref is not None and overwrite_drift:
        raise click.UsageError("--against asks no cluster, so it knows of no drift; leave --overwrite-drift out.")
    if ref is not None:
        found = _plan_against(session, ref)
    else:
        found = _plan(session, ask_engine=not quick, overwrite_drift=overwrite_drift)
    if as_json:
        session.output.json(found.as_json())
    elif as_markdown:
        with destination(file) as stream:
            stream.write(plan_comment(found))
    else:
        print_plan(session.output, found)
    if found.refused:
        raise RefusedError.of(found.refused)
    if detailed_exitcode and not found.empty:
        context.exit(ChangesPendingError.exit_code)


def _plan(session: Session, *, ask_engine: bool, overwrite_drift: bool) -> Plan:
    with session.gate() as gate:
        return gate.plan(ask_engine=ask_engine, overwrite_drift=overwrite_drift)


def _plan_against(session: Session, ref: str) -> Plan:
    from audit.comparison import against  # noqa: PLC0415 - it takes a second to load, which `--help` must not wait for

    return against(session.root, session.environment, ref)


@click.command(
    epilog=examples(
        "stores up",
        "stores up --env prod --reason 'CHANGE-1234: two new shops'",
        "stores up --overwrite-drift",
        "stores up --override-limits --reason 'CHANGE-1240: agreed with finance'",
        "stores up --env prod --unprotect --reason 'CHANGE-1241: the environment is given up'",
        "stores up --json | jq '.stores[] | {store_id, status, url}'",
    )
)
@json_option
@reason_option
@click.option(
    "--without-final-backup",
    "without_final_backup",
    metavar="ID",
    multiple=True,
    shell_complete=names.store_ids,
    help="Remove this tombstoned store without its last backup; give --reason too. In prod it takes an admin.",
)
@key_option
@overwrite_option
@click.option(
    "--override-limits",
    is_flag=True,
    help="Pass every limit this once. Only for an admin (`stores:admins`), with --reason; it is on record.",
)
@click.option(
    "--unprotect",
    is_flag=True,
    help="Take the protection away from an environment whose settings say stores:protected: false by now; without it "
    "they are refused. A tombstoned store is then removed by this very run: no more grace, no last backup. Only for an "
    "admin, with --reason; it is on record.",
)
@click.pass_obj
@common
def up(
    session: Session,
    *,
    as_json: bool,
    reason: str | None,
    idempotency_key: str | None,
    overwrite_drift: bool,
    override_limits: bool,
    without_final_backup: tuple[str, ...],
    unprotect: bool,
) -> None:
    """Bring every store to what the manifest says, within the limits, and wait until each answers.

    Running it again is safe: what is done stays, what failed is tried again. Ctrl-C stops in order and puts on record
    what was done. A held store, on whose release somebody worked by plain Helm, is left alone until its block changes.
    """
    if override_limits and not (reason and reason.strip()):
        raise UsageError(
            "--override-limits", "has no reason", "say with --reason why the limit may be passed this time"
        )
    if without_final_backup and not (reason and reason.strip()):
        raise UsageError("--without-final-backup", "has no reason", "say with --reason why the data may be lost")
    if unprotect and not (reason and reason.strip()):
        raise UsageError("--unprotect", "has no reason", "say with --reason why the stores may lose their protection")
    with session.gate() as gate, RunProgress(session.output) as progress:
        result = gate.up(
            actor=session.actor(),
            reason=reason,
            idempotency_key=idempotency_key,
            overwrite_drift=overwrite_drift,
            override_limits=override_limits,
            without_final_backup=without_final_backup,
            unprotect=unprotect,
            report=progress,
        )
    print_run(session, result, as_json=as_json)


@click.command(
    epilog=examples(
        "stores admit --env prod --output ticket.json --valid 30",
        "STORES_TICKET_FILE=ticket.json pulumi up --stack prod",
        "stores reconcile --env prod --ticket ticket.json",
    )
)
@click.option(
    "--output",
    "file",
    metavar="FILE",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The new file for the ticket; it must not exist.",
)
@click.option(
    "--valid",
    "valid_min",
    metavar="MINUTES",
    type=click.IntRange(1, 240),
    default=30,
    show_default=True,
    help="How long the ticket holds. Nobody else can change its cells meanwhile.",
)
@json_option
@reason_option
@key_option
@click.pass_obj
@common
def admit(
    session: Session, *, file: Path, valid_min: int, as_json: bool, reason: str | None, idempotency_key: str | None
) -> None:
    """Get leave for one plain `pulumi up` of a protected environment: limits and audit trail now, the engine by hand.

    The ticket names what was admitted, for exactly this manifest and cluster. Removals are not among it: those only
    `stores up` does. Afterwards `stores reconcile --ticket FILE` puts on record what was done and frees the cells;
    a ticket that nobody closed is settled by the next `stores up` after its end.
    """
    with session.gate() as gate, RunProgress(session.output) as progress:
        issued = gate.admit(
            file,
            actor=session.actor(),
            valid_s=valid_min * 60,
            reason=reason,
            idempotency_key=idempotency_key,
            report=progress,
        )
    print_admission(session, issued, file, as_json=as_json)


@click.command(
    epilog=examples("stores reconcile", "stores reconcile --env prod --ticket ticket.json", "stores reconcile --import")
)
@json_option
@click.option(
    "--ticket",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Close this ticket of `stores admit`: put on record what was done with it, and free its cells.",
)
@click.option(
    "--import",
    "import_state",
    is_flag=True,
    help="Rebuild the engine's state from the live objects, for stores that it has lost.",
)
@key_option
@click.pass_obj
@common
def reconcile(
    session: Session, *, as_json: bool, ticket: Path | None, import_state: bool, idempotency_key: str | None
) -> None:
    """Bring ledger and state back in line with what exists. Changes no object in the cluster.

    Every run that was killed gets its outcomes, found by looking at state, cluster and shop; an engine's lock and
    unfinished operations that it left are cleared; every store is asked how it is. `stores up` does the same before its
    own work, so this is for knowing without changing.
    """
    if ticket is not None and import_state:
        raise click.UsageError("Give --ticket or --import, not both.")
    actor, key = session.actor(), idempotency_key
    with session.gate() as gate, RunProgress(session.output) as progress:
        if ticket is not None:
            result = gate.close_ticket(ticket, actor=actor, idempotency_key=key, report=progress)
        elif import_state:
            result = gate.take_over(actor=actor, idempotency_key=key, report=progress)
        else:
            result = gate.reconcile(actor=actor, idempotency_key=key, report=progress)
    print_run(session, result, as_json=as_json)


COMMANDS = (plan, up, admit, reconcile)
