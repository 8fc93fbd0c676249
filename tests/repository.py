"""A project's files in a git repository of their own, with a bare origin as its service."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from audit.comparison import against
from audit.plan import Plan

ROOT = Path(__file__).parents[1]
COPIED = ("stacks", "values", "charts", "Pulumi.yaml", "Pulumi.local.yaml", "Pulumi.prod.yaml")
TEA, BOOKS = "tea-x7k2m", "books-c4d7f"


class Repository:
    """A clone with a bare origin, whose main branch has two stores of one owner."""

    def __init__(self, folder: Path) -> None:
        self.origin, self.root = folder / "origin.git", folder / "clone"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self.origin)], check=True)
        subprocess.run(["git", "clone", "-q", str(self.origin), str(self.root)], check=True, capture_output=True)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.root / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, self.root / name)
        for environment in ("local", "prod"):
            self.write(block(TEA), block(BOOKS), environment=environment)
            owners = [{"name": name, "contact": f"{name}@example.com"} for name in ("alice", "bob")]
            self._dump(f"stacks/{environment}/owners.yaml", {"version": 1, "owners": owners})
        self.commit("two stores")
        self.git("push", "-q", "origin", "HEAD:main")
        self.git("switch", "-q", "-c", "change")

    def write(self, *stores: dict[str, Any], environment: str = "local") -> None:
        self._dump(f"stacks/{environment}/stores.yaml", {"version": 1, "stores": list(stores)})

    def commit(self, text: str) -> None:
        self.git("add", "-A")
        self.git("-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", text)

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.root, check=True, capture_output=True)

    def plan(self, environment: str = "local", ref: str = "origin/main") -> Plan:
        return against(self.root, environment, ref)

    def _dump(self, where: str, document: Any) -> None:
        with (self.root / where).open("w") as file:
            YAML(typ="safe").dump(document, file)


def block(store_id: str, owner: str = "alice", **more: Any) -> dict[str, Any]:
    return {"id": store_id, "name": store_id[:-6], "owner": owner, "cell": "01", **more}
