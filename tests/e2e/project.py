"""A copy of the checkout with a manifest of its own, and the commands that a person would type in it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from sandbox.instance import Instance
from stacks.desired import merge

ROOT = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(".git", ".venv*", ".stores", "tests", "__pycache__", ".*_cache", "*.egg-info")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"exit {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


@dataclass(frozen=True)
class Project:
    """A copy of the checkout with a manifest of its own."""

    root: Path
    variables: Mapping[str, str]

    def stores(self, *arguments: str, timeout_s: float = 400, cwd: Path | None = None, **variables: str) -> Done:
        """Run `stores` to its end, from a folder that need not be the project's."""
        command = [str(Path(sys.executable).with_name("stores")), "--root", str(self.root), *arguments]
        return self._run(command, timeout_s, variables, cwd=cwd)

    def pulumi(self, *arguments: str, timeout_s: float = 400, **variables: str) -> Done:
        """Run plain `pulumi` to its end, as somebody without the gate would."""
        return self._run(["pulumi", "--non-interactive", "--color", "never", *arguments], timeout_s, variables)

    def helm(self, *arguments: str) -> Done:
        """Run Helm, as an operator would."""
        return self._run(["helm", *arguments], 120, {})

    def _run(
        self, command: list[str], timeout_s: float, variables: Mapping[str, str], *, cwd: Path | None = None
    ) -> Done:
        done = subprocess.run(
            command,
            cwd=cwd or self.root,
            env={**self.variables, **variables},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def write(self, *stores: Mapping[str, Any]) -> None:
        """Make these the manifest's stores."""
        self._dump("stacks/local/stores.yaml", {"version": 1, "stores": [dict(store) for store in stores]})

    def blocks(self) -> list[dict[str, Any]]:
        """Return the manifest's stores as they stand there now."""
        document = YAML(typ="safe").load((self.root / "stacks/local/stores.yaml").read_text())
        return [dict(each) for each in document["stores"]]

    def write_owners(self, *owners: Mapping[str, Any]) -> None:
        """Make these the owners."""
        self._dump("stacks/local/owners.yaml", {"version": 1, "owners": [dict(owner) for owner in owners]})

    def configure(self, **settings: Any) -> None:
        """Change settings; None takes one away."""
        where = self.root / "Pulumi.local.yaml"
        document = YAML(typ="safe").load(where.read_text())
        for key, value in settings.items():
            if value is None:
                document["config"].pop(f"stores:{key}", None)
            else:
                document["config"][f"stores:{key}"] = value
        self._dump("Pulumi.local.yaml", document)

    def set_values(self, **values: Any) -> None:
        """Lay these over the environment's chart values."""
        where = "values/values-local.yaml"
        self._dump(where, merge(YAML(typ="safe").load((self.root / where).read_text()), values))

    def _dump(self, where: str, document: Any) -> None:
        yaml = YAML(typ="safe")
        # A value that two stores share is written twice: the manifest takes no aliases.
        yaml.representer.ignore_aliases = lambda _data: True
        with (self.root / where).open("w") as file:
            yaml.dump(document, file)


def store(store_id: str, owner: str = "alice", **more: Any) -> dict[str, Any]:
    """Return a manifest block; the title says which store answers."""
    name = store_id.rsplit("-", 1)[0]
    return {"id": store_id, "name": name, "owner": owner, "cell": "01", "title": f"Shop {store_id}", **more}


def new_project(running: Instance, folder: Path) -> Project:
    """Return a project in an empty folder that shares nothing with others but the sandbox's cluster."""
    root = folder / "checkout"
    shutil.copytree(ROOT, root, ignore=NOT_COPIED)
    (root / ".venv").symlink_to(Path(sys.executable).parent.parent)
    (folder / "state").mkdir()
    (folder / "passphrase").write_text("a passphrase of the tests\n")
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "STORES_"))}
    (folder / "platform-key").write_text(f"1:{secrets.token_hex(32)}\n")
    variables = {
        **outer,
        **running.environment(),
        "PULUMI_BACKEND_URL": (folder / "state").as_uri(),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(folder / "passphrase"),
        "STORES_LEDGER_URL": f"sqlite:///{folder / 'ledger.sqlite'}",
        "STORES_CLUSTER": "kubeconfig",
        "STORES_PLATFORM_KEY_FILE": str(folder / "platform-key"),
        "NO_COLOR": "1",
    }
    project = Project(root, variables)
    project.configure(
        urlPort=running.http_port,
        httpsPort=running.https_port,
        caFile=str(running.ca_file),
        releaseTimeoutSeconds=240,
        readyTimeoutSeconds=90,
    )
    return project
