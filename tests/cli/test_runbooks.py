"""Each exit code's page knows what can be the cause: every text that ends in the code is looked for in it.

A page quotes a text between backticks, with `...` for what differs; so do the texts as they are read from the source.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS: Final = ("audit", "stacks", "components", "cli", "sandbox")

PAGES: Final = {
    "OverLimitError": 4,
    "DatabaseUnreachableError": 5,
    "LockedError": 8,
    "AuditIncompleteError": 9,
    "RefusedError": 11,
    "CancelledError": 130,
}
"""Codes with few causes. Those of 2, 3, 6 and 7 are told by texts of their own, each with its cure."""

SUBCLASSES: Final = {"EngineLockedError": "LockedError"}
MAKERS: Final = {
    # What makes an error of the texts that it is given, by the place of its text.
    ("audit/segments.py", "_broken"): ("AuditIncompleteError", 0),
    ("audit/dumps.py", "_broken"): ("AuditIncompleteError", 1),
    ("audit/failures.py", "unusable"): ("DatabaseUnreachableError", 1),
}
PROBLEMS: Final = {
    # `X.of(problems)` takes problems that were made elsewhere.
    "audit/phases/losses.py": "RefusedError",
    "audit/observation.py::_danger": "RefusedError",
    "audit/retired.py::due": "RefusedError",
    "stacks/transition.py::unprotected": "RefusedError",
    "audit/records.py": "OverLimitError",
}


@dataclass(frozen=True)
class Site:
    """A place in the source that ends in an exit code, with the texts that it may tell."""

    place: str
    error: str
    texts: tuple[str, ...]


def _texts(node: ast.expr, named: dict[str, list[str]]) -> list[str]:
    """Return what an expression may say, `...` standing for what is only known then."""
    match node:
        case ast.Constant(value=str(text)):
            found = [text]
        case ast.JoinedStr(values=parts):
            found = ["".join(one) for one in product(*(_texts(part, named) for part in parts))]
        case ast.FormattedValue(value=ast.Name() as name):
            found = _texts(name, named)
        case ast.Name(id=name_of):
            found = named.get(name_of) or ["..."]
        case ast.IfExp(body=one_way, orelse=other_way):
            found = [*_texts(one_way, named), *_texts(other_way, named)]
        case ast.BinOp(left=left, right=right):
            found = ["".join(one) for one in product(_texts(left, named), _texts(right, named))]
        case _:
            found = ["..."]
    return found


def _assigned(function: ast.AST) -> dict[str, list[str]]:
    """Return what the names of a function may stand for, as far as they are texts."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign):
            continue
        target, value = node.targets[0], node.value
        pairs: Sequence[tuple[ast.expr, ast.expr]] = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = list(zip(target.elts, value.elts, strict=False))
        for name, said in pairs:
            texts = _texts(said, {}) if isinstance(name, ast.Name) else []
            if isinstance(name, ast.Name) and texts != ["..."]:
                found.setdefault(name.id, []).extend(texts)
    return found


def _calls(tree: ast.Module) -> Iterator[tuple[ast.Call, str, dict[str, list[str]]]]:
    """Yield every call with the innermost function around it, and what its names say."""

    def walk(
        node: ast.AST, function: str, named: dict[str, list[str]]
    ) -> Iterator[tuple[ast.Call, str, dict[str, list[str]]]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                yield from walk(child, child.name, named | _assigned(child))
            else:
                if isinstance(child, ast.Call):
                    yield child, function, named
                yield from walk(child, function, named)

    yield from walk(tree, "", {})


def sites() -> list[Site]:
    found: list[Site] = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            file = str(path.relative_to(ROOT))
            for call, function, named in _calls(ast.parse(path.read_text())):
                name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
                error, place = SUBCLASSES.get(name, name), 1
                if name == "Problem":
                    error = PROBLEMS.get(file) or PROBLEMS.get(f"{file}::{function}") or ""
                elif (file, name) in MAKERS or name == "unusable":
                    error, place = MAKERS.get((file, name), ("DatabaseUnreachableError", 1))
                given = {keyword.arg: keyword.value for keyword in call.keywords}
                said = call.args[place] if len(call.args) > place else given.get("what")
                if error in PAGES and said is not None:
                    texts = tuple(re.sub(r"(\.\.\.)+", "...", text) for text in _texts(said, named))
                    found.append(Site(f"{file}:{call.lineno}", error, texts))
    return found


SITES: Final = sites()


def quoted(code: int) -> list[str]:
    return re.findall(r"`([^`\n]+)`", (ROOT / f"docs/runbooks/exit-{code}.md").read_text())


def _fits(quote: str, text: str) -> bool:
    """Return whether a page's quote is in a text; each may have `...` where the other says more."""
    pattern = ".*".join(re.escape(part) for part in quote.split("..."))
    words = [part for part in re.split(r"\.\.\.", quote) if len(part.strip()) > 3]
    return bool(words) and re.search(pattern, text, re.DOTALL) is not None


def told(text: str) -> bool:
    """Return whether a text says something by itself; one that only hands on another's does not."""
    return len(re.sub(r"\.\.\.|\W", "", text)) > 6


@pytest.mark.parametrize("error", PAGES)
def test_the_page_of_an_exit_code_knows_every_cause(error: str) -> None:
    quotes = quoted(PAGES[error])
    mine = [site for site in SITES if site.error == error]
    assert mine, "the source is read wrongly"
    missing = [
        f"{site.place}: {text}"
        for site in mine
        for text in site.texts
        if told(text) and not any(_fits(quote, text) for quote in quotes)
    ]
    assert missing == []


def test_a_cause_that_no_page_names_would_be_seen() -> None:
    assert not any(_fits(quote, "its moon is in the wrong house") for code in PAGES.values() for quote in quoted(code))
    found = {error: len([site for site in SITES if site.error == error]) for error in PAGES}
    assert found["RefusedError"] >= 30
    assert min(found.values()) >= 4


def test_every_refusal_that_is_made_of_problems_is_read_from_where_they_are_made() -> None:
    """Whoever adds one says in PROBLEMS where its texts come from."""
    known = {
        "audit/retired.py",
        "audit/observation.py",
        "audit/unprotection.py",
        "audit/phases/passes.py",
        "stacks/program.py",
        "cli/apply.py",
    }
    found = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            if "RefusedError.of(" in path.read_text():
                found.add(str(path.relative_to(ROOT)))
    assert found == known
