"""The machine's own programs that building images takes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from stacks.errors import UsageError

KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PROGRAMS: Final[Mapping[str, str]] = {
    "apt-get": "apt", "apt-config": "apt", "cc": "gcc and libc6-dev", "cp": "coreutils", "dpkg": "dpkg",
    "dpkg-deb": "dpkg", "ldconfig": "libc-bin",
}  # fmt: skip


def require() -> None:
    """Do nothing on a machine where images can be built; else raise UsageError with everything that is missing."""
    missing = [f"{name} (package {package})" for name, package in _PROGRAMS.items() if shutil.which(name) is None]
    if os.geteuid() != 0:
        missing.append("root rights")
    if not KEYRING.exists():
        missing.append(f"{KEYRING} (package debian-archive-keyring)")
    if missing:
        raise UsageError(
            "sandbox images",
            f"images cannot be built here, missing: {', '.join(missing)}",
            "run this as root on Debian, or use a cluster of your own with the official images",
        )


def started(*command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Return the running program, with its output and its errors in one stream."""
    return subprocess.Popen(
        [_path(command[0]), *command[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env=environment,
    )  # fmt: skip


def attempt(*command: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program to its end and return what it said, whatever that was."""
    return subprocess.run(
        [_path(command[0]), *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env=environment,
    )  # fmt: skip


def run(*command: str) -> str:
    """Run a program that has no reason to fail, and return its output. Raises RuntimeError with what it said."""
    result = attempt(*command)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {last_lines(result)}")
    return result.stdout


def last_lines(result: subprocess.CompletedProcess[str]) -> str:
    """Return the end of what a program complained about, in one line."""
    return " / ".join(result.stderr.strip().splitlines()[-3:]) or f"exit code {result.returncode}"


def _path(name: str) -> str:
    return shutil.which(name) or name
