"""How a command line ends: exit codes, error lines, where the project is, which environment is meant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from stacks import errors
from stacks.errors import ALL_ERRORS, InternalError, UsageError

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_every_error_ends_in_its_own_code_with_one_line(gate, stores, kind: type[errors.StoresError]) -> None:
    gate.failure = kind("here", "it is wrong", "mend it")
    done = stores("list")
    assert done.code == kind.exit_code
    assert done.err.splitlines()[-1] == "error: here: it is wrong; mend it"
    assert ("Traceback" in done.err) == (kind is InternalError)


def test_verbose_shows_the_trace_of_a_users_mistake_too(gate, stores) -> None:
    gate.failure = UsageError("here", "it is wrong", "mend it")
    assert "Traceback" in stores("list", "--verbose").err
    assert "Traceback" in stores("--verbose", "list").err


def test_what_nobody_expected_is_called_our_defect_with_its_trace(gate, stores) -> None:
    gate.failure = ZeroDivisionError("division by zero")
    done = stores("list")
    assert done.code == 1
    assert "Traceback" in done.err
    assert done.err.endswith(
        "error: stores: ZeroDivisionError: division by zero; this is a defect of ours, please report the lines above\n"
    )


def test_ctrl_c_ends_in_130(gate, stores) -> None:
    gate.failure = KeyboardInterrupt()
    done = stores("list")
    assert done.code == 130
    assert "error: stores: stopped; run it again to go on" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("arguments", [["nonsense"], ["list", "--nonsense"], ["rm"], ["audit", "list", "--limit", "0"]])
def test_a_wrong_call_ends_in_2(gate, stores, arguments: list[str]) -> None:
    done = stores(*arguments)
    assert done.code == 2
    assert "Usage: stores" in done.err


def test_the_gate_is_closed_even_when_it_fails(gate, stores) -> None:
    gate.failure = click.UsageError("x")
    stores("list")
    assert gate.closed


@pytest.mark.parametrize(
    ("variable", "arguments", "expected"),
    [
        (None, ["list"], "local"),
        ("prod", ["list"], "prod"),
        ("prod", ["--env", "local", "list"], "local"),
        ("prod", ["list", "--env", "local"], "local"),
        (None, ["--env", "a", "list", "--env", "b"], "b"),
        ("", ["list"], "local"),
    ],
)
def test_the_nearest_choice_of_the_environment_wins(
    gate, stores, monkeypatch: pytest.MonkeyPatch, *, variable: str | None, arguments: list[str], expected: str
) -> None:
    if variable is not None:
        monkeypatch.setenv("STORES_ENV", variable)
    assert stores(*arguments).code == 0
    assert gate.environment == expected


def test_the_project_is_found_from_a_folder_inside_of_it(gate, stores, project: Path, monkeypatch) -> None:
    monkeypatch.chdir(project / "stacks" / "local")
    assert stores("list").code == 0


def test_outside_of_the_project_one_line_says_what_to_do(stores, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = stores("list")
    assert done.code == 2
    assert "this is not inside the project; change into the checkout, or pass --root" in done.err


def test_root_names_the_project(gate, stores, project: Path, tmp_path_factory, monkeypatch) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    assert stores("--root", str(project), "list").code == 0
    assert f"--root: {elsewhere} has no Pulumi.yaml" in stores("--root", str(elsewhere), "list").err


def test_version_and_help_end_in_0(stores) -> None:
    assert stores("--version").out.startswith("stores 0.")
    assert stores("-h").code == 0


def test_help_does_not_load_the_engine() -> None:
    code = (
        "import sys, cli.main; cli.main.run(['-h']); sys.exit('pulumi' in sys.modules or 'audit.gate' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_can_complete_commands(shell: str) -> None:
    variables = {
        **os.environ,
        "_STORES_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "stores pl",
        "COMP_CWORD": "pl" if shell == "fish" else "1",
    }
    command = [str(Path(sys.executable).with_name("stores"))]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=60)
    assert "plan" in done.stdout
