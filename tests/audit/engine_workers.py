"""Runs of the gate over the real engine, each in a process of its own, to be stopped and killed from outside.

The program registers nothing: it says that it is at work, and waits. The cluster is a folder with a file per namespace.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ruamel.yaml import YAML

from audit.engine.driver import Engine
from audit.ledger import Ledger
from audit.limits import Limits
from audit.phases.tenure import LEASE_S
from audit.probe import Answer
from audit.reconcile import Reconciliation
from audit.records import Actor, RunRequest
from audit.results import ProgressEvent
from audit.run import Run
from audit.target import Target
from stacks import manifest as manifests
from stacks import program
from stacks import settings as settings_module
from stacks.desired import caps
from stacks.errors import StoresError
from stacks.evidence import Evidence

ROOT = Path(__file__).parents[2]
ENVIRONMENT = "local"
SHOP = "tea-x7k2m"
ACTOR = Actor("alice", "user")
_COPIED = ("stacks", "values", "charts", "Pulumi.yaml", "Pulumi.local.yaml")


class FolderCluster:
    """A cluster whose namespaces are files."""

    address = "https://cluster.example.com"
    uid = "uid-1"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def namespace(self, name: str) -> Any:
        return SimpleNamespace(terminating=False) if (self._folder / name).exists() else None

    def revisions(self, _namespace: str, _release: str) -> tuple[()]:
        return ()

    def evidence(self, _namespace: str, _host: str | None = None, **_more: bool) -> Evidence:
        return Evidence()


class Silent:
    """An ingress behind which nothing answers."""

    def ask(self, _store_id: str, _url: str, *, sells: bool, locale: str) -> Answer:
        return Answer(ok=False, detail=f"nothing answers ({sells}, {locale})")


@dataclass
class World:
    """A checkout with one store in its manifest, an engine's state, and a ledger."""

    folder: Path
    engine_root: Path
    ledger_url: str
    told: list[str] = field(default_factory=list)

    @classmethod
    def made(cls, folder: Path, engine_root: Path) -> World:
        root = folder / "checkout"
        root.mkdir()
        for name in _COPIED:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, root / name)
        (folder / "state").mkdir()
        (folder / "home").mkdir()
        (folder / "namespaces").mkdir()
        world = cls(folder, engine_root, f"sqlite:///{folder / 'ledger.sqlite'}")
        world.write({"id": SHOP, "name": "tea", "owner": "alice", "cell": "01", "title": "Tea"})
        owner = {"name": "alice", "contact": "alice@example.com"}
        world._dump("stacks/local/owners.yaml", {"version": 1, "owners": [owner]})
        values = YAML(typ="safe").load((root / "values/values-local.yaml").read_text())
        world._dump("values/values-local.yaml", {**values, "backup": {"enabled": False}})
        return world

    @property
    def root(self) -> Path:
        return self.folder / "checkout"

    def write(self, *stores: Mapping[str, Any]) -> None:
        """Make these the manifest's stores."""
        self._dump("stacks/local/stores.yaml", {"version": 1, "stores": [dict(store) for store in stores]})

    def _dump(self, where: str, document: Any) -> None:
        with (self.root / where).open("w") as file:
            YAML(typ="safe").dump(document, file)

    def locks(self) -> list[dict[str, Any]]:
        """Return the engine's locks, as they lie in its state."""
        return [json.loads(file.read_text()) for file in self.lock_files()]

    def lock_files(self) -> list[Path]:
        return sorted((self.folder / "state").rglob("locks/**/*.json"))

    def started(self) -> subprocess.Popen[str]:
        """Start a run, and return once its engine is at work."""
        command = [sys.executable, "-m", "tests.audit.engine_workers", *map(str, (self.folder, self.engine_root))]
        process = subprocess.Popen(command, cwd=ROOT, text=True, stderr=subprocess.PIPE, start_new_session=True)
        while not (self.folder / "at work").exists():
            if process.poll() is not None:
                pytest.fail(process.communicate()[1])
            time.sleep(0.05)
        return process

    def settings(self) -> Any:
        return settings_module.load(self.root, ENVIRONMENT)

    def run(self, ledger: Ledger, engine: Engine, kind: type[Run] = Run) -> Run:
        settings = self.settings()
        return kind(
            root=self.root,
            settings=settings,
            manifest=manifests.load(self.root, ENVIRONMENT, caps(self.root, settings)),
            ledger=ledger,
            engine=engine,
            cluster=FolderCluster(self.folder / "namespaces"),  # type: ignore[arg-type]
            entrance=Silent(),  # type: ignore[arg-type]
            actor=ACTOR,
            report=self._report,
        )

    def engine(self) -> Engine:
        variables = {
            "PULUMI_BACKEND_URL": (self.folder / "state").as_uri(),
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_CONFIG_PASSPHRASE": "correct horse",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        }
        return Engine(self.root, self.settings(), Target("kubeconfig", variables, self.ledger_url, self.engine_root))

    def reconcile(self) -> dict[str, str]:
        """Settle what there is as `stores reconcile` does once every lease has ended; return how the stores are."""
        with Ledger.open(self.ledger_url, now=_later) as ledger, self.engine() as engine:
            run = self.run(ledger, engine, Reconciliation)
            assert isinstance(run, Reconciliation)
            asked = RunRequest(run.run_id, ENVIRONMENT, ACTOR, Limits(), {}, ())
            return {result.store_id: result.status for result in run.settle_all(asked).stores}

    def entries(self, action: str) -> list[str]:
        """Return the outcomes of an action in the log, oldest first."""
        with Ledger.open(self.ledger_url) as ledger:
            return [entry.outcome for entry in ledger.entries(ENVIRONMENT, action=action, ascending=True)]

    def open_runs(self) -> int:
        with Ledger.open(self.ledger_url) as ledger:
            return len(ledger.open_runs(ENVIRONMENT))

    def _report(self, event: ProgressEvent) -> None:
        self.told.append(event.text)


def _later() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=2 * LEASE_S)


def request(run: Run) -> RunRequest:
    limits = Limits.of_environment(run.settings)
    return RunRequest(run.run_id, ENVIRONMENT, ACTOR, limits, {}, ())


def main() -> None:
    world = World(Path(sys.argv[1]), Path(sys.argv[2]), f"sqlite:///{Path(sys.argv[1]) / 'ledger.sqlite'}")

    def waits(_root: Path, _options: Any) -> None:
        (world.folder / "at work").touch()
        while not (world.folder / "go on").exists():
            time.sleep(0.05)

    program.run = waits
    with Ledger.open(world.ledger_url) as ledger, world.engine() as engine:
        run = world.run(ledger, engine)
        try:
            result = run.execute(request(run))
        except StoresError as error:
            print(error, file=sys.stderr)
            os._exit(error.exit_code)
    if result.exit_error is not None:
        print(result.exit_error, file=sys.stderr)
        os._exit(result.exit_error.exit_code)


if __name__ == "__main__":
    main()
