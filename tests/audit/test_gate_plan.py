"""What the gate plans from state and ledger; with a real ledger and real files, without an engine or a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from audit import observation as observations
from audit.engine.state import Snapshot
from audit.gate import Gate
from audit.ledger import Ledger
from audit.limits import Limits
from audit.plan import Plan
from audit.records import Actor, Change, RunRequest, StoreOutcome
from cli.markdown import plan_comment
from stacks import manifest as manifests
from stacks import settings as settings_module
from stacks.desired import Plans, caps
from stacks.errors import ManifestError, RefusedError
from tests.repository import BOOKS, TEA, Repository, block


class Files:
    """An engine whose state is what the files said when `apply` was called."""

    def __init__(self, root: Path) -> None:
        self.settings = settings_module.load(root, "local")
        self.root, self.snapshots = root, {}

    def apply(self) -> None:
        manifest = manifests.load(self.root, "local", caps(self.root, self.settings))
        applied = {store.store_id: store.to_dict() for store in Plans(self.root, self.settings).of(manifest).values()}
        self.snapshots = {"01": Snapshot(exists=True, applied=applied, known=frozenset(applied))}

    def snapshot(self, cell: str) -> Snapshot:
        return self.snapshots.get(cell, Snapshot(exists=False))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


@pytest.fixture
def gate(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    monkeypatch.setattr(observations, "with_held", lambda observation, *_, **__: observation)
    gate = Gate.__new__(Gate)
    gate.root, gate.engine = repository.root, Files(repository.root)
    gate.settings = gate.engine.settings
    gate.ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    gate.cluster = SimpleNamespace(address="https://cluster.example.com", uid="uid")
    return gate


def quick(gate: Gate) -> Plan:
    return gate.plan(ask_engine=False)


def test_a_plan_shows_what_would_shrink_and_says_that_it_is_refused(gate: Gate, repository: Repository) -> None:
    gate.engine.apply()
    repository.write(block(TEA, uploads={"storage": "512Mi"}), block(BOOKS))
    plan = quick(gate)
    assert [change.path for store in plan.stores for change in store.dangers] == ["uploads.size"]
    [refused] = plan.refused
    assert "a volume cannot shrink" in str(refused)
    assert not plan.empty


@pytest.mark.parametrize(
    "act",
    [
        lambda gate: observations.check(gate._looked(overwrite_drift=False)),
        lambda gate: gate.plan_upgrade("7.1.5", None),
        lambda gate: gate.plan_rollback(TEA, None),
    ],
    ids=["up", "upgrade", "rollback"],
)
def test_what_changes_anything_refuses_a_manifest_that_endangers_data(
    gate: Gate, repository: Repository, act: Callable[[Gate], object]
) -> None:
    gate.engine.apply()
    repository.write(block(TEA, uploads={"storage": "512Mi"}), block(BOOKS))
    with pytest.raises(RefusedError, match="a volume cannot shrink"):
        act(gate)


def test_of_a_block_that_vanished_no_plan_is_made(gate: Gate, repository: Repository) -> None:
    gate.engine.apply()
    repository.write(block(TEA))
    with pytest.raises(ManifestError, match="its block is gone"):
        quick(gate)


def admit(gate: Gate, *changes: Change) -> None:
    limits = Limits(100, 100, 3600, 1000)
    asked = RunRequest(f"run-{len(changes)}", "local", Actor("mara", "user"), limits, {}, changes)
    admission = gate.ledger.admit(asked)
    gate.ledger.settle(asked.run_id, [StoreOutcome(c.store_id, "success", "Ready") for c in admission.admitted])


def uses(plan: Plan) -> dict[str, tuple[int, int]]:
    return {use.name: (use.before, use.after) for use in plan.limits}


def test_the_use_of_limits_follows_an_owner_change(gate: Gate, repository: Repository) -> None:
    gate.engine.apply()
    blocks = [block(f"shop-b2c{n}d", "bob", cell="02") for n in "23456789f"]
    bobs = [Change(found["id"], "shop", "bob", "02", "store.create") for found in blocks]
    admit(
        gate, Change(TEA, "tea", "alice", "01", "store.create"), Change(BOOKS, "books", "alice", "01", "store.create")
    )
    admit(gate, *bobs)
    repository.write(block(TEA, owner="bob"), block(BOOKS), *blocks)
    found = uses(quick(gate))
    assert found["stores of alice"] == (2, 1)
    assert found["stores of bob"] == (9, 10)
    assert found["stores in all"] == (11, 11)

    repository.write(block(TEA, owner="bob"), block(BOOKS, owner="bob"), *blocks)
    plan = quick(gate)
    assert [store.store_id for store in plan.denied] == [BOOKS]
    assert uses(plan)["stores of alice"] == (2, 1)
    assert uses(plan)["stores of bob"] == (9, 10)


def test_a_tombstone_of_a_store_that_was_only_ever_pending_frees_no_slot(gate: Gate, repository: Repository) -> None:
    denied = RunRequest(
        "run-0", "local", Actor("mara", "user"), Limits(0, 5, 3600, 100), {},
        (Change(TEA, "tea", "alice", "01", "store.create"),),
    )  # fmt: skip
    gate.ledger.admit(denied)
    repository.write(block(TEA, state="deleted"), block(BOOKS, state="deleted"))
    plan = quick(gate)
    assert {store.store_id: store.action.value for store in plan.stores}[TEA] == "delete"
    assert all(before == after for before, after in uses(plan).values())
    comment = plan_comment(plan)
    assert "#### Limits" not in comment
