"""The command `stores`: its commands, and how a failure becomes lines on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from cli import apply, audit, backups, completion, database, edit, look, sandbox, upgrade
from cli.output import clean, for_people, silence
from cli.session import Session, common, examples
from stacks.errors import CancelledError, StoresError, UsageError


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=examples(
        "stores plan                       what would change, and what it does to the limits",
        "stores up                         bring every store to what the manifest says",
        "stores add tea-house --owner alice",
        "stores status --env prod",
    ),
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The project's folder.  [default: the nearest folder above with a Pulumi.yaml]",
)
@click.version_option(package_name="multi-store-platform", message="stores %(version)s")
@click.pass_context
@common
def stores(context: click.Context, root: Path | None) -> None:
    """Give every merchant an isolated shop on Kubernetes: plan, change and look at the stores of an environment."""
    session = context.ensure_object(Session)
    session.root_option = root
    given = context.get_parameter_source("env")
    if given is not click.core.ParameterSource.COMMANDLINE and (variable := os.environ.get("STORES_ENV")):
        session.environment = variable


for _command in (
    *apply.COMMANDS,
    *edit.COMMANDS,
    *look.COMMANDS,
    *backups.COMMANDS,
    *upgrade.COMMANDS,
    audit.audit,
    sandbox.sandbox,
    database.db,
    completion.completion,
):
    stores.add_command(_command)
# People type either; both are the same command.
stores.add_command(look.list_stores, "status")


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Every failure is told on stderr, to whoever still reads it."""
    session = Session()
    try:
        _refuse_undecodable(arguments)
        # Without click's own handling, which knows one exit code only.
        result = stores.main(list(arguments), prog_name="stores", standalone_mode=False, obj=session)
    except Exception as error:  # noqa: BLE001 - the last place: whatever it is, it is told
        try:
            return _told(error, verbose=session.verbose)
        except OSError:
            # Nobody can be told.
            silence(sys.stderr)
            return _code_of(error)
    return result if isinstance(result, int) else 0


def _told(error: Exception, *, verbose: bool) -> int:
    """Tell a failure on stderr, and return its exit code."""
    code = _code_of(error)
    if isinstance(error, StoresError):
        if verbose or code == StoresError.exit_code:
            traceback.print_exception(error)
        for problem in error.problems:
            _error(str(problem))
    elif isinstance(error, click.Abort):
        _error("stores: stopped; run it again to go on")
    elif isinstance(error, click.ClickException):
        error.show()
    else:
        traceback.print_exception(error)
        _error(f"stores: {type(error).__name__}: {error}; this is a defect of ours, please report the lines above")
    return code


def _code_of(error: Exception) -> int:
    if isinstance(error, StoresError | click.ClickException):
        return error.exit_code
    return CancelledError.exit_code if isinstance(error, click.Abort) else StoresError.exit_code


def _refuse_undecodable(arguments: Sequence[str]) -> None:
    """Raise UsageError for bytes that are no text: no file, database or terminal could show what was meant."""
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = argument.encode("utf-8", "backslashreplace").decode()[:60]
            raise UsageError(f"argument {number}", f"{shown!r} is no UTF-8 text", "write it in UTF-8") from None


def _error(text: str) -> None:
    for line in clean(for_people(text, sys.stderr)).splitlines() or [""]:
        click.echo(f"error: {line}", err=True)
