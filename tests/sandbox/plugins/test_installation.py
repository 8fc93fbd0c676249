"""Launchers, and the processes that they start."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc, status_pb2

from sandbox.plugins import install
from sandbox.plugins.failures import NotSupportedError, PartialFailureError, PluginError
from sandbox.plugins.server import handlers
from sandbox.plugins.wire import Secret, decode


def launcher(home: Path, kind: str, name: str, distribution: str) -> Path:
    return home / "plugins" / f"{kind}-{name}-v{version(distribution)}" / f"pulumi-{kind}-{name}"


LAUNCHERS = [
    ("resource", "kubernetes", "pulumi-kubernetes"),
    ("resource", "random", "pulumi-random"),
    ("language", "python", "pulumi"),
]


@pytest.mark.parametrize(("kind", "name", "distribution"), LAUNCHERS)
def test_every_launcher_starts_from_any_folder_and_ends_by_an_interrupt(
    pulumi_home: Path, tmp_path: Path, kind: str, name: str, distribution: str
) -> None:
    path = launcher(pulumi_home, kind, name, distribution)
    with subprocess.Popen(
        [path, "127.0.0.1:1"], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as plugin:
        assert plugin.stdout is not None
        port = int(plugin.stdout.readline())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            if kind == "resource":
                stub = provider_pb2_grpc.ResourceProviderStub(channel)
                assert stub.GetPluginInfo(empty_pb2.Empty()).version == version(distribution)
        plugin.send_signal(signal.SIGINT)
        _, errors = plugin.communicate(timeout=20)
    assert plugin.returncode == 0
    assert errors == ""


def test_a_plugin_ends_when_its_engine_is_killed(pulumi_home: Path) -> None:
    path = launcher(pulumi_home, *LAUNCHERS[1])
    # A shell in the engine's place, which is killed.
    script = f'"{path}" 127.0.0.1:1 & wait'
    with subprocess.Popen(["sh", "-c", script], text=True, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline())
        parent.kill()
        # The plugin holds the pipe as well: its end is the plugin's end.
        assert parent.stdout.read() == ""


def test_installing_again_repairs(tmp_path: Path) -> None:
    install(tmp_path)
    path = launcher(tmp_path, *LAUNCHERS[0])
    path.write_text("broken")
    path.chmod(0o600)
    install(tmp_path)
    assert path.read_text().startswith("#!/bin/sh\n")
    assert os.access(path, os.X_OK)
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_plugin_without_an_engine_says_who_starts_it(pulumi_home: Path) -> None:
    done = subprocess.run([launcher(pulumi_home, *LAUNCHERS[1])], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "started by the Pulumi engine" in done.stderr


class Failing:
    """Raises what it was given."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def create(self, _: object) -> None:
        raise self._error


def failed(error: Exception) -> grpc.RpcError:
    """Return what a caller over a real connection gets when a method raises `error`."""
    server = grpc.server(ThreadPoolExecutor(1))
    servicer = provider_pb2_grpc.ResourceProviderServicer()
    servicer.Create = handlers(Failing(error), {"Create": "create"})["Create"]
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as caught:
            provider_pb2_grpc.ResourceProviderStub(channel).Create(provider_pb2.CreateRequest())
        return caught.value
    finally:
        server.stop(0)


def test_an_error_reaches_the_engine_as_its_text() -> None:
    error = failed(PluginError("what; cure"))
    assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, "what; cure")


def test_what_is_not_there_reaches_the_engine_as_not_implemented() -> None:
    assert failed(NotSupportedError("it")).code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_defect_of_ours_shows_its_trace() -> None:
    error = failed(KeyError("oops"))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "a defect of the sandbox's plugin" in error.details()
    assert "in create" in error.details()


def test_a_partial_failure_carries_the_state_with_its_secrets() -> None:
    error = failed(PartialFailureError("half", resource_id="a/b", outputs={"x": Secret("1")}, reasons=["because"]))
    (packed,) = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
    status = status_pb2.Status.FromString(packed)
    detail = provider_pb2.ErrorResourceInitFailed()
    assert status.details[0].Unpack(detail)
    assert (detail.id, list(detail.reasons)) == ("a/b", ["because"])
    assert decode(detail.properties) == {"x": Secret("1")}
