"""Where the engine works: a folder with the project's charts, the program as a stack of a cell, and the one process.

What goes wrong is told in our own words.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pulumi import automation
from pulumi.automation.errors import CommandError

from audit.engine.complaints import translated
from audit.engine.process import Process
from audit.target import Target
from components import naming
from stacks import program, settings
from stacks.errors import ClusterUnreachableError, StoresError
from stacks.program import RunOptions
from stacks.settings import Settings


class Workspace:
    """A temporary folder for one environment and target. Close it."""

    def __init__(self, root: Path, environment: Settings, target: Target) -> None:
        self._root = root
        self._settings = environment
        self._target = target
        self._folder = Path(tempfile.mkdtemp(prefix="stores-engine-"))
        # The release's chart is a path relative to the project's root, where the engine starts its plugins.
        (self._folder / "charts").symlink_to(root / "charts")
        # A release that is taken over names its chart as its own record does, by the chart's bare name.
        (self._folder / "store").symlink_to(root / "charts/store")
        self._process: Process | None = None

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def process(self) -> Process:
        """The engine's program; raises ClusterUnreachableError where there is none, or none that can be used."""
        if self._process is None:
            root = self._target.engine_root
            try:
                self._process = Process(str(root) if root is not None else None)
            except FileNotFoundError:
                raise ClusterUnreachableError(
                    "engine",
                    "no `pulumi` program was found",
                    "install Pulumi (https://www.pulumi.com/docs/install/), or run `make up` for the sandbox",
                ) from None
            except automation.InvalidVersionError as error:
                raise ClusterUnreachableError(
                    "engine", " ".join(str(error).split()), "install the version that `stores doctor` names"
                ) from None
        return self._process

    def interrupt(self, *, for_good: bool) -> None:
        """Ask the program to end what it is at, if it was ever started; see `Process.interrupt`."""
        if self._process is not None:
            self._process.interrupt(for_good=for_good)

    def stack(self, cell: str, options: RunOptions, *, create: bool) -> automation.Stack:
        """Return a cell's stack, whose program knows the options.

        Raises StackNotFoundError where there is none and none is to be made, CommandError where the engine failed.
        """
        name = naming.stack(self._settings.environment, cell)
        document = settings.stack_document(self._root, self._settings.environment)
        provider = os.environ.get("PULUMI_SECRETS_PROVIDER", "passphrase")
        workspace = automation.LocalWorkspaceOptions(
            work_dir=str(self._folder),
            program=lambda: program.run(self._root, options),
            env_vars=self._variables(),
            secrets_provider=provider,
            pulumi_command=self.process,
            project_settings=automation.ProjectSettings(
                name=naming.PROJECT,
                runtime="python",
                # Else the folder that the command was called in, where the release's relative chart path is nothing.
                main=str(self._folder),
                backend=automation.ProjectBackend(url=self._target.backend_url),
            ),
            stack_settings={
                name: automation.StackSettings(
                    secrets_provider=document.get("secretsprovider"),
                    # Where nothing is protected, a salt in the file is what a plain `pulumi up` left there, perhaps
                    # with another passphrase; the state holds its own.
                    encryption_salt=document.get("encryptionsalt") if self._settings.protected else None,
                    encrypted_key=document.get("encryptedkey"),
                    config=document["config"],
                )
            },
        )
        make = automation.create_or_select_stack if create else automation.select_stack
        return make(name, project_name=naming.PROJECT, program=lambda: program.run(self._root, options), opts=workspace)

    def put(self, stack: automation.Stack, version: int | None, deployment: Mapping[str, Any]) -> None:
        """Put a state in the place of a stack's. Raises CommandError, also where the stack is locked.

        It reaches the engine through a pipe: never a file, an argument or a variable.
        """
        document = json.dumps({"version": version, "deployment": deployment})
        self.process.feed(["stack", "import", "--stack", stack.name], document, self._folder, self._variables())

    @contextmanager
    def told(self, cell: str) -> Iterator[None]:
        """Raise what the engine fails with on a cell as an error of ours."""
        try:
            yield
        except CommandError as error:
            raise self.failure(error, cell) from None

    def failure(self, error: CommandError, cell: str, messages: tuple[str, ...] = ()) -> StoresError:
        """Return what the engine failed with on a cell; `messages` are its errors that belong to no store."""
        return translated(error, self._settings.environment, cell, messages)

    def _variables(self) -> dict[str, str]:
        return {**self._target.variables, "PULUMI_SKIP_UPDATE_CHECK": "true"}
