"""A YAML file as plain data that still knows the line of every value.

The manifest is read from YAML's node tree and not from ruamel's finished objects: only the tree has every position and
shows every repeated key, so that all problems of a file can be reported together.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from stacks.errors import Problem

Key = str | int
KeyPath = tuple[Key, ...]

_TAG: Final = "tag:yaml.org,2002:"
_PLAIN_TAGS: Final = frozenset({"str", "int", "float", "bool", "null", "timestamp", "map", "seq"})


@dataclass(frozen=True)
class YamlDocument:
    """One parsed file. `root` is None when nothing in it could be read; then `problems` says why."""

    where: str
    text: str
    root: Node | None = None
    data: object = None
    problems: tuple[Problem, ...] = ()
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    texts: Mapping[KeyPath, str] = field(default_factory=dict)

    @property
    def readable(self) -> bool:
        """Whether there is data at all, complete or not."""
        return self.root is not None

    def at(self, path: KeyPath) -> str:
        """Return `file:line` of the value at `path`, or of the nearest thing around it that exists."""
        return f"{self.where}:{self.line(path)}"

    def line(self, path: KeyPath) -> int:
        """Return the line of the value at `path`, or of the nearest thing around it; 1 when there is none."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)

    def written(self, path: KeyPath) -> str | None:
        """Return the scalar at `path` as people wrote it (`01`, `7.10`) but for quotes; None if there is none."""
        return self.texts.get(path)


def read(path: Path, where: str) -> YamlDocument:
    """Return the parsed file; a missing or unreadable file is a document with that one problem."""
    try:
        return parse(path.read_bytes().decode("utf-8"), where)
    except FileNotFoundError:
        return _unreadable(where, "", Problem(where, "the file is missing", "create it, or restore it from git"))
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        return _unreadable(where, "", Problem(f"{where}:{line}", "the text is not UTF-8", "save the file as UTF-8"))
    except OSError as error:
        return _unreadable(where, "", Problem(where, f"the file cannot be read ({error.strerror})", "check it"))


def parse(text: str, where: str) -> YamlDocument:
    """Return the document that `text` holds, with every problem of its form."""
    try:
        with warnings.catch_warnings():
            # A name that stands for nothing harms nobody; one that is used is a problem of its own.
            warnings.simplefilter("ignore", ReusedAnchorWarning)
            root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        return _unreadable(where, text, _syntax_problem(error, text, where))
    except YAMLError as error:
        return _unreadable(where, text, Problem(where, f"not YAML ({_one_line(error)})", "remove that character"))
    except RecursionError:
        return _unreadable(where, text, Problem(where, "nested too deeply to be read", "flatten it"))
    if root is None:
        return _unreadable(where, text, Problem(where, "the file is empty", "start it with `version: 1`"))
    reader = _Reader(where)
    data = reader.value(root, ())
    return YamlDocument(where, text, root, data, tuple(reader.problems), reader.lines, reader.texts)


def entries(node: MappingNode) -> Iterator[tuple[str, Node, Node]]:
    """Yield every key of a mapping as text, with its own node and its value's."""
    for key, value in node.value:
        yield str(key.value), key, value


class _Reader:
    """Turns nodes into dict, tuple, str, int, float, bool and None, and collects what is wrong on the way."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.problems: list[Problem] = []
        self.lines: dict[KeyPath, int] = {}
        self.texts: dict[KeyPath, str] = {}
        self._seen: set[int] = set()

    def value(self, node: Node, path: KeyPath) -> object:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self._seen:
            # An alias hides what a block says from its reviewer, and repeated aliases can grow without bound.
            self._problem(path, "an alias (`*name`) stands for a value", "write the value out")
            return None
        self._seen.add(id(node))
        if not _is_plain(node):
            self._problem(path, f"the tag {node.tag} is not allowed", "write a plain value")
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return tuple(self.value(item, (*path, index)) for index, item in enumerate(node.value))
        self.texts[path] = node.value
        return _scalar(node)

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, object]:
        data: dict[str, object] = {}
        for key, key_node, value_node in entries(node):
            key_path = (*path, key)
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode) or key_node.tag == f"{_TAG}merge":
                what = f"the key {_shown(key_node)} is not a plain word"
                self._problem_on(line, what, "write one plain key per value")
            elif key in data:
                first = self.lines[key_path]
                self._problem_on(line, f"the key {key} stands twice, first in line {first}", "remove one of the two")
            else:
                self.lines[key_path] = line
                data[key] = self.value(value_node, key_path)
        return data

    def _problem(self, path: KeyPath, what: str, cure: str) -> None:
        self._problem_on(self.lines[path], what, cure)

    def _problem_on(self, line: int, what: str, cure: str) -> None:
        self.problems.append(Problem(f"{self.where}:{line}", what, cure))


def _is_plain(node: Node) -> bool:
    tag = str(node.tag)
    return tag.startswith(_TAG) and tag.removeprefix(_TAG) in _PLAIN_TAGS


def _scalar(node: Node) -> object:
    """Return the scalar's value by YAML 1.2's rules; dates stay text, and so does a number in an exotic notation."""
    text = str(node.value)
    match str(node.tag).removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() in {"true", "yes", "on"}
        case "int" | "float" as kind:
            try:
                return int(text) if kind == "int" else float(text)
            except ValueError:
                return text
        case _:
            return text


def _shown(node: Node) -> str:
    return str(node.value) if isinstance(node, ScalarNode) else "that is a list or a mapping"


def _unreadable(where: str, text: str, problem: Problem) -> YamlDocument:
    return YamlDocument(where, text, problems=(problem,))


def _syntax_problem(error: MarkedYAMLError, text: str, where: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    if mark is not None and error.context_mark is not None and mark.line >= text.count("\n"):
        # Something was opened and never closed, noticed at the end of the file: where it begins says more.
        mark = error.context_mark
    place = where if mark is None else f"{where}:{mark.line + 1}"
    what = f"not YAML: {error.problem or error.context}"
    if error.problem and "'\\t'" in error.problem:
        return Problem(place, what, "indent with spaces, not with tabs")
    if error.problem and "another document" in error.problem:
        return Problem(place, "a second document begins (`---`)", "keep one document per file")
    if error.context:
        what = f"{what} ({error.context})"
    return Problem(place, what, "correct the line, or the one above it")


def _one_line(error: YAMLError) -> str:
    return " ".join(str(error).split())
