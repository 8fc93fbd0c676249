"""Commands that ask the gate for a change, or for what a change would be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.markdown import plan_comment
from cli.output import destination
from cli.progress import RunProgress
from cli.render import print_plan, print_run
from cli.session import Session, common, examples, json_option
from stacks.errors import ChangesPendingError

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
    """Show what `up` would do to each store and to the limits. Changes nothing."""
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
        "stores up --json | jq '.stores[] | {store_id, status, url}'",
    )
)
@json_option
@click.option("--reason", help="Why; stored in the audit log with every change of the run.")
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="Do the same request at most once: a repetition with this key gets the first one's result.",
)
@overwrite_option
@click.pass_obj
@common
def up(
    session: Session, *, as_json: bool, reason: str | None, idempotency_key: str | None, overwrite_drift: bool
) -> None:
    """Bring every store to what the manifest says, within the limits, and wait until each answers.

    Running it again is safe: what is done stays, what failed is tried again. Ctrl-C stops in order and puts on record
    what was done. A held store, on whose release somebody worked by plain Helm, is left alone until its block changes.
    """
    with session.gate() as gate, RunProgress(session.output) as progress:
        result = gate.up(
            actor=session.actor(),
            reason=reason,
            idempotency_key=idempotency_key,
            overwrite_drift=overwrite_drift,
            report=progress,
        )
    print_run(session, result, as_json=as_json)


@click.command(epilog=examples("stores reconcile --import"))
@json_option
@click.option(
    "--import",
    "import_state",
    is_flag=True,
    required=True,
    help="Rebuild the engine's state from the live objects, for stores that it has lost.",
)
@click.pass_obj
@common
def reconcile(session: Session, *, as_json: bool, import_state: bool) -> None:  # noqa: ARG001 - required, so True
    """Bring a lost state back in line with what exists. Changes no object in the cluster."""
    with session.gate() as gate, RunProgress(session.output) as progress:
        result = gate.take_over(actor=session.actor(), report=progress)
    print_run(session, result, as_json=as_json)


COMMANDS = (plan, up, reconcile)
