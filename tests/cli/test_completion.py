"""Completion: the three shells get their script, and what is completed is what the project has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from cli.main import stores as root_command


def completed(*words: str) -> list[str]:
    *before, incomplete = words
    return [item.value for item in ShellComplete(root_command, {}, "stores", "X").get_completions(before, incomplete)]


@pytest.mark.parametrize(
    ("shell", "text"),
    [("bash", "complete -o nosort"), ("zsh", "#compdef stores"), ("fish", "complete --no-files --command stores")],
)
def test_each_shell_gets_its_script(gate, stores, shell: str, text: str) -> None:
    done = stores("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert text in done.out
    assert f"{shell}_complete" in done.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_accepts(gate, stores, shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(stores("completion", shell).out)
    if shutil.which(shell) is None:
        assert script.read_text().count("{") == script.read_text().count("}")  # this shell is not here to be asked
        return
    option = "--no-execute" if shell == "fish" else "-n"
    assert subprocess.run([shell, option, str(script)], check=False).returncode == 0


def test_bash_completes_by_the_script(project: Path) -> None:
    """The whole way: the script as bash runs it, calling the command."""
    program = Path(sys.executable).with_name("stores")
    script = subprocess.run([program, "completion", "bash"], capture_output=True, text=True, check=True).stdout
    words = "COMP_WORDS=(stores credentials te); COMP_CWORD=2"
    asked = f'{script}\n{words}; _stores_completion {program}\necho "${{COMPREPLY[@]}}"'
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, check=True, env=environment, cwd=project
    )
    assert done.stdout.split() == ["tea-house-x7k2m"]


def test_a_shell_that_is_not_known_is_refused(gate, stores) -> None:
    assert stores("completion", "tcsh").code == 2


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("audit", "ver"), ["verify"]),
        (("up", "--overr"), ["--override-limits"]),
        (("credentials", ""), ["tea-house-x7k2m"]),
        (("credentials", "x"), []),
        (("rm", "tea"), ["tea-house-x7k2m"]),
        (("audit", "list", "--store", "t"), ["tea-house-x7k2m"]),
        (("add", "new", "--owner", "a"), ["alice"]),
        (("limits", ""), ["alice"]),
        (("plan", "--env", ""), ["local", "prod"]),
        (("plan", "--env", "p"), ["prod"]),
        (("credentials", "--env", "prod", ""), []),
    ],
)
def test_names_come_from_the_projects_files(project: Path, words: tuple[str, ...], found: list[str]) -> None:
    for name in ("local", "prod"):
        (project / f"Pulumi.{name}.yaml").write_text("config: {}\n")
    assert completed(*words) == found


@pytest.mark.parametrize("text", ["", "stores: 7", "{", "stores:\n  - 1\n", "stores:\n  - {name: x}\n"])
def test_a_file_that_cannot_be_read_completes_nothing_and_never_fails(project: Path, text: str) -> None:
    (project / "stacks/local/stores.yaml").write_text(text)
    assert completed("credentials", "") == []


def test_outside_of_a_project_nothing_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert completed("credentials", "") == []
    assert completed("plan", "--env", "") == []
