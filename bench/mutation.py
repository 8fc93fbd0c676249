"""Mutation testing of the limits and the audit core: how many small defects do their tests notice?

`python -m bench.mutation`: each defect is put into a module as it is imported, in a process of its own, and that
module's tests run on SQLite until the first one fails. What survives is printed with its place. A defect that makes the
tests hang counts as noticed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.abc
import importlib.machinery
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent
SECONDS = 120

_LEDGER = ("admission", "idempotency", "settlement", "leases")
# By module, the tests that are to notice; the quickest first.
TESTS: dict[str, tuple[str, ...]] = {
    "audit.limits": ("test_limits",),
    "audit.chain": ("test_chain", "test_verification"),
    "audit.verification": ("test_verification", "test_segments"),
    "audit.anchors": ("test_anchors", "test_ledger_entries"),
    "audit.entries": ("test_ledger_entries", "test_ledger_admission"),
    "audit.judgement": ("test_ledger_admission", "test_ledger_settlement"),
    "audit.admission": tuple(f"test_ledger_{name}" for name in _LEDGER),
    "audit.slots": ("test_ledger_admission", "test_ledger_settlement", "test_ledger_model"),
    "audit.settlement": ("test_ledger_settlement", "test_ledger_admission", "test_ledger_leases"),
    "audit.leases": ("test_ledger_leases", "test_ledger_admission"),
    "audit.idempotency": ("test_ledger_idempotency",),
    "audit.segments": ("test_segments",),
    "audit.spool": ("test_spool",),
    "audit.records": ("test_ledger_admission", "test_ledger_settlement", "test_ledger_model"),
}
_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One defect: where, and what."""

    module: str
    line: int
    what: str
    source: str


class _Mutator(ast.NodeTransformer):
    """Changes the node number `target`, counting those that can be changed."""

    def __init__(self, target: int) -> None:
        self.target, self.count, self.done = target, -1, ""
        self.line = 0

    def _hit(self, node: ast.AST, what: str) -> bool:
        self.count += 1
        if self.count != self.target:
            return False
        self.done, self.line = what, getattr(node, "lineno", 0)
        return True

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return node  # annotations say nothing at run time

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = [self.visit(statement) for statement in node.body]  # its decorators are no logic
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body = [self.visit(statement) for statement in node.body]
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        for number, operator in enumerate(node.ops):
            swapped = _COMPARE.get(type(operator))
            if swapped is not None and self._hit(node, f"{type(operator).__name__} -> {swapped.__name__}"):
                node.ops[number] = swapped()
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        swapped = _ARITHMETIC.get(type(node.op))
        if swapped is not None and self._hit(node, f"{type(node.op).__name__} -> {swapped.__name__}"):
            node.op = swapped()
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        if self._hit(node, "and <-> or"):
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return node.operand if isinstance(node.op, ast.Not) and self._hit(node, "not x -> x") else node

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        if self._hit(node, "if -> if not"):
            node.test = ast.UnaryOp(ast.Not(), node.test)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool) and self._hit(node, f"{node.value} -> {not node.value}"):
            return ast.copy_location(ast.Constant(not node.value), node)
        if type(node.value) is int and self._hit(node, f"{node.value} -> {node.value + 1}"):
            return ast.copy_location(ast.Constant(node.value + 1), node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Call) and self._hit(node, "call left out"):
            return ast.copy_location(ast.Pass(), node)
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        self.generic_visit(node)
        if node.value is not None and not _is_none(node.value) and self._hit(node, "return None"):
            node.value = ast.Constant(None)
        return node


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def mutants(module: str) -> Iterator[Mutant]:
    """Yield every defect that can be put into the module."""
    text = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    number = 0
    while True:
        mutator = _Mutator(number)
        tree = ast.fix_missing_locations(mutator.visit(ast.parse(text)))
        if not mutator.done:
            return
        yield Mutant(module, mutator.line, mutator.done, ast.unparse(tree))
        number += 1


class _Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the mutated source for the one module."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name == self.mutant.module else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.mutant.source, f"<mutant of {self.mutant.module}>", "exec"), module.__dict__)  # noqa: S102


def survives(mutant: Mutant | None, tests: tuple[str, ...]) -> bool:
    """Return whether every test passes with the defect, in a process of its own. None: without any."""
    child = os.fork()
    if child == 0:
        _run_tests(mutant, tests)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _run_tests(mutant: Mutant | None, tests: tuple[str, ...]) -> None:
    import pytest  # noqa: PLC0415 - loaded before the fork

    os.setpgid(0, 0)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.chdir(ROOT)
    if mutant is not None:
        sys.meta_path.insert(0, _Loader(mutant))
    names = [f"tests/audit/{name}.py" for name in tests]
    options = [
        "-x",
        "-q",
        "-k",
        "not mariadb",
        "-m",
        "not long",
        "-p",
        "no:cacheprovider",
        "--hypothesis-seed=0",
        "--assert=plain",
    ]
    os._exit(int(pytest.main([*options, *names])))


def main() -> int:
    """Try the defects, write the figure down, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.mutation", description=__doc__)
    parser.add_argument("module", nargs="*", help=f"of {', '.join(TESTS)}; default: all")
    parser.add_argument("--sample", type=int, help="only so many of each module, chosen by a fixed seed")
    parser.add_argument("--at-least", type=float, default=85, help="percent that must be noticed [default: 85]")
    chosen = parser.parse_args()
    _load()
    killed = tried = 0
    alive: list[Mutant] = []
    by_module: dict[str, str] = {}
    for module in chosen.module or TESTS:
        if not survives(None, TESTS[module]):
            print(f"the tests of {module} fail without any defect", file=sys.stderr)
            return 1
        found = list(mutants(module))
        if chosen.sample and len(found) > chosen.sample:
            found = sorted(random.Random(1).sample(found, chosen.sample), key=lambda mutant: mutant.line)  # noqa: S311
        left = [mutant for mutant in found if survives(mutant, TESTS[module])]
        for mutant in left:
            print(f"survived: {module}:{mutant.line}: {mutant.what}", flush=True)
        alive += left
        tried, killed = tried + len(found), killed + len(found) - len(left)
        by_module[module] = f"{len(found) - len(left)} of {len(found)}"
        print(f"{module}: {by_module[module]} noticed", flush=True)
    share = 100 * killed / tried
    if not chosen.module:
        from bench import results  # noqa: PLC0415 - it must not be loaded before the fork's tests are

        kind = "every one" if not chosen.sample else f"a sample of at most {chosen.sample} per module"
        results.record(
            "9", "mutation testing of limits and audit core", wanted=f"at least {chosen.at_least:.0f} % noticed",
            seen=f"{share:.1f} % of {tried} ({kind})", met=share >= chosen.at_least,
            values={"modules": by_module, "survived": [f"{m.module}:{m.line}: {m.what}" for m in alive]},
        )  # fmt: skip
    print(f"{share:.1f} % of {tried} noticed")
    return 0 if share >= chosen.at_least else 1


def _load() -> None:
    """Load what takes long and is never mutated, so that each process begins with it."""
    for name in ("pytest", "hypothesis.stateful", "sqlalchemy", "pymysql", "alembic.command", "alembic.autogenerate"):
        __import__(name)
    sys.path.insert(0, str(ROOT))


if __name__ == "__main__":
    sys.exit(main())
