"""Edits of stores.yaml: a new block, ids and cells for blocks that lack them, tombstones, single values.

People own the file, so an edit keeps everything else as they wrote it, and a file that somebody changed meanwhile is
never overwritten. Whether a store may exist is not decided here: limits are the gate's.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic_core import PydanticCustomError

from components import naming
from stacks import manifest_fields as fields
from stacks.errors import LockedError, ManifestError, Problem, UsageError
from stacks.manifest import OWNERS_FILE, STORES_FILE, folder_of
from stacks.manifest_model import StoreBlock, default_title
from stacks.manifest_problems import nearest
from stacks.manifest_rules import Draft, drafts_of, missing_keys, next_cell, owner_names
from stacks.manifest_version import MIGRATIONS, migrated, version_of
from stacks.yaml_document import KeyPath, YamlDocument, parse, read
from stacks.yaml_edit import with_item, with_value, without_item, without_key

KEY_ORDER: Final = tuple(field.alias or name for name, field in StoreBlock.model_fields.items())

Choose = Callable[[str], str]


@dataclass(frozen=True)
class Written:
    """What the tool wrote into one block."""

    where: str
    name: str
    store_id: str
    cell: str


class ManifestFile:
    """The stores.yaml of one environment, while it is edited. Nothing is on disk before `save`."""

    def __init__(self, root: Path, environment: str) -> None:
        """Read the file; raises ManifestError when it is not a list of blocks, with whatever else is wrong in it."""
        folder = folder_of(root, environment)
        where = f"{folder}/{STORES_FILE}"
        # A link stays a link: what it points to is edited.
        self._path = (root / where).resolve()
        self._owners = read(root / folder / OWNERS_FILE, f"{folder}/{OWNERS_FILE}")
        self._original = read(self._path, where)
        self._document = self._original
        version = version_of(self._document)
        if version is not None and version in MIGRATIONS:
            self._document = parse(migrated(self._document.text, version), where)
        _require_blocks(self._document)

    @property
    def document(self) -> YamlDocument:
        """Return the file as it would be written now."""
        return self._document

    @property
    def changed(self) -> bool:
        """Return whether there is anything to write."""
        return self._document.text != self._original.text

    def add(
        self,
        name: str,
        owner: str,
        title: str | None = None,
        *,
        more: Mapping[str, object] | None = None,
        choose: Choose = secrets.choice,
        store_id: str | None = None,
        cell: str | None = None,
    ) -> Written:
        """Append a block for a new store, with its id and cell; raises UsageError when a value cannot be.

        `store_id` and `cell` of one that is known already; no block may have that id.

        `more` are further keys of the block with their values, which are not judged here: `manifest.load` does.
        """
        title = default_title(name) if title is None else title
        problems = [*_value_problems(name, title), *self._unknown_owner(name, owner)]
        if problems:
            raise UsageError.of(problems)
        drafts = drafts_of(self._document)
        written = Written("", name, store_id or _fresh_id(name, drafts, choose), cell or self._room(drafts))
        own = {"id": written.store_id, "name": name, "owner": owner, "cell": written.cell, "title": title}
        keys: dict[str, object] = {**(more or {}), **own}
        item = {key: keys[key] for key in KEY_ORDER if key in keys}
        self._document = with_item(self._document, ("stores",), item)
        return Written(self._document.at(("stores", len(drafts))), name, written.store_id, written.cell)

    def fill(self, *, choose: Choose = secrets.choice) -> list[Written]:
        """Write id and cell into every block that lacks one of them; return what was written.

        Doing it again writes nothing. Raises ManifestError when a block without an id has no name that one can be
        made from.
        """
        lacking = [
            (draft, keys) for draft in drafts_of(self._document) if (keys := missing_keys(draft, self._document))
        ]
        if problems := [problem for draft, keys in lacking if "id" in keys for problem in self._bad_name(draft)]:
            raise ManifestError.of(problems)
        for draft, keys in lacking:
            now = drafts_of(self._document)
            for key in keys:
                value = _fresh_id(draft.name or "", now, choose) if key == "id" else self._room(now)
                self._document = with_value(self._document, (*draft.path, key), value, KEY_ORDER)
        filled = {draft.index for draft, _ in lacking}
        return [
            Written(self._document.at(block.path), block.name or "", block.id or "", block.cell or "")
            for block in drafts_of(self._document)
            if block.index in filled
        ]

    def tombstone(self, store_id: str) -> bool:
        """Mark the store for removal; return False when it was marked already."""
        return self.set_value(store_id, "state", "deleted")

    def restore(self, store_id: str) -> None:
        """Take the mark for removal away again; raises UsageError when there is none."""
        path = (*self._draft(store_id).path, "state")
        if self._document.written(path) != "deleted":
            cure = "there is nothing to undelete"
            raise UsageError(self._document.at(path), f"store '{store_id}' is not marked for removal", cure)
        self._document = without_key(self._document, path)

    def set_value(self, store_id: str, key: str, value: str) -> bool:
        """Set one value of a store's block (`web.memory`); return False when it had that value already."""
        path: KeyPath = (*self._draft(store_id).path, *key.split("."))
        before = self._document.text
        if self._document.written(path) != value:
            self._document = with_value(self._document, path, value, KEY_ORDER)
        return self._document.text != before

    def image_tag(self, store_id: str) -> str | None:
        """Return the image's tag that the store's own block names, or None where the environment's holds."""
        written = self._document.written((*self._draft(store_id).path, "image", "tag"))
        return None if written is None else str(written)

    def set_image_tag(self, store_id: str, tag: str | None) -> bool:
        """Make the store's block name this tag, or with None none; return False when it did already."""
        if tag is not None:
            require_image_tag(tag)
            return self.set_value(store_id, "image.tag", tag)
        if self.image_tag(store_id) is None:
            return False
        self._document = without_key(self._document, (*self._draft(store_id).path, "image"))
        return True

    def remove(self, store_id: str) -> None:
        """Remove the store's block. Only for a store whose resources are gone."""
        self._document = without_item(self._document, self._draft(store_id).path)

    def save(self) -> bool:
        """Write the file whole or not at all; return False when nothing had changed.

        Raises LockedError when somebody else changed the file since it was read; then nothing is written.
        """
        if not self.changed:
            return False
        with _only_writer(self._path.parent):
            current = self._path.read_bytes() if self._path.exists() else b""
            if current != self._original.text.encode():
                where = self._original.where
                raise LockedError(where, "the file was changed by somebody else meanwhile", "run the command again")
            _replace(self._path, self._document.text.encode())
        self._original = self._document
        return True

    def _draft(self, store_id: str) -> Draft:
        drafts = drafts_of(self._document)
        known = [draft.id for draft in drafts if draft.id]
        for draft in drafts:
            if draft.id == store_id:
                return draft
        meant = nearest(store_id, known)
        cure = f"write {meant}" if meant else "`stores list` shows the ids"
        raise UsageError(self._document.where, f"there is no store '{store_id}'", cure)

    def _room(self, drafts: Sequence[Draft]) -> str:
        cell = next_cell(draft.cell for draft in drafts if draft.cell)
        if cell is None:
            raise ManifestError(self._document.where, "all 99 cells are full", "start another environment")
        return cell

    def _bad_name(self, draft: Draft) -> Iterator[Problem]:
        where = self._document.at((*draft.path, "name"))
        if draft.name is None:
            yield Problem(where, f"{draft.label}: name is missing, and the id is made from it", "add `name:`")
        else:
            for what, cure in _faults(fields.check_name, draft.name):
                yield Problem(where, f"{draft.label}: name {what}", cure)

    def _unknown_owner(self, name: str, owner: str) -> Iterator[Problem]:
        known = owner_names(self._owners)
        if known is None:
            yield from self._owners.problems
        elif owner not in known:
            meant = nearest(owner, known)
            cure = f"use {meant}, or add '{owner}' there" if meant else f"add '{owner}' there"
            yield Problem(f"store '{name}'", f"owner '{owner}' is not in {self._owners.where}", cure)


def require_image_tag(tag: str) -> None:
    """Raise UsageError when the text is not a tag that the manifest may name."""
    for what, cure in _faults(fields.check_image_tag, tag):
        raise UsageError("image tag", what, cure)


def _require_blocks(document: YamlDocument) -> None:
    """Raise ManifestError when the document is not a sound list of blocks."""
    if document.problems:
        raise ManifestError.of(document.problems)
    data = document.data
    stores = data.get("stores") if isinstance(data, dict) else None
    if not isinstance(stores, tuple):
        raise ManifestError(document.at(("stores",)), "there is no list of stores", "write `stores: []`")
    for index, block in enumerate(stores):
        if not isinstance(block, dict):
            where = document.at(("stores", index))
            raise ManifestError(
                where, f"store number {index + 1} is not a mapping", "write `key: value` lines below it"
            )


def _value_problems(name: str, title: str) -> Iterator[Problem]:
    checks = (("name", fields.check_name, name), ("title", fields.check_title, title))
    for key, check, value in checks:
        for what, cure in _faults(check, value):
            yield Problem(f"store '{name}'", f"{key} {what}", cure)


def _faults(check: Callable[[str], str], value: str) -> Iterator[tuple[str, str]]:
    try:
        check(value)
    except PydanticCustomError as error:
        context = error.context or {}
        yield str(context["what"]), str(context["cure"])


def _fresh_id(name: str, drafts: Sequence[Draft], choose: Choose) -> str:
    """Return an id that no block has."""
    taken = {draft.id for draft in drafts}
    while (store_id := naming.new_store_id(name, choose)) in taken:
        pass
    return store_id


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that two of our own processes cannot both find the file unchanged."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(path: Path, content: bytes) -> None:
    """Put `content` in place of the file in one step, on the disk when this returns."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
