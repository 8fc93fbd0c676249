"""What holds for every command, asked of every command: a key where something changes, JSON, filters, completion."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click
import pytest
from click.shell_completion import ShellComplete

from audit import records
from cli.main import stores as root_command
from tests.cli.test_cli_docs import ALL_COMMANDS

CHANGES_NOTHING: Final = {
    # Looks at stores, log, database or machine. Each reading of credentials is to be on record, the tenth too.
    "plan", "list", "status", "credentials", "backups", "limits", "doctor", "completion",
    "audit list", "audit show", "audit verify", "audit anchor", "audit export", "db check",
    "sandbox status", "sandbox logs", "sandbox env",
    # Writes files of the checkout alone, which have their own history; again, it finds its work done or says so.
    "add", "rm", "undelete", "fmt", "schema", "db backup",
    # The sandbox is a machine of this checkout's, with no ledger of its own; again, it finds its work done.
    "sandbox up", "sandbox build", "sandbox down",
    # The database's owner's: where the keys are kept is what they make. Again, one finds the schema there, and the
    # other refuses a database that holds anything.
    "db migrate", "db restore",
}  # fmt: skip

IS_JSON_OR_TEXT: Final = {
    "schema": "prints JSON",
    "completion": "prints a shell's script",
    "sandbox up": "`sandbox status --json` tells what it made",
    "sandbox build": "makes what is cached",
    "sandbox down": "removes what `sandbox status --json` lists",
}

LISTS: Final = {
    "list": {"--owner", "--status", "--cell", "--held"},
    "status": {"--owner", "--status", "--cell", "--held"},
    "backups": {"--owner", "--cell", "--late", "--deleted", "--reason", "--since", "--until"},
    "limits": {"--reached"},
    "audit list": {"--store", "--owner", "--actor", "--action", "--run", "--since", "--until", "--outcome", "--limit"},
}

STORE, OWNER, CELL = "tea-house-x7k2m", "alice", "01"
NAMES: Final = {"ID": STORE, "OWNER": OWNER, "CELL": CELL}


def name_of(path: str) -> str:
    return path.removeprefix("stores ")


def options_of(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("path", ALL_COMMANDS)
def test_whatever_changes_something_takes_an_idempotency_key_and_nothing_else_does(path: str) -> None:
    takes = "--idempotency-key" in options_of(ALL_COMMANDS[path])
    assert takes == (name_of(path) not in CHANGES_NOTHING)


def test_the_list_of_what_changes_nothing_names_no_command_that_is_gone() -> None:
    known = {name_of(path) for path in ALL_COMMANDS}
    assert known >= CHANGES_NOTHING
    assert set(IS_JSON_OR_TEXT) <= known
    assert set(LISTS) <= known


@pytest.mark.parametrize("path", ALL_COMMANDS)
def test_every_command_answers_a_program(path: str) -> None:
    assert ("--json" in options_of(ALL_COMMANDS[path])) == (name_of(path) not in IS_JSON_OR_TEXT)


@pytest.mark.parametrize("name", LISTS)
def test_every_list_has_filters_and_says_in_which_order_it_is(name: str) -> None:
    command = ALL_COMMANDS[f"stores {name}"]
    assert LISTS[name] <= options_of(command)
    assert re.search(r"\border\b|newest first|alphabetical", command.help or "")


def _kind(parameter: click.Parameter) -> str | None:
    """Return what a parameter names, by its own name."""
    name = parameter.name or ""
    if name in {"store_id", "store_ids", "canary", "without_final_backup"}:
        return "ID"
    return {"owner": "OWNER", "cell": "CELL"}.get(name)


WITH_NAMES: Final = [
    (path, parameter.name, kind)
    for path, command in ALL_COMMANDS.items()
    for parameter in command.params
    if (kind := _kind(parameter)) is not None
]


def completed(*words: str) -> list[str]:
    *before, incomplete = words
    return [item.value for item in ShellComplete(root_command, {}, "stores", "X").get_completions(before, incomplete)]


@pytest.mark.parametrize(("path", "name", "kind"), WITH_NAMES)
def test_the_shell_completes_every_store_owner_and_cell(project: Path, path: str, name: str, kind: str) -> None:
    parameter = next(found for found in ALL_COMMANDS[path].params if found.name == name)
    words = name_of(path).split()
    before = [parameter.opts[0]] if isinstance(parameter, click.Option) else []
    assert completed(*words, *before, NAMES[kind][:1]) == [NAMES[kind]]
    assert completed(*words, *before, "zzz") == []


def test_no_parameter_that_names_a_store_escapes_by_another_name() -> None:
    for path, command in ALL_COMMANDS.items():
        for parameter in command.params:
            if parameter.metavar in {"ID", "[ID]", "[ID]..."} and parameter.name != "run_id":
                assert _kind(parameter) == "ID", (path, parameter.name)


def test_the_shell_completes_actions_outcomes_statuses_and_environments(project: Path) -> None:
    (project / "Pulumi.prod.yaml").write_text("config: {}\n")
    assert completed("audit", "list", "--action", "store.rest") == ["store.restore"]
    assert completed("audit", "list", "--outcome", "den") == ["denied"]
    assert completed("list", "--status", "Re") == ["Ready"]
    assert completed("backups", "--reason", "man") == ["manual"]
    assert completed("backups", "--env", "p") == ["prod"]


def test_every_action_of_the_log_is_completed(project: Path) -> None:
    found = completed("audit", "list", "--action", "")
    assert {records.STORE_CREATE, records.PRODUCT_UPDATED, records.SESSION_SIGN_IN, records.AUDIT_ARCHIVE} <= set(found)
    assert all(re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", action) for action in found)
    assert found == sorted(set(found))
