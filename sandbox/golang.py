"""The machine's Go: whether it can compile the sandbox's programs, and what it is run with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Final

from stacks.errors import UsageError

MINIMUM: Final = (1, 26)
OTHER_WAY: Final = "or use a cluster of your own (kind, k3s, Docker Desktop) and the official Pulumi CLI, see README.md"


def problem() -> str | None:
    """Return what is wrong with the machine's Go, or None when it is good enough."""
    wanted = ".".join(str(part) for part in MINIMUM)
    installed = version()
    if installed is None:
        return f"Go {wanted} or newer is not installed"
    if parse_version(installed) < MINIMUM:
        return f"Go is {installed.removeprefix('go')}, and {wanted} or newer is needed"
    return None


def require() -> str:
    """Return the version of a Go that can compile the programs. Raises UsageError when there is none on PATH."""
    found = problem()
    if found is not None:
        raise UsageError("sandbox", found, f"install it and run the command again, {OTHER_WAY}")
    return version() or ""


def version() -> str | None:
    """Return the compiler's version as it names itself (`go1.26.8`), or None when there is no Go."""
    program = shutil.which("go")
    if program is None:
        return None
    result = subprocess.run(
        [program, "env", "GOVERSION"], capture_output=True, text=True, env=environment(), check=False
    )
    return result.stdout.strip() or None


def parse_version(text: str) -> tuple[int, int]:
    """Return major and minor of `go1.26.8` or `go1.27rc1`; (0, 0) for a version of no known form."""
    match = re.match(r"go(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def environment() -> Mapping[str, str]:
    """Return the variables of every command of Go's."""
    return {
        **os.environ,
        "CGO_ENABLED": "0",  # static programs: CoreDNS runs in an image that holds nothing else
        "GOFLAGS": "-mod=readonly",  # go.mod and go.sum are what was reviewed
        "GOTOOLCHAIN": "local",  # never download another compiler
        "GOWORK": "off",
    }
