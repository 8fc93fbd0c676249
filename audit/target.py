"""Which engine, state, ledger and cluster a command works with.

A sandbox brings all four of its own, apart from anything of the user's. Everywhere else the user's cluster is asked
by kubeconfig, and the state lies under `.stores/` or where PULUMI_BACKEND_URL says.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sandbox import instance
from stacks.errors import ClusterUnreachableError, RefusedError, UsageError
from stacks.settings import Settings

STATE_FOLDER: Final = ".stores"
LEDGER_VARIABLE: Final = "STORES_LEDGER_URL"
CLUSTER_VARIABLE: Final = "STORES_CLUSTER"

Choice = Literal["auto", "sandbox", "kubeconfig"]


@dataclass(frozen=True)
class Target:
    """What a run talks to. `variables` are laid over the process's own environment for the engine."""

    kind: Literal["sandbox", "kubeconfig"]
    variables: Mapping[str, str]
    ledger_url: str
    engine_root: Path | None = None
    kubeconfig: str | None = None
    http_port: int | None = None
    ca_file: Path | None = None
    """Signs the certificates of the ingress, where no authority that everybody knows does."""

    @property
    def backend_url(self) -> str:
        """Where the engine keeps its state."""
        return self.variables["PULUMI_BACKEND_URL"]


def resolve(root: Path, settings: Settings, choice: str | None = None) -> Target:
    """Return the target of an environment's runs.

    `auto` takes the sandbox where this checkout has one that belongs to the environment, else the kubeconfig.
    Raises ClusterUnreachableError when the sandbox is chosen and not running.
    """
    wanted = choice or os.environ.get(CLUSTER_VARIABLE) or "auto"
    if wanted not in ("auto", "sandbox", "kubeconfig"):
        raise UsageError(CLUSTER_VARIABLE, f"{wanted!r} is no kind of cluster", "use auto, sandbox or kubeconfig")
    name = os.environ.get("STORES_SANDBOX", "local")
    belongs = not settings.protected
    if wanted == "sandbox" or (wanted == "auto" and belongs and instance.folder_of(root, name).is_dir()):
        if not belongs:
            raise RefusedError(
                f"environment {settings.environment}", "it is protected, and a sandbox is throw-away", "use --env local"
            )
        return _sandbox(root, name)
    return _kubeconfig(root, settings)


def _sandbox(root: Path, name: str) -> Target:
    running = instance.running(root, name)
    if running is None:
        raise ClusterUnreachableError(
            f"sandbox {name}",
            "it is not running (never started, stopped, or the machine was restarted)",
            "run `make up`, or `stores sandbox up`",
        )
    variables = running.environment()
    return Target(
        kind="sandbox",
        variables=variables,
        ledger_url=running.ledger_url,
        engine_root=running.folder,
        kubeconfig=str(running.kubeconfig),
        http_port=running.http_port,
        ca_file=running.ca_file,
    )


def _kubeconfig(root: Path, settings: Settings) -> Target:
    folder = root / STATE_FOLDER / settings.environment
    backend_url = os.environ.get("PULUMI_BACKEND_URL", (folder / "state").as_uri())
    _check_protection(settings, backend_url)
    variables = {"PULUMI_BACKEND_URL": backend_url}
    if backend_url == (folder / "state").as_uri():
        _private_folder(folder / "state")
    if not settings.protected and not _names_passphrase():
        variables["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(_passphrase(folder))
    ledger_url = os.environ.get(LEDGER_VARIABLE)
    if ledger_url is None:
        _private_folder(folder)
        ledger_url = f"sqlite:///{folder / 'ledger.sqlite'}"
    return Target(kind="kubeconfig", variables=variables, ledger_url=ledger_url)


def _names_passphrase() -> bool:
    return any(name in os.environ for name in ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"))


def _check_protection(settings: Settings, backend_url: str) -> None:
    """Refuse a protected environment whose state or passwords would hang on one disk or on an empty passphrase."""
    if not settings.protected:
        return
    where = f"environment {settings.environment}"
    if backend_url.startswith("file://") and not settings.single_host:
        raise RefusedError(
            where,
            "it is protected, but its state would lie on this machine's disk",
            "set PULUMI_BACKEND_URL to an object store (s3://, gs://, azblob://), a PostgreSQL database or Pulumi "
            "Cloud; or set stores:singleHost: true where there is one machine only",
        )
    provider = os.environ.get("PULUMI_SECRETS_PROVIDER", "passphrase")
    passphrase = os.environ.get("PULUMI_CONFIG_PASSPHRASE")
    file = os.environ.get("PULUMI_CONFIG_PASSPHRASE_FILE")
    if provider in ("passphrase", "default") and not passphrase and not (file and Path(file).read_text().strip()):
        raise RefusedError(
            where,
            "it is protected, but its secrets would be encrypted with an empty passphrase",
            "set PULUMI_SECRETS_PROVIDER (awskms://, gcpkms://, azurekeyvault://, hashivault://), or "
            "PULUMI_CONFIG_PASSPHRASE_FILE to a file with a long passphrase",
        )
    if os.environ.get(LEDGER_VARIABLE, "sqlite").startswith("sqlite"):
        raise RefusedError(
            where,
            "it is protected, but its ledger would be an SQLite file",
            f"set {LEDGER_VARIABLE} to a MariaDB database, mysql+pymysql://...",
        )


def _passphrase(folder: Path) -> Path:
    """Return the file of this checkout's own passphrase; it is made once, readable by its owner alone."""
    _private_folder(folder)
    file = folder / "passphrase"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(32) + "\n", encoding="utf-8")
    return file


def _private_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
