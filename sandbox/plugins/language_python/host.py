"""The protocol of `pulumi-language-python`, as far as preview, up, refresh, destroy and about use it.

The program runs as a child that inherits this process's output, which the engine shows as the program's messages.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from sandbox.plugins.children import Children
from sandbox.plugins.engine import Engine
from sandbox.plugins.failures import NotSupportedError, PluginError
from sandbox.plugins.server import handlers, serve
from sandbox.plugins.wire import decode

# The program has said itself what is wrong, so the engine need not add that it failed.
ALREADY_SHOWN: Final = 32

_RPCS: Final = {
    "GetPluginInfo": "plugin_info",
    "GetRequiredPackages": "required_packages",
    "About": "about",
    "Run": "run",
    "Cancel": "cancel",
}
_RUNNER: Final = Path(__file__).with_name("program.py")


class PythonHost:
    """Runs one program at a time, in the interpreter that the project names."""

    def __init__(self, engine_address: str) -> None:
        self._engine_address = engine_address
        self._children = Children()

    def plugin_info(self, _: empty_pb2.Empty) -> plugin_pb2.PluginInfo:
        """Return the version."""
        return plugin_pb2.PluginInfo(version=version("pulumi"))

    def required_packages(self, _: Any) -> language_pb2.GetRequiredPackagesResponse:
        """Return none: providers load at their first resource."""
        return language_pb2.GetRequiredPackagesResponse()

    def about(self, request: language_pb2.AboutRequest) -> language_pb2.AboutResponse:
        """Return the interpreter that programs run with."""
        interpreter = interpreter_of(request.info)
        found = subprocess.run([interpreter, "--version"], capture_output=True, text=True, check=False)
        return language_pb2.AboutResponse(
            executable=interpreter,
            version=found.stdout.strip().removeprefix("Python "),
            metadata={"host": "the sandbox's stand-in for pulumi-language-python"},
        )

    def run(self, request: language_pb2.RunRequest) -> language_pb2.RunResponse:
        """Run the program to its end."""
        if request.attach_debugger:
            raise NotSupportedError("attaching a debugger")
        code = self._wait_for(self._start(request))
        if code == 0:
            return language_pb2.RunResponse()
        if code == ALREADY_SHOWN:
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error=f"program exited with non-zero exit code: {code}")

    def cancel(self, _: empty_pb2.Empty) -> empty_pb2.Empty:
        """Interrupt the program."""
        self.close()
        return empty_pb2.Empty()

    def close(self) -> None:
        """Interrupt the program, and kill it when it does not end."""
        self._children.end(signal.SIGINT)

    def _start(self, request: language_pb2.RunRequest) -> subprocess.Popen[bytes]:
        interpreter = interpreter_of(request.info)
        command = [interpreter, "-u", str(_RUNNER), json.dumps(self._settings(request)), *_program(request)]
        environment = _environment(request, interpreter)
        try:
            child = self._children.add(lambda: subprocess.Popen(command, cwd=request.pwd or None, env=environment))
        except OSError as error:
            raise PluginError(f"cannot start {interpreter}: {error.strerror}; is it installed?") from error
        if child is None:
            raise PluginError("the program was cancelled before it started")
        return child

    def _wait_for(self, child: subprocess.Popen[bytes]) -> int:
        try:
            return child.wait()
        finally:
            self._children.discard(child)

    def _settings(self, request: language_pb2.RunRequest) -> Mapping[str, Any]:
        return {
            "monitor": request.monitor_address,
            "engine": self._engine_address,
            "project": request.project,
            "stack": request.stack,
            "parallel": request.parallel,
            "dry_run": request.dryRun,
            "organization": request.organization,
            "root_directory": request.info.root_directory,
        }


def interpreter_of(info: language_pb2.ProgramInfo) -> str:
    """Return the Python of the `virtualenv` option, which is relative to Pulumi.yaml, or else the one on PATH."""
    options = decode(info.options)
    virtualenv = options.pop("virtualenv", None)
    toolchain = options.pop("toolchain", "pip")
    options.pop("typechecker", None)  # it checks types before a run with the official host; it changes no result
    if toolchain != "pip":
        raise NotSupportedError(f"the Python toolchain '{toolchain}'")
    if options:
        raise NotSupportedError(f"the runtime option '{min(options)}'")
    if not virtualenv:
        return "python3"
    folder = Path(info.root_directory, virtualenv)
    interpreter = folder / "bin" / "python"
    if not interpreter.exists():
        raise PluginError(
            f"Pulumi.yaml: the virtualenv option says '{virtualenv}', but {folder} is no virtual environment; "
            "create it, or correct the option"
        )
    return str(interpreter)


def _program(request: language_pb2.RunRequest) -> list[str]:
    return [request.info.entry_point or request.program or ".", *request.args]


def _environment(request: language_pb2.RunRequest, interpreter: str) -> dict[str, str]:
    environment = {
        **os.environ,
        "PULUMI_CONFIG": json.dumps(dict(request.config)),
        "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
    }
    # The launcher put this checkout in front for its own modules; the program finds its own by its folder.
    _remove_own_search_path(environment)
    if os.path.isabs(interpreter):  # noqa: PTH117 - a string, as it goes to a process
        binaries = Path(interpreter).parent
        environment["VIRTUAL_ENV"] = str(binaries.parent)
        environment["PATH"] = os.pathsep.join([str(binaries), environment.get("PATH", os.defpath)])
        environment.pop("PYTHONHOME", None)
    return environment


def _remove_own_search_path(environment: dict[str, str]) -> None:
    checkout = str(Path(__file__).resolve().parents[3])
    kept = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", checkout)]
    if kept:
        environment["PYTHONPATH"] = os.pathsep.join(kept)
    else:
        environment.pop("PYTHONPATH", None)


def main(arguments: Sequence[str]) -> None:
    """Serve until the engine ends the plugin."""

    def register(server: grpc.Server, _: Engine) -> Callable[[], None]:
        host = PythonHost(arguments[-1])
        servicer = language_pb2_grpc.LanguageRuntimeServicer()
        for rpc, handler in handlers(host, _RPCS).items():
            setattr(servicer, rpc, handler)
        language_pb2_grpc.add_LanguageRuntimeServicer_to_server(servicer, server)
        return host.close

    if not arguments:
        sys.exit("a plugin is started by the Pulumi engine, which passes its own address as the last argument")
    serve(arguments, register)
