from __future__ import annotations

import json
from pathlib import Path

import pytest

from stacks import program
from stacks.desired import Plans
from stacks.errors import RefusedError
from stacks.manifest_model import Store
from stacks.program import RunOptions
from stacks.settings import Settings, load

ROOT = Path(__file__).parents[2]
PLAIN = RunOptions()


class Wanted:
    def __init__(self, *stores: Store) -> None:
        self.stores = stores


def store(name: str, *, cell: str = "01", state: str = "active") -> Store:
    return Store(id=f"{name}-x7k2m", name=name, owner="alice", cell=cell, title=name, admin_email="a@b.c", state=state)


def ids(*stores: Store, protected: bool = False, options: RunOptions = PLAIN, cell: str = "01") -> list[str]:
    environment = Settings(environment="prod", protected=protected)
    return [found.name for found in program.registered(Wanted(*stores), environment, options, cell)]


def test_a_run_registers_every_store_of_its_cell_and_no_other() -> None:
    stores = (store("a"), store("b", cell="02"), store("c"))
    assert ids(*stores) == ["a", "c"]
    assert ids(*stores, cell="02") == ["b"]


def test_a_tombstone_removes_a_store_only_where_nothing_is_protected() -> None:
    stores = (store("a"), store("b", state="deleted"))
    assert ids(*stores) == ["a"]
    assert ids(*stores, protected=True) == ["a", "b"]


def test_only_the_gate_removes_a_store_of_a_protected_environment() -> None:
    stores = (store("a"), store("b", state="deleted"))
    released = RunOptions(released=frozenset({"b-x7k2m"}))
    assert ids(*stores, protected=True, options=released) == ["a", "b"]
    removed = RunOptions(released=frozenset({"b-x7k2m"}), removed=frozenset({"b-x7k2m"}))
    assert ids(*stores, protected=True, options=removed) == ["a"]


def test_a_withheld_store_is_not_created() -> None:
    assert ids(store("a"), store("b"), options=RunOptions(withheld=frozenset({"b-x7k2m"}))) == ["a"]


def test_a_change_that_is_not_allowed_leaves_a_store_exactly_as_it_was_applied() -> None:
    settings = load(ROOT, "local")
    plans = Plans(ROOT, settings)
    wanted = store("a")
    before = plans.desired(Store(**{**wanted.__dict__, "title": "before", "owner": "bob"}))
    options = RunOptions(frozen={wanted.id: json.loads(before.to_json())})
    assert program.desired_store(plans, wanted, options, settings) == before
    assert program.desired_store(plans, wanted, PLAIN, settings) == plans.desired(wanted) != before


@pytest.mark.parametrize(("stack", "cell"), [("prod", "01"), ("prod-02", "02"), ("prod-10", "10")])
def test_a_stack_tells_its_cell(stack: str, cell: str) -> None:
    assert program.cell_of(stack, "prod") == cell


@pytest.mark.parametrize("stack", ["local", "local-02", "prod-01", "prod-2", "prod-00", "prod-x", "production"])
def test_a_stack_of_another_environment_or_no_cell_is_refused(stack: str) -> None:
    with pytest.raises(RefusedError, match=f"stack {stack}"):
        program.cell_of(stack, "prod")
