"""The manifest of an environment, read, checked as a whole, and typed.

The one way in for everybody: `load` either returns a manifest that keeps every rule, or raises with every problem of
both files. It never imports pulumi and never changes a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from components import naming
from stacks import manifest_rules as rules
from stacks.errors import ManifestError, Problem
from stacks.manifest_model import (
    Image,
    Owner,
    OwnersFile,
    Store,
    StoresFile,
)
from stacks.manifest_problems import empty_value_problems, nearest, problems_of
from stacks.manifest_rules import STORES_PER_CELL, Caps
from stacks.manifest_version import CURRENT_VERSION, version_problem
from stacks.yaml_document import YamlDocument, read

__all__ = ["CURRENT_VERSION", "STORES_PER_CELL", "Caps", "Manifest", "Owner", "Store", "environments", "load"]

STORES_FILE: Final = "stores.yaml"
OWNERS_FILE: Final = "owners.yaml"

_File = TypeVar("_File", bound=BaseModel)


@dataclass(frozen=True)
class Manifest:
    """The stores and owners of one environment, in file order. Everything in it has passed every check."""

    version: int
    environment: str
    stores: tuple[Store, ...]
    owners: tuple[Owner, ...]
    digest: str
    """SHA-256 over what the stores should be; comments, order and notation do not change it."""
    document: YamlDocument

    @property
    def where(self) -> str:
        """Return the path of stores.yaml, relative to the project's root."""
        return self.document.where

    def store(self, store_id: str) -> Store | None:
        """Return the store with that id, tombstones included, or None."""
        return next((store for store in self.stores if store.id == store_id), None)

    def owner(self, name: str) -> Owner:
        """Return the owner with that name, who must be in the manifest."""
        return next(owner for owner in self.owners if owner.name == name)

    def cells(self) -> tuple[str, ...]:
        """Return every cell that has a store, in order."""
        return tuple(sorted({store.cell for store in self.stores}))

    def in_cell(self, cell: str) -> tuple[Store, ...]:
        """Return the stores of one cell, tombstones included."""
        return tuple(store for store in self.stores if store.cell == cell)

    def with_image_tag(self, store_id: str, tag: str) -> Manifest:
        """Return the manifest as it will be once a store's block names this tag."""
        image = Image(tag=tag)
        stores = tuple(replace(store, image=image) if store.id == store_id else store for store in self.stores)
        return replace(self, stores=stores, digest=digest_of(stores))

    def location(self, store_id: str, key: str = "") -> str:
        """Return `file:line` of a store, or of one of its keys (`web.memory`); only the file for a store not in it."""
        index = next((index for index, store in enumerate(self.stores) if store.id == store_id), None)
        if index is None:
            return self.where
        return self.document.at(("stores", index, *(key.split(".") if key else ())))


def load(root: Path, environment: str, caps: Caps) -> Manifest:
    """Return the environment's manifest.

    Raises ManifestError with every problem of both files, in the files' order. `root` is the project's root.
    """
    folder = folder_of(root, environment)
    stores_document = read(root / folder / STORES_FILE, f"{folder}/{STORES_FILE}")
    owners_document = read(root / folder / OWNERS_FILE, f"{folder}/{OWNERS_FILE}")

    owners_file, owners_problems = _checked(owners_document, environment, OwnersFile, rules.repeated_owner_problems)
    owner_names = rules.owner_names(owners_document)

    def stores_rules(document: YamlDocument) -> list[Problem]:
        drafts = rules.drafts_of(document)
        return [
            *rules.written_by_tool_problems(drafts, document, environment),
            *rules.identity_problems(drafts, document),
            *rules.cell_problems(drafts, document),
            # An unreadable owners.yaml is one problem, not one more for every store.
            *([] if owner_names is None else rules.owner_problems(drafts, owner_names, document)),
            *rules.domain_problems(drafts, caps.host_domain, document),
            *rules.size_problems(drafts, caps, document, environment),
            *rules.database_problems(drafts, caps, document),
        ]

    stores_file, stores_problems = _checked(stores_document, environment, StoresFile, stores_rules)
    problems = [*stores_problems, *owners_problems]
    if problems or stores_file is None or owners_file is None:
        raise ManifestError.of(problems)
    contacts = {owner.name: owner.contact for owner in owners_file.owners}
    stores = tuple(Store.of(block, contact=contacts[block.owner]) for block in stores_file.stores)
    return Manifest(
        version=stores_file.version,
        environment=environment,
        stores=stores,
        owners=owners_file.owners,
        digest=digest_of(stores),
        document=stores_document,
    )


def digest_of(stores: Sequence[Store]) -> str:
    """Return the SHA-256 over what these stores should be, whatever their order."""
    specs = [store.spec() for store in sorted(stores, key=lambda store: store.id)]
    canonical = json.dumps({"version": CURRENT_VERSION, "stores": specs}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def environments(root: Path) -> list[str]:
    """Return the environments that have a manifest."""
    return sorted(path.parent.name for path in (root / "stacks").glob(f"*/{STORES_FILE}"))


def folder_of(root: Path, environment: str) -> str:
    """Return the environment's folder, relative to the root; raises ManifestError when there is none."""
    known = environments(root)
    if naming.ENVIRONMENT_PATTERN.fullmatch(environment) and (root / "stacks" / environment).is_dir():
        return f"stacks/{environment}"
    meant = nearest(environment, known)
    choice = f"use {meant}" if meant else f"use one of: {', '.join(known) or 'none yet'}"
    raise ManifestError("stacks", f"there is no environment '{environment}'", choice)


def _checked(
    document: YamlDocument, environment: str, model: type[_File], file_rules: Callable[[YamlDocument], list[Problem]]
) -> tuple[_File | None, list[Problem]]:
    """Return the typed file, if it is one, and every problem of it in the order of its lines."""
    problems = list(document.problems)
    if not document.readable:
        return None, problems
    if not isinstance(document.data, Mapping):
        what = "the file is not a mapping"
        return None, [*problems, Problem(document.at(()), what, "start it with `version: 1`")]
    if stop := version_problem(document, environment):
        return None, [*problems, stop]
    problems += empty_value_problems(document)
    typed: _File | None = None
    try:
        typed = model.model_validate(document.data)
    except ValidationError as error:
        problems += problems_of(error, model, document)
    problems += file_rules(document)
    return typed, _in_order(problems)


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems of one file by line; those of one line keep their order."""

    def line(problem: Problem) -> int:
        number = problem.where.rpartition(":")[2]
        return int(number) if number.isdigit() else 0

    return sorted(problems, key=line)
