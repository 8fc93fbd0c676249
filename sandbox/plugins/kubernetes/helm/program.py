"""Runs the `helm` program apart from the user's own Helm, with configuration, cache and kubeconfig of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox.plugins.children import Children
from sandbox.plugins.failures import PluginError
from sandbox.plugins.kubernetes.client import CancelledError
from sandbox.plugins.kubernetes.settings import Settings

if TYPE_CHECKING:
    from sandbox.plugins.kubernetes.kubeconfig import Access

PROGRAM_VARIABLE: Final = "STORES_HELM"
# Each holds a chart and the API server's kinds in memory, and loads two cores well.
_MOST_AT_ONCE: Final = 8
_DEFAULT_QPS: Final = 50
_DEFAULT_BURST: Final = 120


class HelmError(PluginError):
    """The program said no, in these words."""


class Helm:
    """The `helm` program against one cluster, from any number of threads."""

    def __init__(self, access: Access, settings: Settings) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="helm-"))
        # In memory: a plugin that is killed leaves no credentials behind.
        self._kubeconfig = os.memfd_create("kubeconfig")
        os.write(self._kubeconfig, access.document().encode())
        self._environment = {**os.environ, **self._own_environment(settings)}
        self._places = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self._children = Children()

    def run(self, arguments: Sequence[str], *, values: str | None = None) -> str:
        """Return what the program prints. `values` go to its standard input, so that no list of processes shows them.

        Raises HelmError with the program's own words, and CancelledError.
        """
        with self._places:
            child = self._start(arguments)
            try:
                output, errors = child.communicate(values.encode() if values is not None else None)
            finally:
                self._children.discard(child)
        if child.returncode == 0:
            return output.decode(errors="replace")
        if self._children.ended:
            raise CancelledError("cancelled")
        raise HelmError(_said(errors.decode(errors="replace")) or f"helm ended with code {child.returncode}")

    def cancel(self) -> None:
        """End all running programs; Helm notes in the release that it was cancelled. Later ones do not start."""
        self._children.end(signal.SIGTERM)

    def close(self) -> None:
        """End all running programs, and leave nothing behind."""
        self.cancel()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        program = os.environ.get(PROGRAM_VARIABLE) or shutil.which("helm")
        if program is None:
            raise PluginError(f"the helm program is missing; start the sandbox, or set {PROGRAM_VARIABLE} to its path")
        try:
            child = self._children.add(
                lambda: subprocess.Popen(
                    [program, *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=self._environment,
                    pass_fds=(self._kubeconfig,),
                )
            )
        except OSError as error:
            raise PluginError(f"the helm program {program} does not start: {error.strerror}") from error
        if child is None:
            raise CancelledError("cancelled")
        return child

    def _own_environment(self, settings: Settings) -> Mapping[str, str]:
        own = {
            "KUBECONFIG": f"/proc/self/fd/{self._kubeconfig}",
            "HELM_DRIVER": "secret",
            "HELM_QPS": f"{settings.client.get('qps', _DEFAULT_QPS):g}",
            "HELM_BURST_LIMIT": f"{settings.client.get('burst', _DEFAULT_BURST):g}",
            "HELM_CACHE_HOME": str(self._folder / "cache"),
            "HELM_CONFIG_HOME": str(self._folder / "config"),
            "HELM_DATA_HOME": str(self._folder / "data"),
            "KUBECACHEDIR": str(self._folder / "kube"),
        }
        return {**own, **settings.helm_environment}


def _said(errors: str) -> str:
    """Return the program's error without its warnings."""
    lines = [line for line in errors.splitlines() if line.strip()]
    starts = [index for index, line in enumerate(lines) if line.startswith("Error: ")]
    return "\n".join(lines[starts[0] :]).removeprefix("Error: ") if starts else "\n".join(lines)
