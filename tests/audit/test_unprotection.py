"""A protected environment stays protected whatever its settings say: before the gate, and before a plain `pulumi up`.

The gate is the real one over a real ledger, with a folder in the cluster's place; the plain program runs in the real
engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.automation import CommandError

from audit.gate import Gate
from audit.ledger import Ledger
from stacks import program
from stacks.errors import RefusedError
from tests.audit.conftest import FakeClock
from tests.audit.engine_workers import World
from tests.audit.ledger_samples import ALICE
from tests.audit.small_world import SmallWorld, block, make_project

TEA, BAR = "tea-bbbbb", "bar-ccccc"


@pytest.fixture
def ledger(sqlite_url: str, clock: FakeClock) -> Iterator[Ledger]:
    """Return an empty ledger: what is asked here is no question about its database."""
    with Ledger.open(sqlite_url, now=clock) as opened:
        yield opened


@pytest.fixture
def world(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> SmallWorld:
    """Return a world in which one store was made while it was protected."""
    monkeypatch.setattr("audit.phases.health.PATIENCE_S", 0.0)
    monkeypatch.setattr("audit.waiting.ASK_EVERY_S", 0.01)
    key_file = tmp_path / "key"
    key_file.write_text("1:" + "ab" * 32)
    monkeypatch.setenv("STORES_PLATFORM_KEY_FILE", str(key_file))
    made = SmallWorld(make_project(tmp_path / "project"))
    made.write(block(TEA))
    with made.gate(ledger, protected=True) as gate:
        assert gate.up(actor=ALICE).exit_error is None
    return made


def unprotected(world: SmallWorld, ledger: Ledger, admins: tuple[str, ...] = ()) -> Gate:
    """Return the gate of somebody whose settings say that nothing is protected."""
    gate = world.gate(ledger, protected=False)
    gate.settings = gate.settings.model_copy(update={"admins": admins})
    return gate


@pytest.mark.parametrize(
    "act",
    [
        lambda gate, _folder: gate.up(actor=ALICE),
        lambda gate, _folder: gate.reconcile(actor=ALICE),
        lambda gate, folder: gate.admit(folder / "ticket", actor=ALICE, valid_s=600),
    ],
    ids=["up", "reconcile", "admit"],
)
def test_settings_without_protection_are_refused_and_change_nothing(
    world: SmallWorld, ledger: Ledger, tmp_path: Path, act: Callable[[Gate, Path], object]
) -> None:
    # With the protection, a tombstone begins a grace. Without it, the store would go at once.
    world.write(block(TEA, state="deleted"), block(BAR))
    works, before = list(world.works), ledger.entries("local")
    with unprotected(world, ledger) as gate, pytest.raises(RefusedError, match="stores:protected in the settings is"):
        act(gate, tmp_path)
    assert (world.works, world.existing()) == (works, {TEA})
    assert ledger.entries("local") == before


def test_a_plan_says_so_and_ends_in_11(world: SmallWorld, ledger: Ledger) -> None:
    with unprotected(world, ledger) as gate:
        (refused,) = gate.plan(ask_engine=False).refused
    assert refused.where == "environment local"
    assert "--unprotect" in refused.cure


def test_who_is_no_admin_cannot_take_it_away_and_is_on_record(world: SmallWorld, ledger: Ledger) -> None:
    with unprotected(world, ledger, admins=("mara",)) as gate, pytest.raises(RefusedError, match="'alice' may not"):
        gate.up(actor=ALICE, unprotect=True, reason="because")
    (entry,) = ledger.entries("local", action="environment.unprotect")
    assert (entry.outcome, entry.actor, entry.reason) == ("denied", "alice", "because")
    with unprotected(world, ledger) as gate, pytest.raises(RefusedError):
        gate.up(actor=ALICE)


def test_an_admin_takes_it_away_once_on_record_and_then_it_is_gone(world: SmallWorld, ledger: Ledger) -> None:
    with unprotected(world, ledger, admins=("alice",)) as gate:
        done = gate.up(actor=ALICE, unprotect=True, reason="CHANGE-7")
    assert [(store.store_id, store.status) for store in done.stores] == [(TEA, "Ready")]
    (entry,) = ledger.entries("local", action="environment.unprotect")
    assert (entry.outcome, entry.reason, entry.run_id, entry.metadata) == (
        "success",
        "CHANGE-7",
        done.run_id,
        {"stores": [TEA]},
    )
    world.write(block(TEA), block(BAR))
    with unprotected(world, ledger) as gate:
        assert gate.up(actor=ALICE).exit_error is None
    assert world.existing() == {TEA, BAR}


def test_an_environment_that_never_was_protected_asks_for_nothing(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.phases.health.PATIENCE_S", 0.0)
    made = SmallWorld(make_project(tmp_path / "project"))
    made.write(block(TEA))
    for _ in range(2):
        with made.gate(ledger, protected=False) as gate:
            assert gate.up(actor=ALICE).exit_error is None
    assert ledger.entries("local", action="environment.unprotect") == []


@pytest.mark.timeout(120)
def test_a_plain_up_with_the_protection_switched_off_is_refused_by_the_stack_itself(
    programs: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `pulumi up -c stores:protected=false` asks for. A preview is free, as it is with the protection."""
    world = World.made(tmp_path, programs["pulumi"].parent.parent)
    registered: list[bool] = []
    protected = [True]

    def register(_root: Path, _settings: object, _manifest: object, _options: object) -> None:
        registered.append(pulumi.runtime.is_dry_run())
        pulumi.export(program.PROTECTED, protected[0])

    monkeypatch.setattr(program, "register", register)

    def plain(act: str) -> None:
        leave: Any = None  # which the gate gives a run, and a plain `pulumi up` does not have
        with world.engine() as engine:
            getattr(engine._workspace.stack("01", leave, create=True), act)()

    plain("up")
    assert registered == [False]
    with pytest.raises(CommandError, match="stores:protected in the settings is false"):
        plain("up")
    assert registered == [False], "nothing was registered"
    plain("preview")
    assert registered == [False, True]
    # The gate has taken it away since.
    with world.engine() as engine:
        protected[0] = False
        engine._workspace.stack("01", program.RunOptions(), create=True).up()
    plain("up")
    assert registered == [False, True, False, False]
