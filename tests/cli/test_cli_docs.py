"""Nothing undocumented: every command and option has help, every command and exit code a place in the docs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.main import stores
from stacks.errors import ALL_ERRORS
from stacks.manifest_model import Closed, Image, Owner, OwnerLimits, StoreBlock, Web

ROOT = Path(__file__).parents[2]


def commands(group: click.Group = stores, prefix: str = "stores") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


ALL_COMMANDS = dict(commands())
CODES = sorted({kind.exit_code for kind in ALL_ERRORS})


def docs() -> str:
    return "\n".join(path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))


@pytest.mark.parametrize("path", ALL_COMMANDS)
def test_every_command_has_help_and_examples_that_name_it(path: str) -> None:
    command = ALL_COMMANDS[path]
    assert command.help
    assert command.epilog
    assert path in command.epilog


@pytest.mark.parametrize("path", ALL_COMMANDS)
def test_every_option_has_help(path: str) -> None:
    for parameter in ALL_COMMANDS[path].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("path", ALL_COMMANDS)
def test_every_command_is_in_the_docs(path: str) -> None:
    assert f"`{path}" in docs()


def test_every_group_has_help() -> None:
    groups = [command for command in stores.commands.values() if isinstance(command, click.Group)]
    assert groups
    assert all(group.help for group in (stores, *groups))


def test_every_command_takes_the_options_of_every_command() -> None:
    for path, command in ALL_COMMANDS.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--env", "--no-color", "--verbose"} <= options, path


@pytest.mark.parametrize("code", CODES)
def test_every_exit_code_has_a_runbook_that_says_what_it_means_what_was_changed_and_what_to_run(code: int) -> None:
    text = (ROOT / f"docs/runbooks/exit-{code}.md").read_text()
    assert text.startswith(f"# Exit {code}: ")
    for part in ("**What it means.**", "**What was changed.**", "**What to run next.**"):
        assert part in text
    assert f"[exit-{code}](runbooks/exit-{code}.md)" in (ROOT / "docs/commands.md").read_text()


def test_there_is_no_runbook_of_a_code_that_does_not_exist() -> None:
    found = {int(path.stem.removeprefix("exit-")) for path in (ROOT / "docs/runbooks").glob("exit-*.md")}
    assert found == set(CODES)


def test_no_two_causes_but_our_own_defects_share_a_code() -> None:
    codes = [kind.exit_code for kind in ALL_ERRORS]
    assert len(codes) == len(set(codes))


def test_the_docs_name_no_command_and_no_option_that_does_not_exist() -> None:
    for text in (path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))):
        named = re.findall(r"`(stores [a-z][^`\n]*)`", text)
        # What is to be typed, without its comment; the output that some blocks show begins otherwise.
        typed = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
        for line in (*named, *(line.partition("#")[0].strip() for line in typed if line.startswith("stores "))):
            words = line.split()
            path = next(
                (" ".join(words[:length]) for length in (3, 2) if " ".join(words[:length]) in ALL_COMMANDS), None
            )
            if path is None:
                assert " ".join(words[:2]) in {"stores sandbox", "stores audit", "stores db"}, line
                continue
            options = {option for parameter in ALL_COMMANDS[path].params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= options | {"--help", "--root"}, line


@pytest.mark.parametrize("model", [StoreBlock, Web, Image, Owner, OwnerLimits])
def test_every_key_of_the_manifest_is_in_its_page(model: type[Closed]) -> None:
    text = (ROOT / "docs/manifest.md").read_text()
    for name, field in model.model_fields.items():
        assert f"`{field.alias or name}`" in text


@pytest.mark.parametrize("page", sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")))
def test_links_between_pages_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{page}: {target}"


def test_no_two_decisions_share_a_number_and_each_says_its_own() -> None:
    pages = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    numbers = [page.name[:4] for page in pages]
    assert len(numbers) == len(set(numbers)), numbers
    for page in pages:
        assert page.read_text().startswith(f"# {int(page.name[:4])}. "), page.name


def test_every_target_of_make_that_the_docs_name_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)(?=`|\s*#|$)", docs(), re.MULTILINE))
    assert {"up", "down", "test"} <= named <= targets


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_that_is_named_exists(page: str) -> None:
    for name in re.findall(r"`([\w.-]+/[\w./-]*)`", (ROOT / page).read_text()):
        # What the sandbox or a run makes is not there before.
        assert (ROOT / name).exists() or name.startswith(".stores/"), name


def test_the_architecture_names_every_room_and_every_phase_of_a_run() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for room in {path.split("/")[0] for path in listed if "/" in path}:
        assert f"`{room}/" in text, room
    for module in (ROOT / "audit/phases").glob("[a-z]*.py"):
        assert f"`{module.name}`" in text, module.name


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_documented_for_each_shell(shell: str) -> None:
    assert f"stores completion {shell}" in (ROOT / "docs/commands.md").read_text()
