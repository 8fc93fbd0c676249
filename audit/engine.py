"""The driver of the Pulumi engine: the only place, beside the program, that imports its SDK.

It runs the same program as plain `pulumi up`, inside this process, and turns the engine's events and errors into our
own words. It decides nothing: what may run was decided by the gate.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, Self, TypeVar

from pulumi import automation
from pulumi.automation import events
from pulumi.automation.errors import (
    CommandError,
    ConcurrentUpdateError,
    StackNotFoundError,
    create_command_error,
)

from audit import engine_guard, recovery
from audit.target import Target
from components import desired, naming
from stacks import program, settings
from stacks.errors import ClusterUnreachableError, LockedError, StoresError
from stacks.program import RunOptions
from stacks.settings import Settings

# Resources that the engine works on at once. A release waits for minutes, so more than the cores are worth it.
PARALLEL: Final = 16

_LOCK_HOLDER: Final = re.compile(r"created by \S+@(\S+) \(pid (\d+)\)(?: at (\S+))?")
# Ours, for our own commands. The ledger's holds a password, and no engine or plugin has any business with it.
_OURS: Final = "STORES_"
_PLUGINS_OWN: Final = frozenset({"STORES_HELM"})
_RELEASE_TYPE: Final = "kubernetes:helm.sh/v3:Release"
_MARKUP: Final = re.compile(r"<\{%[^%]*%\}>")


@dataclass(frozen=True)
class Step:
    """One thing that the engine did or would do. `op` is the engine's word: create, update, delete, replace, same."""

    urn: str
    type: str
    op: str
    store_id: str | None
    part: str | None
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The engine's state of one cell. `applied` holds each store's desired state as it was last applied in full."""

    exists: bool
    applied: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    """Every store that the state holds anything of, complete or not."""
    cluster_uid: str | None = None
    platform_keys: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of the platform key's versions that the cell's secrets were derived with."""
    pending: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    revisions: Mapping[str, int] = field(default_factory=dict)
    """The Helm revision that the last work of ours on each store's release has left."""
    urns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Everything that the state holds of each store: the component, and what it is made of."""


@dataclass(frozen=True)
class EngineResult:
    """What a run came to. `failures` says, per store, why it did not become what was wanted.

    `began` False: the run was asked to stop before the engine was started, so it has changed nothing.
    """

    steps: tuple[Step, ...]
    failures: Mapping[str, str]
    cancelled: bool = False
    began: bool = True
    given_up: Mapping[str, str] = field(default_factory=dict)
    """Of the failures, those that were not waited for to the end, with why; see `audit.lookout`."""


_WORKS: Final = frozenset({"up", "preview", "refresh", "destroy"})
"""Commands of the engine that work on resources; the others read or write its state."""

OnStep = Callable[[Step, str], None]
"""Called with a step and its phase: `started`, `done` or `failed`."""


@dataclass(frozen=True)
class LockHolder:
    """Who holds the engine's own lock, as the lock says. `since_at` is that host's clock; None where it cannot be read.

    The process is the engine itself, not the command that has started it.
    """

    host: str
    pid: int
    since_at: datetime | None = None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this machine."""
        return self.host == socket.gethostname()

    @property
    def is_gone(self) -> bool:
        """Whether it was a process of this machine, and does not exist any more."""
        return self.is_here and not _lives(self.pid)


class EngineLockedError(LockedError):
    """The engine's own lock is held. `abandoned`: by processes of this machine that are all gone."""

    def __init__(self, where: str, holders: Sequence[LockHolder]) -> None:
        self.holders = tuple(holders)
        self.abandoned = bool(holders) and all(holder.is_gone for holder in holders)
        told = ", ".join(map(str, holders)) or "somebody"
        super().__init__(
            where,
            f"the engine's state is locked by {told}",
            "wait for its end; if it is gone for certain, run `pulumi cancel` with the variables of `stores sandbox "
            "env`, or your own",
        )


def _only_abandoned(_cell: str, error: EngineLockedError) -> None:
    if not error.abandoned:
        raise error


OnLock = Callable[[str, EngineLockedError], None]
"""Called before a cell's lock is broken; it raises the error where a holder may live. See `audit.broken_locks`."""

T = TypeVar("T")


class Engine:
    """The engine for one environment and target. Use it as a context manager: it owns a temporary folder."""

    def __init__(self, root: Path, environment: Settings, target: Target) -> None:
        self._root = root
        self._settings = environment
        self._target = target
        self._folder = Path(tempfile.mkdtemp(prefix="stores-engine-"))
        # The release's chart is a path relative to the project's root, where the engine starts its plugins.
        (self._folder / "charts").symlink_to(root / "charts")
        # A release that is taken over names its chart as its own record does, by the chart's bare name.
        (self._folder / "store").symlink_to(root / "charts/store")
        self._command: _Command | None = None
        self._stopped = False
        self._gave_up = False
        self._broken = 0
        self.on_lock: OnLock = _only_abandoned
        """Who decides whether a lock may be broken: by itself the engine breaks only those of this machine's dead."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def version(self) -> str:
        """The engine's version."""
        return str(self._pulumi().version)

    def snapshot(self, cell: str) -> Snapshot:
        """Return what the state of a cell holds; a stack that does not exist yet holds nothing."""
        try:
            stack = self._stack(cell, RunOptions(), create=False)
        except StackNotFoundError:
            return Snapshot(exists=False)
        except CommandError as error:
            raise self._translate(error, cell) from None
        try:
            deployment = stack.export_stack().deployment
        except CommandError as error:
            raise self._translate(error, cell) from None
        return read_snapshot(deployment)

    def preview(
        self, cell: str, options: RunOptions, store_ids: frozenset[str], *, targets: Sequence[str] = ()
    ) -> EngineResult:
        """Return what a run would do, of `targets` as of `up`; changes nothing."""
        recorder = _Recorder(store_ids, lambda _step, _phase: None)
        try:
            stack = self._stack(cell, options, create=True)
            stack.preview(parallel=PARALLEL, on_event=recorder.on_event, color="never", target=list(targets) or None)
        except CommandError as error:
            if self._stopped:
                return recorder.result(cancelled=True, began=False)
            if not recorder.failures:
                raise self._translate(error, cell, recorder.messages) from None
        return recorder.result()

    def up(
        self,
        cell: str,
        options: RunOptions,
        store_ids: frozenset[str],
        on_step: OnStep,
        *,
        targets: Sequence[str] = (),
    ) -> EngineResult:
        """Bring a cell to what the program says. One store's failure does not stop the others.

        With `targets`, exact URNs, the engine works on nothing else; the program registers the whole cell all the same.
        Raises a StoresError only when the engine failed as a whole; stores that failed are in the result.
        """
        try:
            return self._unlocked(cell, lambda: self._up(cell, options, store_ids, on_step, targets))
        finally:
            if self._pulumi().was_cut_short:
                # What cannot be cleared now the next run does; how this one ended matters more.
                with suppress(StoresError):
                    self.clear(cell, pending=False)

    def _unlocked(self, cell: str, work: Callable[[], T]) -> T:
        """Return what the work returns; where a lock that nobody holds stands in its way, after breaking that.

        Our lease says that nobody else works on the cell, so a lock whose process is gone was left by a killed run.
        """
        try:
            return work()
        except EngineLockedError as error:
            self.on_lock(cell, error)
        self._broken += 1
        try:
            self._stack(cell, RunOptions(), create=False).cancel()
        except CommandError as error:
            raise self._translate(error, cell) from None
        return work()

    def _up(
        self, cell: str, options: RunOptions, store_ids: frozenset[str], on_step: OnStep, targets: Sequence[str]
    ) -> EngineResult:
        recorder = _Recorder(store_ids, on_step)
        self._gave_up = False
        try:
            stack = self._stack(cell, options, create=True)
            stack.up(
                parallel=PARALLEL,
                continue_on_error=True,
                target=list(targets) or None,
                on_event=recorder.on_event,
                color="never",
                suppress_outputs=True,
                show_secrets=False,
            )
        except CommandError as error:
            if not (recorder.failures or self._stopped or self._gave_up):
                raise self._translate(error, cell, recorder.messages) from None
            return recorder.result(cancelled=self._stopped, began=not isinstance(error, NotStartedError))
        return recorder.result()

    def clear(self, cell: str, *, pending: bool = True) -> bool:
        """Remove what a killed engine has left of a cell: its lock, and operations that it began and never ended.

        Only for who holds the cell's lease. Returns whether there was anything. A lock whose holder may live stays, and
        raises EngineLockedError. Objects that an operation made meanwhile are found again by the next run. An update of
        a release stays noted, because by it the next run knows that what Helm has is the platform's own doing; the
        engine itself drops it then. Without `pending`, only the lock is looked at.
        """
        try:
            stack = self._stack(cell, RunOptions(), create=False)
        except StackNotFoundError:
            return False
        except CommandError as error:
            raise self._translate(error, cell) from None
        broken_before = self._broken

        def rewrite() -> bool:
            # Importing takes the lock, so that a live engine is noticed. Read in here: it may have written until now.
            try:
                exported = stack.export_stack()
                deployment = dict(exported.deployment or {})
                before = deployment.get("pending_operations") or []
                kept = [one for one in before if not pending or _is_update_of_release(one)]
                document = json.dumps(
                    {"version": exported.version, "deployment": {**deployment, "pending_operations": kept}}
                )
                self._pulumi().feed(
                    ["stack", "import", "--stack", stack.name], document, self._folder, self._variables()
                )
            except CommandError as error:
                raise self._translate(error, cell) from None
            return len(kept) < len(before)

        return self._unlocked(cell, rewrite) or self._broken > broken_before

    def refresh(self, cell: str, names: frozenset[str]) -> None:
        """Bring the state of these logical names in line with what is live; nothing else of the cell is asked.

        An object that is gone leaves the state, so that the next run makes it again.
        """
        try:
            stack = self._stack(cell, RunOptions(), create=True)
            resources = (stack.export_stack().deployment or {}).get("resources") or []
            urns = [str(resource["urn"]) for resource in resources if _name_of(str(resource["urn"])) in names]
        except CommandError as error:
            raise self._translate(error, cell) from None

        def ask() -> None:
            try:
                stack.refresh(parallel=PARALLEL, target=urns, color="never", suppress_outputs=True, show_secrets=False)
            except CommandError as error:
                raise self._translate(error, cell) from None

        if urns:
            self._unlocked(cell, ask)

    def plant(self, cell: str, values: Mapping[str, Mapping[str, str]]) -> None:
        """Put the generated values of live stores into a state that lost them, encrypted; see `audit.recovery`.

        They reach the engine through a pipe: never a file, an argument or a variable.
        """

        def put() -> None:
            try:
                stack = self._stack(cell, RunOptions(), create=True)
                exported = stack.export_stack()
                deployment = recovery.with_planted(exported.deployment or {}, recovery.planted(stack.name, values))
                document = json.dumps({"version": exported.version, "deployment": deployment})
                self._pulumi().feed(
                    ["stack", "import", "--stack", stack.name], document, self._folder, self._variables()
                )
            except CommandError as error:
                raise self._translate(error, cell) from None

        self._unlocked(cell, put)

    def interrupt(self) -> None:
        """Ask a running engine to stop; it finishes what it is in the middle of. A second call makes it stop now."""
        self._stopped = True
        if self._command is not None:
            self._command.interrupt(for_good=True)

    def give_up(self) -> None:
        """Ask a running engine to end what it waits for, as a failure and no stop: the run goes on without it."""
        self._gave_up = True
        if self._command is not None:
            self._command.interrupt(for_good=False)

    def _pulumi(self) -> _Command:
        if self._command is None:
            root = self._target.engine_root
            try:
                self._command = _Command(str(root) if root is not None else None)
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
        return self._command

    def _variables(self) -> dict[str, str]:
        return {**self._target.variables, "PULUMI_SKIP_UPDATE_CHECK": "true"}

    def _stack(self, cell: str, options: RunOptions, *, create: bool) -> automation.Stack:
        name = naming.stack(self._settings.environment, cell)
        document = settings.stack_document(self._root, self._settings.environment)
        provider = os.environ.get("PULUMI_SECRETS_PROVIDER", "passphrase")
        workspace = automation.LocalWorkspaceOptions(
            work_dir=str(self._folder),
            program=lambda: program.run(self._root, options),
            env_vars=self._variables(),
            secrets_provider=provider,
            pulumi_command=self._pulumi(),
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

    def _translate(self, error: CommandError, cell: str, messages: tuple[str, ...] = ()) -> StoresError:
        """Return the engine's failure as one clear sentence of ours."""
        text = str(error)
        where = f"stack {naming.stack(self._settings.environment, cell)}"
        if isinstance(error, ConcurrentUpdateError) or "currently locked" in text:
            holders = [LockHolder(host, int(pid), _moment(at)) for host, pid, at in _LOCK_HOLDER.findall(text)]
            return EngineLockedError(where, holders)
        if "incorrect passphrase" in text or "passphrase must be set" in text:
            return ClusterUnreachableError(
                where,
                "the passphrase does not open the state",
                "set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE to the one it was made with; a plain "
                f"`pulumi` also reads the encryptionsalt line of {settings.settings_file(self._settings.environment)}",
            )
        plugin = re.search(r"no (?:resource|language) plugin '(?:pulumi-resource-|pulumi-language-)?([^']+)'", text)
        if plugin or "could not load plugin" in text:
            return ClusterUnreachableError(
                "engine",
                f"the plugin {plugin.group(1) if plugin else 'for a resource'} is missing",
                "run `pulumi plugin install` where the internet can be reached, or `make up` for the sandbox",
            )
        detail = messages or tuple(line for line in text.splitlines() if line.strip().startswith("error:"))
        shown = " ".join(" ".join(detail).split()) or " ".join(text.split())[-600:]
        return ClusterUnreachableError(where, f"the engine failed: {shown}", "run `stores doctor`, then again")


class NotStartedError(CommandError):
    """The engine was asked to stop before this command of it was started."""


class _Command(automation.PulumiCommand):
    """The `pulumi` program in a session of its own, so that a terminal's Ctrl-C reaches it once, through us.

    None of it outlives this process; see `audit.engine_guard`.
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
        works = args[0] in _WORKS
        self._interrupts = 0
        if works and self._stops:
            raise NotStartedError(automation.CommandResult(stdout="", stderr="asked to stop before it began", code=130))
        command = [self.command, "--non-interactive", *args]
        mark = secrets.token_hex(16)
        variables = _for_engine({**os.environ, **additional_env, "PULUMI_AUTOMATION_API": "true"}, mark)
        with (
            engine_guard.guard(mark),
            subprocess.Popen(
                command,
                cwd=cwd,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
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
        with engine_guard.guard(mark):
            done = subprocess.run(
                [self.command, "--non-interactive", *args],
                cwd=cwd,
                env=_for_engine({**os.environ, **variables}, mark),
                input=text,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            result = automation.CommandResult(stdout=done.stdout, stderr=done.stderr, code=done.returncode)
            raise create_command_error(result)


def _for_engine(variables: Mapping[str, str], mark: str) -> dict[str, str]:
    """Return the variables that the engine and its plugins get: all that is not ours alone."""
    theirs = {name: value for name, value in variables.items() if not name.startswith(_OURS) or name in _PLUGINS_OWN}
    return {**theirs, engine_guard.MARK: mark}


def _is_update_of_release(operation: Mapping[str, Any]) -> bool:
    return operation.get("type") == "updating" and operation["resource"].get("type") == _RELEASE_TYPE


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _drain(stream: IO[str] | None, callback: Callable[[str], Any] | None, lines: list[str]) -> None:
    for line in stream or ():
        text = line.rstrip()
        lines.append(text)
        if callback is not None:
            callback(text)


class _Recorder:
    """Collects the engine's events: steps in order, and per store why it failed."""

    def __init__(self, store_ids: frozenset[str], on_step: OnStep) -> None:
        self._owners = {
            naming.logical_name(store_id, part): (store_id, part) for store_id in store_ids for part in desired.PARTS
        }
        self._store_ids = store_ids
        self._on_step = on_step
        self._steps: dict[tuple[str, str], Step] = {}
        self._broken: dict[str, list[str]] = {}
        self._errors: dict[str, list[str]] = {}
        self._unplaced: list[str] = []

    @property
    def failures(self) -> dict[str, str]:
        """Why each failed store failed, in the engine's words without its markup."""
        return {
            store_id: "; ".join(dict.fromkeys(self._errors.get(store_id) or parts))
            for store_id, parts in self._broken.items()
        }

    @property
    def messages(self) -> tuple[str, ...]:
        """Errors that belong to no store."""
        return tuple(dict.fromkeys(self._unplaced))

    def result(self, *, cancelled: bool = False, began: bool = True) -> EngineResult:
        """Return all that was recorded."""
        return EngineResult(tuple(self._steps.values()), self.failures, cancelled, began)

    def on_event(self, event: events.EngineEvent) -> None:
        """Take one event of the engine's stream."""
        if event.resource_pre_event is not None:
            self._step(event.resource_pre_event.metadata, "started")
        elif event.res_outputs_event is not None:
            self._step(event.res_outputs_event.metadata, "done")
        elif event.res_op_failed_event is not None:
            step = self._step(event.res_op_failed_event.metadata, "failed")
            if step.store_id is not None:
                self._broken.setdefault(step.store_id, []).append(f"{step.part or 'store'} could not be {step.op}d")
        elif event.diagnostic_event is not None and event.diagnostic_event.severity == "error":
            self._error(event.diagnostic_event.urn, event.diagnostic_event.message)

    def _step(self, metadata: events.StepEventMetadata, phase: str) -> Step:
        store_id, part = self._owner(metadata.urn)
        step = Step(
            urn=metadata.urn,
            type=metadata.type,
            op=str(getattr(metadata.op, "value", metadata.op)),
            store_id=store_id,
            part=part,
            paths=tuple(metadata.detailed_diff or metadata.diffs or ()),
        )
        self._steps[step.urn, step.op] = step
        self._on_step(step, phase)
        return step

    def _error(self, urn: str | None, message: str) -> None:
        text = " ".join(_MARKUP.sub("", message).split()).removeprefix("error: ")
        store_id, _ = self._owner(urn) if urn else (None, None)
        if not text or text == "update failed":
            return
        if store_id is None:
            self._unplaced.append(text)
        else:
            self._errors.setdefault(store_id, []).append(text)

    def _owner(self, urn: str) -> tuple[str | None, str | None]:
        """Return the store and part of a URN. Names are looked up whole: one store's id may begin another's."""
        name = urn.rsplit("::", 1)[-1]
        if name in self._store_ids and f"::{naming.COMPONENT_TYPE}::" in urn:
            return name, None
        return self._owners.get(name, (None, None))


def _name_of(urn: str) -> str:
    return urn.rsplit("::", 1)[-1]


def read_snapshot(deployment: Mapping[str, Any] | None) -> Snapshot:
    """Return the parts of an exported state that matter to us."""
    resources = (deployment or {}).get("resources") or []
    applied: dict[str, Mapping[str, Any]] = {}
    failed: dict[str, str] = {}
    revisions: dict[str, int] = {}
    urns: dict[str, tuple[str, ...]] = {}
    known: set[str] = set()
    components: dict[str, str] = {}
    uid: str | None = None
    keys: Mapping[str, str] = {}
    for resource in resources:
        urn, kind = str(resource["urn"]), str(resource["type"])
        name = urn.rsplit("::", 1)[-1]
        if kind == naming.COMPONENT_TYPE:
            known.add(name)
            components[urn] = name
            urns[name] = (urn,)
            text = (resource.get("outputs") or {}).get("applied")
            if isinstance(text, str):
                applied[name] = json.loads(text)
        elif kind == "pulumi:pulumi:Stack":
            keys = (resource.get("outputs") or {}).get(program.PLATFORM_KEYS) or keys
        elif kind == "pulumi:providers:kubernetes":
            uid = (resource.get("inputs") or {}).get("clusterIdentifier", uid)
        elif kind == _RELEASE_TYPE and resource.get("parent") in components:
            revision = ((resource.get("outputs") or {}).get("status") or {}).get("revision")
            if revision is not None:
                revisions[components[resource["parent"]]] = int(revision)
        if resource.get("parent") in components:
            owner = components[resource["parent"]]
            urns[owner] = (*urns[owner], urn)
        if resource.get("initErrors") and resource.get("parent") in components:
            failed[components[resource["parent"]]] = "; ".join(resource["initErrors"])
    pending = tuple(
        str(operation["resource"]["urn"]) for operation in (deployment or {}).get("pending_operations") or ()
    )
    return Snapshot(
        exists=True,
        applied=applied,
        known=frozenset(known),
        cluster_uid=uid,
        platform_keys=keys,
        pending=pending,
        failed=failed,
        revisions=revisions,
        urns=urns,
    )
