"""Never by accident: how a store of a protected environment leaves, and how it does not.

The gate is the real one over a real ledger, with a folder in the cluster's place; the plain program runs in the real
engine, over a state in which stores exist.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.automation import CommandError

from audit import backups, live
from audit.backup_server import BackupServer
from audit.engine.events import EngineResult, Step
from audit.gate import Gate
from audit.ledger import Ledger
from audit.results import RunResult
from cli import main, session
from components import desired
from stacks import program
from stacks.errors import RefusedError, StoreFailedError
from tests.audit.conftest import FakeClock
from tests.audit.engine_workers import World
from tests.audit.ledger_samples import ALICE
from tests.audit.small_world import GRACE_H, SmallWorld, block, make_project

TEA, BAR = "tea-bbbbb", "bar-ccccc"


@pytest.fixture
def ledger(sqlite_url: str, clock: FakeClock) -> Iterator[Ledger]:
    """Return an empty ledger: what is asked here is no question about its database."""
    with Ledger.open(sqlite_url, now=clock) as opened:
        yield opened


@pytest.fixture
def world(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> SmallWorld:
    """Return a protected world with two stores."""
    monkeypatch.setattr("audit.phases.health.PATIENCE_S", 0.0)
    monkeypatch.setattr("audit.waiting.ASK_EVERY_S", 0.01)
    key_file = tmp_path / "key"
    key_file.write_text("1:" + "ab" * 32)
    monkeypatch.setenv("STORES_PLATFORM_KEY_FILE", str(key_file))
    made = SmallWorld(make_project(tmp_path / "project"))
    made.write(block(TEA), block(BAR))
    assert up(made, ledger).exit_error is None
    return made


def gate_of(world: SmallWorld, ledger: Ledger, *admins: str) -> Gate:
    gate = world.gate(ledger, protected=True)
    gate.settings = gate.settings.model_copy(update={"admins": admins})
    return gate


def up(world: SmallWorld, ledger: Ledger, *admins: str, **options: Any) -> RunResult:
    with gate_of(world, ledger, *admins) as gate:
        return gate.up(actor=ALICE, **options)


def statuses(ledger: Ledger) -> dict[str, tuple[str, bool]]:
    return {row.store_id: (row.status, row.holds_slot) for row in ledger.stores("local")}


def test_a_store_that_was_undeleted_within_its_grace_is_there_after_it(
    world: SmallWorld, ledger: Ledger, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.root)
    monkeypatch.setattr(session, "open_gate", lambda _root, _environment: gate_of(world, ledger))
    assert main.run(("rm", TEA)) == 0
    assert up(world, ledger).exit_error is None
    assert statuses(ledger)[TEA] == ("Deleting", True)
    clock.move(hours=GRACE_H - 1)
    assert up(world, ledger).exit_error is None
    assert main.run(("undelete", TEA)) == 0
    assert up(world, ledger).exit_error is None
    assert statuses(ledger)[TEA] == ("Ready", True)
    clock.move(hours=2 * GRACE_H)
    assert up(world, ledger).exit_error is None
    assert world.existing() == {TEA, BAR}
    # Marked again, it has a whole grace again.
    assert main.run(("rm", TEA)) == 0
    assert up(world, ledger).exit_error is None
    assert world.existing() == {TEA, BAR}
    clock.move(hours=GRACE_H)
    assert up(world, ledger).exit_error is None
    assert world.existing() == {BAR}
    assert TEA not in statuses(ledger)
    assert main.run(("undelete", TEA)) == 2
    assert "state: deleted" in (world.root / "stacks/local/stores.yaml").read_text()


@pytest.fixture
def broken_backups(world: SmallWorld, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Leave an environment that makes backups, and in which none succeeds; return the stores of which one was tried."""
    tried: list[str] = []

    def fail(_context: object, _leases: object, store_id: str, kind: str, *, note: str) -> str:
        assert (kind, note.startswith("before run-")) == ("final", True)
        tried.append(store_id)
        return "the repository has no room"

    values = world.root / "values/values-local.yaml"
    values.write_text(values.read_text().replace("backup:\n  enabled: false", "backup:\n  enabled: true"))
    monkeypatch.setattr(backups, "tried", fail)
    monkeypatch.setattr(live, "claims", lambda *_: ["uploads"])
    monkeypatch.setattr(BackupServer, "ensure", lambda *_: False)
    return tried


def test_a_store_whose_last_backup_fails_stays_and_goes_on_to_count(
    world: SmallWorld, ledger: Ledger, clock: FakeClock, broken_backups: list[str]
) -> None:
    world.write(block(TEA, state="deleted"), block(BAR))
    up(world, ledger)
    assert broken_backups == [], "nothing is backed up for the last time before its grace is over"
    clock.move(hours=GRACE_H)
    for number in (1, 2):
        done = up(world, ledger)
        assert isinstance(done.exit_error, StoreFailedError)
        assert "its last backup failed: the repository has no room" in str(done.exit_error)
        assert broken_backups == [TEA] * number
        assert world.existing() == {TEA, BAR}
        assert statuses(ledger)[TEA] == ("Deleting", True)
    assert [entry.outcome for entry in ledger.entries("local", store_id=TEA, action="store.delete", limit=2)] == [
        "failure",
        "unknown",
    ]


def test_only_an_admin_lets_it_go_without_and_the_log_says_so(
    world: SmallWorld, ledger: Ledger, clock: FakeClock, broken_backups: list[str]
) -> None:
    world.write(block(TEA, state="deleted"), block(BAR))
    up(world, ledger)
    clock.move(hours=GRACE_H)
    with pytest.raises(RefusedError, match="'alice' may not remove a store without its last backup"):
        up(world, ledger, "mara", without_final_backup=[TEA], reason="lost anyway")
    assert world.existing() == {TEA, BAR}
    assert up(world, ledger, "alice", without_final_backup=[TEA], reason="lost anyway").exit_error is None
    assert (world.existing(), broken_backups) == ({BAR}, [])
    entry = ledger.entries("local", store_id=TEA, action="store.delete", outcome="unknown")[0]
    assert (entry.reason, entry.metadata["final_backup"]) == ("lost anyway", "skipped")


@pytest.mark.parametrize("part", [desired.NAMESPACE, desired.RELEASE, desired.CREDENTIALS])
def test_what_the_engine_would_take_from_a_neighbour_stops_a_removal_that_was_confirmed(
    world: SmallWorld, ledger: Ledger, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    world.write(block(TEA, state="deleted"), block(BAR))
    up(world, ledger)
    clock.move(hours=GRACE_H)
    works = list(world.works)
    steps = tuple(Step(f"urn::{name}-{part}", "type", "delete", name, part) for name in (TEA, BAR))
    monkeypatch.setattr(world, "preview", lambda *_, **__: EngineResult(steps, {}))
    with pytest.raises(RefusedError, match=f"store '{BAR}': the engine would delete its {part}"):
        up(world, ledger)
    assert (world.existing(), world.works) == ({TEA, BAR}, works)
    assert statuses(ledger) == {TEA: ("Deleting", True), BAR: ("Ready", True)}
    monkeypatch.undo()


@pytest.mark.timeout(120)
def test_a_plain_up_without_a_ticket_changes_nothing_where_stores_exist(
    programs: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World.made(tmp_path, programs["pulumi"].parent.parent)
    settings = world.root / "Pulumi.local.yaml"
    settings.write_text(settings.read_text().replace('stores:protected: "false"', 'stores:protected: "true"'))
    assert world.settings().protected
    key_file = tmp_path / "key"
    key_file.write_text("1:" + "ab" * 32)
    monkeypatch.setenv("STORES_PLATFORM_KEY_FILE", str(key_file))
    monkeypatch.delenv("STORES_TICKET_FILE", raising=False)

    def register(_root: Path, _settings: object, _manifest: object, _options: object) -> None:
        for name in (TEA, BAR):
            pulumi.ComponentResource("stores:index:StoreTenant", name, opts=pulumi.ResourceOptions(protect=True))

    monkeypatch.setattr(program, "register", register)

    def resources() -> str:
        with world.engine() as engine:
            stack = engine._workspace.stack("01", program.RunOptions(), create=True)
            return json.dumps((stack.export_stack().deployment or {}).get("resources"), sort_keys=True)

    with world.engine() as engine:
        engine._workspace.stack("01", program.RunOptions(), create=True).up()
    before = resources()
    assert TEA in before
    assert BAR in before
    leave: Any = None
    for blocks in ([{"id": TEA, "name": "tea", "owner": "alice", "cell": "01", "title": "Other"}], []):
        world.write(*blocks)
        with world.engine() as engine, pytest.raises(CommandError, match="a plain `pulumi up` asks no limit"):
            engine._workspace.stack("01", leave, create=True).up()
        assert resources() == before
    # Nor does `pulumi destroy`, with a ticket or without.
    with world.engine() as engine, pytest.raises(CommandError, match="protected"):
        engine._workspace.stack("01", leave, create=True).destroy()
    assert resources() == before
