"""What is printed where: colours and live tables for people at a terminal, plain lines for everything else."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from audit.results import ProgressEvent
from cli.output import Output, clean, destination, duration, plain
from cli.progress import BuildProgress, RunProgress
from sandbox.progress import Progress

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


class Terminal(io.StringIO):
    """A stream that a person watches."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Time that passes when a test says so."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def watch(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in place of stdout and stderr; only once the test runs, since pytest sets its own before."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def show_all(output: Output) -> None:
    output.table(["store", "status"], [["tea\x1b[2J", "Ready"]])
    output.line("a line\x07")
    with RunProgress(output) as progress:
        progress(ProgressEvent("tea", "create \x1b]0;x\x07", "Ready"))
        progress(ProgressEvent(None, "reading"))
    with BuildProgress(output) as build:
        build(Progress("build", "kubelet", 3, 9, 250.0))


def test_a_pipe_gets_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    show_all(Output())
    out, err = capsys.readouterr()
    assert not CONTROL.search(out + err)
    assert "tea\\x1b[2J  Ready" in out
    assert "tea: create \\x1b]0;x\\x07 (Ready)" in err


def test_a_terminal_gets_colours_and_a_live_table(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watch(monkeypatch)
    show_all(Output())
    assert "\x1b[32mReady" in terminal.getvalue()
    assert "\x1b]0" not in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()


@pytest.mark.parametrize("how", ["NO_COLOR", "--no-color", "TERM=dumb"])
def test_a_terminal_gets_plain_lines_when_asked(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    terminal = watch(monkeypatch)
    if how == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    if how == "TERM=dumb":
        monkeypatch.setenv("TERM", "dumb")
    show_all(Output(color=how != "--no-color"))
    assert not CONTROL.search(terminal.getvalue())
    assert "[0 s] tea: create" in terminal.getvalue()


def test_long_lines_are_not_broken_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(["url"], [["x" * 300]])
    Output().line("y " * 300)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_table_without_rows_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(["a"], [])
    assert capsys.readouterr().out == ""


def test_a_live_table_shows_each_store_once_with_its_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watch(monkeypatch)
    clock = Clock()
    progress = RunProgress(Output(), clock)
    with progress:
        progress(ProgressEvent("tea", "create namespace", "Provisioning"))
        clock.now_s = 75
        progress(ProgressEvent("tea", "answers", "Ready"))
        clock.now_s = 90
        progress(ProgressEvent("bar", "create release", "Provisioning"))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    last = shown[shown.rindex("elapsed") :]
    assert re.search(r"tea +Ready +answers +1 min 15 s", last)
    assert re.search(r"bar +Provisioning +create release +0 s", last)


def test_in_a_pipe_a_long_step_is_told_again_only_after_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with BuildProgress(Output(), clock) as progress:
        for second in range(25):
            clock.now_s = second
            progress(Progress("compile", "kubelet", second, 900))
        progress(Progress("compile", "helm", 0, 10, 61.0))
    assert capsys.readouterr().err.splitlines() == [
        "[0 s] compile: kubelet, 0 of 900",
        "[10 s] compile: kubelet, 10 of 900",
        "[20 s] compile: kubelet, 20 of 900",
        "[24 s] compile: helm, 0 of 10, about 1 min 1 s left",
    ]


def test_json_escapes_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    Output().json({"a": "\x1b[31m", "b": "\x9b31m", "c": "Caf\u00e9"})
    out = capsys.readouterr().out
    assert "\\u001b[31m" in out
    assert "\\u009b31m" in out
    assert "Caf\u00e9" in out


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3725, "62 min 5 s")])
def test_durations_are_told_in_minutes_and_seconds(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_clean_shows_control_characters_and_keeps_letters() -> None:
    assert clean("a\x1b\x9b\u00e9\U0001f375\x00\r") == "a\\x1b\\x9b\u00e9\U0001f375\\x00\\x0d"


def test_plain_keeps_what_json_knows() -> None:
    assert plain({"a": (1, None, True, 2.5)}) == {"a": [1, None, True, 2.5]}


def test_an_answer_replaces_a_file_behind_a_link_and_keeps_its_mode(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    with destination(link) as stream:
        stream.write("new")
        assert file.read_text() == "old"
    assert (file.read_text(), link.is_symlink(), file.stat().st_mode & 0o777) == ("new", True, 0o640)


def test_an_answer_goes_into_a_device_and_does_not_take_its_place() -> None:
    with destination(Path("/dev/null")) as stream:
        stream.write("x")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_command_whose_reader_has_left_goes_on_to_its_end(closed: str) -> None:
    code = (
        "import sys; from cli.output import Output\n"
        "for _ in range(3): Output().line('an answer'); Output().note('a step')\n"
        "sys.stdin.read()\n"
        "for _ in range(3): Output().line('an answer'); Output().note('a step')\n"
        "sys.exit(7)"
    )
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], text=True, stdin=subprocess.PIPE, **pipes) as process:
        gone, stays = getattr(process, closed), process.stderr if closed == "stdout" else process.stdout
        gone.close()
        assert process.stdin is not None
        process.stdin.close()
        assert stays is not None
        said = stays.read().splitlines()
    assert said == ["a step" if closed == "stdout" else "an answer"] * 6
    assert process.returncode == 7


def test_a_full_disk_below_its_log_ends_no_command() -> None:
    code = "import sys; from cli.output import Output\nfor _ in range(3): Output().note('a step')\nsys.exit(7)"
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([sys.executable, "-c", code], stderr=full, check=False).returncode == 7


def test_a_refusal_whose_reader_has_left_keeps_its_exit_code(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    run = "import sys; from cli.main import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", run, "--root", str(tmp_path / "nowhere"), "list"]
    try:
        assert subprocess.run(command, stderr=write, stdout=subprocess.DEVNULL, check=False).returncode == 2
    finally:
        os.close(write)
