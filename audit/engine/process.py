"""The `pulumi` program, run as a process of ours."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

from pulumi import automation
from pulumi.automation.errors import CommandError, create_command_error

from audit.engine import guard
from audit.engine.variables import for_engine

WORKS: Final = frozenset({"up", "preview", "refresh", "destroy"})
"""Commands of the engine that work on resources; the others read or write its state."""


class NotStartedError(CommandError):
    """The engine was asked to stop before this command of it was started."""


class Process(automation.PulumiCommand):
    """The `pulumi` program in a session of its own, so that a terminal's Ctrl-C reaches it once, through us.

    None of it outlives this process; see `audit.engine.guard`.
    """

    def __init__(self, root: str | None) -> None:
        super().__init__(root)
        self._process: subprocess.Popen[str] | None = None
        self._stops = 0
        self._interrupts = 0
        self._code = 0

    @property
    def was_cut_short(self) -> bool:
        """Whether the last process was killed, or told to stop at once: then it may have left its lock."""
        return self._code < 0 or self._interrupts > 1

    def interrupt(self, *, for_good: bool) -> None:
        """Send SIGINT to the running process, if there is one; the engine takes a second one as `now`.

        `for_good`: and start nothing any more that works on resources.
        """
        # Counted first: `run` looks at the count once the process is there, so that one of the two finds the other.
        self._stops += for_good
        self._hand_on()

    def _hand_on(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            self._interrupts += 1
            process.send_signal(signal.SIGINT)

    def run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        on_output: Callable[[str], Any] | None = None,
        on_error: Callable[[str], Any] | None = None,
    ) -> automation.CommandResult:
        """Run one command of the engine to its end; raises CommandError unless it succeeds.

        Once it was asked to stop, nothing that works on resources is started any more: NotStartedError.
        """
        works = args[0] in WORKS
        self._interrupts = 0
        if works and self._stops:
            raise NotStartedError(automation.CommandResult(stdout="", stderr="asked to stop before it began", code=130))
        command = [self.command, "--non-interactive", *args]
        mark = secrets.token_hex(16)
        variables = {
            **for_engine({**os.environ, **additional_env, "PULUMI_AUTOMATION_API": "true"}),
            guard.MARK: mark,
        }
        with (
            guard.guard(mark),
            subprocess.Popen(
                command,
                cwd=cwd,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                # Of a plugin, say. A reader that fails leaves the engine waiting for somebody to read.
                errors="replace",
                start_new_session=True,
            ) as process,
        ):
            self._process = process
            if works and self._stops and not self._interrupts:
                self._hand_on()
            output: list[str] = []
            errors: list[str] = []
            readers = [
                threading.Thread(target=_drain, args=(process.stdout, on_output, output)),
                threading.Thread(target=_drain, args=(process.stderr, on_error, errors)),
            ]
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
            code = self._code = process.wait()
        self._process = None
        result = automation.CommandResult(stdout="\n".join(output), stderr="\n".join(errors), code=code)
        if code != 0:
            raise create_command_error(result)
        return result

    def feed(self, args: list[str], text: str, cwd: Path, variables: Mapping[str, str]) -> None:
        """Run one command of the engine that reads `text`; raises CommandError unless it succeeds."""
        mark = secrets.token_hex(16)
        with guard.guard(mark):
            done = subprocess.run(
                [self.command, "--non-interactive", *args],
                cwd=cwd,
                env={**for_engine({**os.environ, **variables}), guard.MARK: mark},
                input=text,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            result = automation.CommandResult(stdout=done.stdout, stderr=done.stderr, code=done.returncode)
            raise create_command_error(result)


def _drain(stream: IO[str] | None, callback: Callable[[str], Any] | None, lines: list[str]) -> None:
    for line in stream or ():
        text = line.rstrip()
        lines.append(text)
        if callback is not None:
            callback(text)
