"""An engine that was asked to stop: it is told once it runs, and not started any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pulumi.automation import CommandError

from audit.engine.process import WORKS, NotStartedError, Process

# Says that it began, and then waits to be asked to stop.
PROGRAM = """\
import pathlib, signal, sys
if "up" in sys.argv:
    try:
        signal.sigwait([signal.SIGINT])
        pathlib.Path("asked").touch()
    finally:
        sys.exit(1)
pathlib.Path("ran").touch()
"""


@pytest.fixture
def process(tmp_path: Path) -> Process:
    program = tmp_path / "pulumi"
    program.write_text(
        f"#!{sys.executable}\nimport signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n{PROGRAM}"
    )
    program.chmod(0o700)
    made = Process.__new__(Process)
    made.command = str(program)
    made._process, made._stops, made._interrupts, made._code = None, 0, 0, 0
    return made


@pytest.mark.parametrize("command", sorted(WORKS))
def test_once_asked_to_stop_nothing_that_works_on_resources_is_started(
    process: Process, tmp_path: Path, command: str
) -> None:
    process.interrupt(for_good=True)
    with pytest.raises(NotStartedError):
        process.run([command, "--yes"], str(tmp_path), {})
    assert not (tmp_path / "ran").exists()


def test_after_a_wait_that_was_given_up_the_next_work_is_started(process: Process, tmp_path: Path) -> None:
    """What failed is taken back by the engine."""
    process.interrupt(for_good=False)
    process.run(["preview"], str(tmp_path), {})
    assert (tmp_path / "ran").exists()


def test_what_reads_the_state_still_runs(process: Process, tmp_path: Path) -> None:
    """The outcomes are found by looking, after the stop too."""
    process.interrupt(for_good=True)
    process.run(["stack", "export"], str(tmp_path), {})
    assert (tmp_path / "ran").exists()


def test_a_stop_that_comes_while_the_program_is_being_started_reaches_it(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = subprocess.Popen

    def started(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        child = popen(*arguments, **options)
        process.interrupt(for_good=True)  # as a signal's handler would, before anybody knows the child
        return child

    monkeypatch.setattr(subprocess, "Popen", started)
    with pytest.raises(CommandError) as caught:
        process.run(["up", "--yes"], str(tmp_path), {})
    assert not isinstance(caught.value, NotStartedError)
    assert process._interrupts == 1


def test_what_is_no_text_is_read_all_the_same(process: Process, tmp_path: Path) -> None:
    program = tmp_path / "pulumi"
    # More than a pipe holds: an engine that nobody reads would wait for ever.
    program.write_text("#!/bin/sh\nprintf 'caf\\351\\n' >&2\nhead -c 200000 /dev/zero >&2\n")
    program.chmod(0o700)
    assert "caf\ufffd" in process.run(["stack"], str(tmp_path), {}).stderr
