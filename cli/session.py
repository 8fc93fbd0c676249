"""What every command shares: the environment, the project's root, the way to the gate, and how to print."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from cli import names
from cli.output import Output
from stacks.errors import UsageError

if TYPE_CHECKING:
    from audit.gate import Gate
    from audit.records import Actor

DEFAULT_ENVIRONMENT: Final = "local"
_MARKER: Final = "Pulumi.yaml"

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass
class Session:
    """The choices of one call. An option behind the command wins over the same one before it."""

    root_option: Path | None = None
    environment: str = DEFAULT_ENVIRONMENT
    color: bool = True
    verbose: bool = False
    as_json: bool = False

    @property
    def output(self) -> Output:
        """Return how this call prints."""
        return Output(color=self.color)

    @property
    def root(self) -> Path:
        """Return the project's root: the one given, else the nearest folder above that has a Pulumi.yaml."""
        if self.root_option is not None:
            if not (self.root_option / _MARKER).is_file():
                raise UsageError("--root", f"{self.root_option} has no {_MARKER}", "name the project's own folder")
            return self.root_option.resolve()
        here = Path.cwd()
        for folder in (here, *here.parents):
            if (folder / _MARKER).is_file() and (folder / "stacks").is_dir():
                return folder
        raise UsageError(str(here), "this is not inside the project", "change into the checkout, or pass --root")

    @contextmanager
    def gate(self) -> Iterator[Gate]:
        """Hold the environment's gate open."""
        with open_gate(self.root, self.environment) as gate:
            gate.stdout_taken = self.as_json
            yield gate

    def actor(self) -> Actor:
        """Return who runs this command: the operating system's user, or in CI who CI says it runs for.

        What CI says is a claim of the environment's, so it has a kind of its own and is never taken for a user.
        """
        from audit.records import Actor  # noqa: PLC0415 - only commands that need the audit trail load it

        in_ci = os.environ.get("CI", "").lower() in {"true", "1"}
        named = os.environ.get("GITHUB_ACTOR") or os.environ.get("GITLAB_USER_LOGIN") if in_ci else None
        return Actor(named or system_user(), "ci" if in_ci else "user")

    def hint(self, command: str) -> str:
        """Return a command line to run next, for this environment."""
        suffix = "" if self.environment == DEFAULT_ENVIRONMENT else f" --env {self.environment}"
        return f"stores {command}{suffix}"


def system_user() -> str:
    """Return the user whose rights this process has. $LOGNAME and $USER are not asked, since anybody sets them."""
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


def open_gate(root: Path, environment: str) -> Gate:
    """Return the environment's gate."""
    from audit.gate import Gate  # noqa: PLC0415 - it takes a second to load, which `--help` must not wait for

    return Gate.open(root, environment)


def common(command: Command) -> Command:
    """Give a command the options that every command has."""
    # Innermost first, so that they stand last in every help.
    for option in (
        click.option(
            "--verbose",
            is_flag=True,
            default=None,
            expose_value=False,
            callback=_set("verbose"),
            help="Show the trace of every error, not only of our own defects.",
        ),
        click.option(
            "--no-color",
            is_flag=True,
            default=None,
            expose_value=False,
            callback=_set("color", lambda value: not value),
            help="Print plain lines, without colours and live tables; NO_COLOR=1 does the same.",
        ),
        click.option(
            "--env",
            metavar="ENV",
            shell_complete=names.environments,
            expose_value=False,
            callback=_set("environment"),
            help="The environment to work with, e.g. local or prod.  [default: $STORES_ENV, else local]",
        ),
    ):
        command = option(command)
    return command


def examples(*lines: str) -> str:
    """Return an epilog of example lines, which click must not wrap."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


reason_option = click.option("--reason", help="Why; stored in the audit log with every change of the run.")
key_option = click.option(
    "--idempotency-key",
    metavar="KEY",
    help="Do the same request at most once: a repetition with this key gets the first one's result.",
)


def _as_json(context: click.Context, _parameter: click.Parameter, value: bool) -> bool:  # noqa: FBT001 - click's
    context.ensure_object(Session).as_json = value
    return value


json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_as_json, help="Print one JSON document instead of text."
)


def _set(name: str, convert: Callable[[Any], Any] = lambda value: value) -> Callable[..., None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            setattr(context.ensure_object(Session), name, convert(value))

    return callback
