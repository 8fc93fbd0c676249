"""A project, a state and a cluster in a folder: the gate and its runs whole, over a real ledger, without a cluster.

In the engine's place is one that does what the program would say, in files; a store exists as long as its files do,
whatever becomes of the process that made it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from audit.engine.events import EngineResult, OnStep
from audit.engine.state import Snapshot
from audit.gate import Gate
from audit.ledger import Ledger
from audit.probe import Answer
from audit.target import Target
from components import naming
from stacks import settings as settings_module
from stacks.cluster import NamespaceState
from stacks.desired import Plans
from stacks.evidence import Evidence
from stacks.program import RunOptions

ROOT = Path(__file__).parents[2]
GRACE_H = 24
OWNERS = """\
version: 1
owners:
  - {name: alice, contact: alice@example.com}
  - {name: bob, contact: bob@example.com}
"""


def block(
    store_id: str, *, owner: str = "alice", cell: str = "01", state: str = "active", tag: str | None = None
) -> str:
    """Return a store's block of the manifest."""
    name = store_id.rpartition("-")[0]
    image = f", image: {{tag: {tag}}}" if tag else ""
    return f'  - {{id: {store_id}, name: {name}, owner: {owner}, cell: "{cell}", state: {state}{image}}}\n'


def make_project(root: Path) -> Path:
    """Leave a project without backups, and return its root."""
    (root / "stacks/local").mkdir(parents=True)
    for name in ("Pulumi.yaml", "Pulumi.local.yaml"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / "values", root / "values")
    values = root / "values/values-local.yaml"
    values.write_text(values.read_text().replace("backup:\n  enabled: true", "backup:\n  enabled: false"))
    (root / "charts").symlink_to(ROOT / "charts")
    (root / "stacks/local/owners.yaml").write_text(OWNERS)
    (root / "world").mkdir()
    return root


@dataclass
class SmallWorld:
    """Engine, cluster and entrance of one project. `reached` is called with what has just been begun or done."""

    root: Path
    reached: Callable[[str], None] = lambda _point: None
    works: list[str] = field(default_factory=list)
    """The cells that the engine has worked on."""
    broken: set[str] = field(default_factory=set)
    """Stores that do not answer."""
    interrupts: int = 0
    uid: str = "uid-1"
    address: str = "https://cluster"
    core: Any = field(default_factory=lambda: SimpleNamespace(api_client=None))

    def write(self, *blocks: str) -> None:
        """Leave a manifest of these blocks."""
        (self.root / "stacks/local/stores.yaml").write_text(
            "version: 1\nstores:" + ("\n" + "".join(blocks) if blocks else " []\n")
        )

    def gate(self, ledger: Ledger, *, protected: bool = False) -> Gate:
        """Return the gate into this world."""
        settings = settings_module.load(self.root, "local")
        settings = settings.model_copy(
            update={
                "protected": protected,
                "deletion_grace_hours": GRACE_H,
                "ready_timeout_seconds": 0,
                "deletion_timeout_seconds": 1,
            }
        )
        target = Target("kubeconfig", {"PULUMI_BACKEND_URL": f"file://{self.root}"}, "unused")
        gate = Gate(self.root, settings, target, ledger)
        made: Any = self
        entrance: Any = SimpleNamespace(ask=self.answer)
        gate.engine, gate.cluster, gate.entrance = made, made, entrance
        self._gate = gate
        return gate

    def existing(self) -> set[str]:
        """Return every store of which there is anything."""
        return {file.parent.name for file in (self.root / "world").glob("*/*")}

    # --- the engine

    def snapshot(self, cell: str) -> Snapshot:
        applied = {store_id: json.loads(file.read_text()) for store_id, file in self._of(cell, "state").items()}
        return Snapshot(exists=bool(applied), applied=applied, known=frozenset(applied), cluster_uid=self.uid)

    def preview(self, *_: object, **__: object) -> EngineResult:
        return EngineResult((), {})

    def up(
        self,
        cell: str,
        options: RunOptions,
        _store_ids: frozenset[str],
        _on_step: OnStep,
        *,
        targets: Sequence[str] = (),  # noqa: ARG002
    ) -> EngineResult:
        self.reached("engine began")
        self.works.append(cell)
        manifest = self._gate.manifest()
        wanted = Plans(self.root, self._gate.settings).of(manifest)
        for store in manifest.in_cell(cell):
            kept = store.deleted and self._gate.settings.protected and store.id not in options.removed
            if kept or store.id in options.withheld or store.id in options.frozen:
                continue
            state, namespace = self._file(store.id, cell, "state"), self._file(store.id, cell, "namespace")
            if store.deleted:
                namespace.unlink(missing_ok=True)
                self.reached("engine in the middle")
                state.unlink(missing_ok=True)
            else:
                namespace.touch()
                self.reached("engine in the middle")
                state.write_text(json.dumps(wanted[store.id].to_dict()))
        self.reached("engine done")
        return EngineResult((), {})

    def refresh(self, *_: object) -> None:
        pass

    def clear(self, *_: object, **__: object) -> bool:
        return False

    def interrupt(self, *_: object) -> None:
        self.interrupts += 1

    # --- the cluster

    def namespace(self, name: str) -> NamespaceState | None:
        exists = any(naming.namespace(store_id) == name for store_id in self._of(None, "namespace"))
        return NamespaceState(terminating=False) if exists else None

    def volumes_of(self, _name: str) -> list[str]:
        return []

    def holders(self, _name: str) -> list[str]:
        return []

    def revisions(self, *_: object) -> list[object]:
        return []

    def disk_lines(self, _name: str) -> tuple[str, ...]:
        return ()

    def evidence(self, *_: object, **__: object) -> Evidence:
        return Evidence()

    def give_up(self) -> None:
        raise AssertionError("nothing keeps the stores of this world")

    def execute(self, *_: object) -> None:
        return None

    def ask(self, _question: object, _about: str) -> None:
        """Answer that there is no such object: nobody made any by hand."""

    # --- the entrance

    def answer(self, store_id: str, _url: str, *, sells: bool = False, **_: object) -> Answer:
        ok = store_id not in self.broken and store_id in self._of(None, "namespace")
        return Answer(ok=ok, detail="Tea" if ok else "no answer", content="a shop" if sells else "a page")

    def _file(self, store_id: str, cell: str, kind: str) -> Path:
        folder = self.root / "world" / store_id
        folder.mkdir(exist_ok=True)
        return folder / f"{cell}.{kind}"

    def _of(self, cell: str | None, kind: str) -> Mapping[str, Path]:
        return {file.parent.name: file for file in sorted((self.root / "world").glob(f"*/{cell or '*'}.{kind}"))}
