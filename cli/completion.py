"""The scripts that let a shell complete what is typed."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from cli.session import common, examples

SHELLS: Final = ("bash", "zsh", "fish")
VARIABLE: Final = "_STORES_COMPLETE"


@click.command(
    epilog=examples(
        'eval "$(stores completion bash)"             in ~/.bashrc',
        'eval "$(stores completion zsh)"              in ~/.zshrc, behind compinit',
        "stores completion fish > ~/.config/fish/completions/stores.fish",
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
@common
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete commands, options, store ids, owners and environments."""
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - click knows the three shells that can be named
    click.echo(made(context.find_root().command, {}, "stores", VARIABLE).source())
