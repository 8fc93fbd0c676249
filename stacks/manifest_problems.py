"""Pydantic's findings in the words of the manifest: where, what with the value, and the cure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stacks.errors import Problem
from stacks.manifest_fields import BAD_VALUE
from stacks.yaml_document import KeyPath, YamlDocument

_KINDS: Final[Mapping[type, str]] = {dict: "a mapping", tuple: "a list"}
_LIST_OF: Final = {"stores": "store", "owners": "owner"}

# By pydantic's name of the finding: what is wrong, and the cure.
_WORDS: Final = {
    BAD_VALUE: ("{thing} {what}", "{cure}"),
    "missing": ("{thing} is missing", "add `{key}:`"),
    "string_type": ("{thing} {shown} is not text", 'write it in quotes: {key}: "{shown}"'),
    "string_expected": ("{thing} is {shown}, not text", "write one value"),
    "literal_error": ("{thing} {shown} is unknown", "write {expected}"),
    "int_type": ("{thing} {shown} is not a whole number", "write one, e.g. 5"),
    "greater_than_equal": ("{thing} {shown} is below {ge}", "write {ge} or more"),
    "less_than_equal": ("{thing} {shown} is over {le}", "write {le} or less"),
    "model_type": ("{thing} is {shown}, not a mapping", "write `key: value` lines below it"),
    "bool_type": ("{thing} {shown} is neither true nor false", "write {key}: true"),
    "too_long": ("{thing} has {actual_length} entries, at most {max_length}", "remove some"),
    "tuple_type": ("{thing} is {shown}, not a list", "write its entries as lines that begin with `- `, or `[]`"),
}


def problems_of(error: ValidationError, model: type[BaseModel], document: YamlDocument) -> list[Problem]:
    """Return one problem per finding. Empty values are left out: `empty_value_problems` reports them."""
    return [
        _problem(detail, model, document)
        for detail in error.errors(include_url=False)
        if detail["input"] is not None or detail["type"] == "missing"
    ]


def empty_value_problems(document: YamlDocument) -> list[Problem]:
    """Return one problem per key that has no value: nothing in a manifest is empty on purpose."""
    return [
        Problem(document.at(path), f"{described(path, document)} has no value", _empty_cure(path))
        for path in _empty_paths(document.data, ())
    ]


def described(path: KeyPath, document: YamlDocument) -> str:
    """Return how people call the thing at `path`: `store 'tea-house-x7k2m': web.memory`."""
    block, rest = path[:2], path[2:]
    dotted = ".".join(str(key) for key in rest)
    if len(block) < 2 or block[0] not in _LIST_OF:
        return ".".join(str(key) for key in path) or "the file"
    label = block_label(block, document)
    return f"{label}: {dotted}" if dotted else label


def block_label(block: KeyPath, document: YamlDocument) -> str:
    """Return `store '<id or name>'` or `owner '<name>'`; the block's number when it has neither."""
    word = _LIST_OF[str(block[0])]
    keys = ("id", "name") if word == "store" else ("name",)
    names = (document.written((*block, key)) for key in keys)
    name = next((name for name in names if name), None)
    return f"{word} '{name}'" if name else f"{word} number {int(block[1]) + 1}"


def nearest(word: str, known: Sequence[str]) -> str | None:
    """Return the known word that was probably meant, or None."""
    folded = {_folded(candidate): candidate for candidate in known}
    found = get_close_matches(_folded(word), list(folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def _folded(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")


def _problem(detail: ErrorDetails, model: type[BaseModel], document: YamlDocument) -> Problem:
    path: KeyPath = detail["loc"]
    what, cure = _words(detail, path, model, document)
    return Problem(document.at(path), what, cure)


def _words(detail: ErrorDetails, path: KeyPath, model: type[BaseModel], document: YamlDocument) -> tuple[str, str]:
    """Return what is wrong at `path` and its cure."""
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return _unknown_key(path, model, document)
    if kind == "string_type" and type(value) in _KINDS:
        kind = "string_expected"
    what, cure = _WORDS.get(kind, ("{thing} {shown} is wrong ({msg})", "correct it"))
    parts = {
        **detail.get("ctx", {}),
        "thing": described(path, document),
        "shown": _shown(value, document.written(path)),
        "key": path[-1] if path else "",
        "msg": detail["msg"],
    }
    return what.format_map(parts), cure.format_map(parts)


def _unknown_key(path: KeyPath, model: type[BaseModel], document: YamlDocument) -> tuple[str, str]:
    known = _known_keys(model, path[:-1])
    around = described(path[:-1], document)
    what = f"{around} has the unknown key {path[-1]}" if path[:-1] else f"the key {path[-1]} is unknown"
    meant = nearest(str(path[-1]), known)
    return what, f"write {meant}" if meant else f"remove it; known keys are {', '.join(known)}"


def _known_keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys that the mapping at `path` takes."""
    current: type[BaseModel] | None = model
    for key in path:
        if current is None:
            return []
        if isinstance(key, str):
            field = next((f for name, f in current.model_fields.items() if (f.alias or name) == key), None)
            current = next(_models_in(field.annotation), None) if field else None
    return [field.alias or name for name, field in current.model_fields.items()] if current else []


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in {tuple, Union, UnionType}:
        for part in get_args(annotation):
            yield from _models_in(part)


def _shown(value: object, written: str | None) -> str:
    return _KINDS.get(type(value)) or (str(value) if written is None else written)


def _empty_paths(data: object, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _empty_paths(value, (*path, key))
    elif isinstance(data, tuple):
        for index, value in enumerate(data):
            yield from _empty_paths(value, (*path, index))
    elif data is None:
        yield path


def _empty_cure(path: KeyPath) -> str:
    if len(path) == 1 and path[0] in _LIST_OF:
        return f"write `{path[0]}: []` when there is none"
    return "remove the line" if isinstance(path[-1], int) else "give it one, or remove the line"
