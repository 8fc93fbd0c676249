"""The certificates and keys of one node. They are made when an instance starts and end with it.

The `openssl` program makes them, so that the platform needs no cryptography package for the sandbox's sake.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stacks.errors import ClusterUnreachableError

_DAYS: Final = "3650"
_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
# A configuration of our own: the system's one adds extensions that differ between distributions.
_CONFIGURATION: Final = "[req]\ndistinguished_name = subject\nprompt = no\n[subject]\n"
_CONFIGURATION_FILE: Final = "openssl.cnf"
_REQUEST: Final = ("req", "-x509", "-config", _CONFIGURATION_FILE, "-days", _DAYS, *_KEY)
_AUTHORITY: Final = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")


@dataclass(frozen=True)
class Leaf:
    """One certificate: `subject` as openssl writes it, `names` as subject alternative names (`DNS:x`, `IP:y`)."""

    name: str
    subject: str
    usage: str
    names: Sequence[str] = ()


def issue(folder: Path, leaves: Sequence[Leaf], *, openssl: Path, environment: Mapping[str, str]) -> None:
    """Make `ca` and every leaf exist in `folder` as NAME.crt and NAME.key, and service-account.key and .pub."""
    run = _runner(folder, openssl, environment)
    run(*_REQUEST, "-subj", "/CN=sandbox", "-keyout", "ca.key", "-out", "ca.crt", *_AUTHORITY)
    for leaf in leaves:
        names = ("-addext", f"subjectAltName={','.join(leaf.names)}") if leaf.names else ()
        files = ("-keyout", f"{leaf.name}.key", "-out", f"{leaf.name}.crt")
        usage = ("-addext", "basicConstraints=critical,CA:FALSE", "-addext", f"extendedKeyUsage={leaf.usage}")
        run(*_REQUEST, "-CA", "ca.crt", "-CAkey", "ca.key", "-subj", leaf.subject, *files, *usage, *names)
    run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "service-account.key")
    run("pkey", "-in", "service-account.key", "-pubout", "-out", "service-account.pub")


def authority(folder: Path, name: str, *, subject: str, openssl: Path, environment: Mapping[str, str]) -> None:
    """Make a certificate authority exist in `folder` as NAME.crt and NAME.key; one that is there stays as it is."""
    if (folder / f"{name}.crt").exists():
        return
    run = _runner(folder, openssl, environment)
    unfinished = f"{name}.new.crt"
    run(*_REQUEST, "-subj", subject, "-keyout", f"{name}.key", "-out", unfinished, *_AUTHORITY)
    (folder / unfinished).replace(folder / f"{name}.crt")


def _runner(folder: Path, openssl: Path, environment: Mapping[str, str]) -> Callable[..., None]:
    (folder / _CONFIGURATION_FILE).write_text(_CONFIGURATION)

    def run(*arguments: str) -> None:
        result = subprocess.run(
            [str(openssl), *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False,
            umask=0o077,
        )  # fmt: skip
        if result.returncode != 0:
            raise ClusterUnreachableError(
                "sandbox", f"openssl cannot make certificates, it said:\n{result.stderr.strip()}",
                "check that the disk has room, then run the command again",
            )  # fmt: skip

    return run
