"""What an idempotency key does to a whole run: the real gate over a real ledger, with a folder in the cluster's place.

A key that has succeeded is answered before anything is planned, so that what has become due since is no part of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.gate import Gate
from audit.ledger import Ledger
from audit.results import RunResult
from audit.upgrade_results import UpgradeResult
from stacks.errors import LockedError, UsageError
from tests.audit.conftest import FakeClock
from tests.audit.ledger_samples import ALICE
from tests.audit.small_world import GRACE_H, SmallWorld, block, make_project

TEA, BAR, PUB = "tea-bbbbb", "bar-ccccc", "pub-ddddd"
OLD, NEW, NEWER = "7.1.4-php8.4-apache", "7.1.5-php8.4-apache", "7.1.6-php8.4-apache"
KEY = "deploy-7"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallWorld:
    monkeypatch.setattr("audit.phases.health.PATIENCE_S", 0.0)
    monkeypatch.setattr("audit.waiting.ASK_EVERY_S", 0.01)
    made = SmallWorld(make_project(tmp_path / "project"))
    made.write(block(TEA))
    return made


@pytest.fixture
def gate(world: SmallWorld, ledger: Ledger) -> Iterator[Gate]:
    with world.gate(ledger) as opened:
        yield opened


def up(gate: Gate, **options: Any) -> RunResult:
    return gate.up(actor=ALICE, **{"idempotency_key": KEY} | options)


def test_a_run_that_succeeded_is_answered_with_its_result_though_nothing_is_left_to_do(
    gate: Gate, world: SmallWorld, ledger: Ledger
) -> None:
    first = up(gate)
    assert [(store.store_id, store.status) for store in first.stores] == [(TEA, "Ready")]
    before, works = ledger.entries(None), list(world.works)
    again = up(gate)
    assert (again.replayed, again.nothing_to_do, again.run_id) == (True, False, first.run_id)
    assert [(store.store_id, store.status, store.url) for store in again.stores] == [
        (TEA, "Ready", first.stores[0].url)
    ]
    assert (ledger.entries(None), world.works) == (before, works)


def test_what_has_broken_since_is_not_taken_up_under_the_old_key_but_without_one(gate: Gate, world: SmallWorld) -> None:
    first = up(gate)
    world.broken.add(TEA)
    works = list(world.works)
    again = up(gate)
    assert (again.replayed, again.run_id, again.stores[0].status) == (True, first.run_id, "Ready")
    assert world.works == works
    now = up(gate, idempotency_key=None)
    assert (now.replayed, now.stores[0].status) == (False, "Failed")


def test_a_removal_that_has_become_due_is_done_without_the_key_and_not_under_it(
    world: SmallWorld, ledger: Ledger, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("1:" + "ab" * 32)
    monkeypatch.setenv("STORES_PLATFORM_KEY_FILE", str(key_file))
    with world.gate(ledger, protected=True) as gate:
        up(gate, idempotency_key=None)
        # The merge that tombstones one store makes another.
        world.write(block(TEA, state="deleted"), block(BAR))
        merged = up(gate)
        assert {store.store_id: store.status for store in merged.stores}[BAR] == "Ready"
        clock.move(hours=GRACE_H)
        assert up(gate).replayed
        assert world.existing() == {TEA, BAR}
        assert not up(gate, idempotency_key=None).replayed
        assert world.existing() == {BAR}


@pytest.mark.parametrize(
    "other",
    [
        {"overwrite_drift": True},
        {"without_final_backup": [TEA]},
        {"override_limits": True, "reason": "agreed"},
    ],
)
def test_the_same_key_with_another_option_is_refused(
    gate: Gate, other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.admins.require", lambda *_: None)
    first = up(gate)
    with pytest.raises(UsageError, match=f"used for another request .run {first.run_id}"):
        up(gate, **other)


def test_the_same_key_with_another_manifest_is_refused_and_changes_nothing(gate: Gate, world: SmallWorld) -> None:
    up(gate)
    world.write(block(TEA), block(BAR))
    with pytest.raises(UsageError, match="used for another request"):
        up(gate)
    assert world.existing() == {TEA}


def test_another_command_under_the_same_key_is_refused(gate: Gate, tmp_path: Path) -> None:
    up(gate)
    with pytest.raises(UsageError, match="used for another request"):
        gate.admit(tmp_path / "ticket", actor=ALICE, valid_s=600, idempotency_key=KEY)
    with pytest.raises(UsageError, match="used for another request"):
        upgrade(gate)
    with pytest.raises(UsageError, match="used for another request"):
        done(gate, "rollback", {"store": TEA, "revision": None})


def test_a_run_that_failed_is_resumed_under_its_key(gate: Gate, world: SmallWorld) -> None:
    world.broken.add(TEA)
    first = up(gate)
    assert first.stores[0].status == "Failed"
    world.broken.clear()
    second = up(gate)
    assert (second.replayed, second.stores[0].status) == (False, "Ready")
    assert up(gate).run_id == second.run_id


def test_a_run_under_way_says_that_it_is_the_same_request(gate: Gate, world: SmallWorld) -> None:
    said: list[str] = []

    def meanwhile(point: str) -> None:
        if point == "engine began":
            with pytest.raises(LockedError) as caught:
                up(gate)
            said.append(str(caught.value))

    world.reached = meanwhile
    up(gate)
    assert len(said) == 1
    assert f"idempotency key '{KEY}': the same request is in flight since" in said[0]


def test_another_request_while_a_run_is_under_way_is_told_of_the_cell(gate: Gate, world: SmallWorld) -> None:
    def meanwhile(point: str) -> None:
        if point == "engine began":
            with pytest.raises(LockedError, match="is being changed by alice"):
                up(gate, idempotency_key="another")

    world.reached = meanwhile
    up(gate)


def test_a_ticket_is_given_once_under_a_key(gate: Gate, world: SmallWorld, tmp_path: Path) -> None:
    issued = gate.admit(tmp_path / "one", actor=ALICE, valid_s=600, idempotency_key=KEY)
    assert issued.ticket is not None
    with pytest.raises(LockedError, match="the same request is in flight"):
        gate.admit(tmp_path / "two", actor=ALICE, valid_s=600, idempotency_key=KEY)
    namespace, state = (world._file(TEA, "01", kind) for kind in ("namespace", "state"))
    namespace.touch()
    state.write_text(json.dumps(gate._observe(gate.manifest()).desired[TEA].to_dict()))
    assert gate.close_ticket(tmp_path / "one", actor=ALICE).exit_error is None
    again = gate.admit(tmp_path / "two", actor=ALICE, valid_s=600, idempotency_key=KEY)
    assert again.ticket is None
    assert again.admission.replayed is not None
    assert again.admission.replayed.run_id == issued.ticket.run_id
    assert not (tmp_path / "two").exists()
    with pytest.raises(UsageError, match="used for another request"):
        gate.admit(tmp_path / "two", actor=ALICE, valid_s=60, idempotency_key=KEY)
    with pytest.raises(UsageError, match="used for another request"):
        up(gate)


# --- upgrades, which are several runs under one key


def asked(tag: str = NEW) -> dict[str, object]:
    return {"stores": None, "image_tag": tag}


def upgrade(gate: Gate, tag: str = NEW) -> UpgradeResult:
    """Do what the command does: ask for the key, then plan, then carry it out."""
    earlier = done(gate, "upgrade", asked(tag))
    if earlier is not None:
        return earlier
    plan = gate.plan_upgrade(tag, None, backup=False, parallel=1)
    return gate.upgrade(plan, actor=ALICE, idempotency_key=KEY, asked=asked(tag))


def done(gate: Gate, kind: Any, said: dict[str, object]) -> UpgradeResult | None:
    return gate.upgrade_done(kind, actor=ALICE, idempotency_key=KEY, asked=said, report=lambda _event: None)


@pytest.fixture
def three(gate: Gate, world: SmallWorld) -> Gate:
    world.write(*(block(store_id, tag=OLD) for store_id in (TEA, BAR, PUB)))
    up(gate, idempotency_key=None)
    return gate


def runs(gate: Gate) -> dict[str, str]:
    applied = gate.engine.snapshot("01").applied
    return {store_id: one["release"]["values"]["image"]["tag"] for store_id, one in applied.items()}


def test_an_upgrade_is_answered_with_the_results_of_all_its_batches(three: Gate, world: SmallWorld) -> None:
    first = upgrade(three)
    assert (first.new, first.exit_error, len({store.run_id for store in first.stores})) == ((TEA, BAR, PUB), None, 3)
    works = list(world.works)
    again = upgrade(three)
    assert again.replayed
    assert [(s.store_id, s.before, s.runs, s.run_id, s.status) for s in again.stores] == [
        (s.store_id, s.before, s.runs, s.run_id, s.status) for s in first.stores
    ]
    assert world.works == works


def test_an_upgrade_to_another_image_under_the_same_key_is_refused(three: Gate) -> None:
    upgrade(three)
    with pytest.raises(UsageError, match="used for another request"):
        upgrade(three, NEWER)
    plan = three.plan_upgrade(NEWER, None, backup=False)
    with pytest.raises(UsageError, match="used for another request"):
        three.upgrade(plan, actor=ALICE, idempotency_key=KEY, asked=asked(NEWER))
    assert set(runs(three).values()) == {NEW}


def test_an_upgrade_that_broke_off_between_two_batches_is_resumed_and_then_answered_whole(
    three: Gate, world: SmallWorld
) -> None:
    class Killed(BaseException):
        pass

    def die(point: str) -> None:
        if point == "engine began" and set(runs(three).values()) == {OLD, NEW}:
            raise Killed

    world.reached = die
    with pytest.raises(Killed):
        upgrade(three)
    world.reached = lambda _point: None
    assert sorted(runs(three).values()) == [OLD, OLD, NEW]
    # What broke off wrote the manifest; it is set right, as after any failure.
    second = upgrade(three)
    assert (second.replayed, set(runs(three).values())) == (False, {NEW})
    again = upgrade(three)
    assert again.replayed
    assert {store.store_id: store.runs for store in again.stores} == dict.fromkeys((TEA, BAR, PUB), NEW)


def test_what_was_rolled_back_by_somebody_since_is_not_upgraded_again_under_the_old_key(three: Gate) -> None:
    upgrade(three)
    plan = three.plan_upgrade(OLD, [TEA], backup=False)
    three.upgrade(plan, actor=ALICE)
    assert upgrade(three).replayed
    assert runs(three)[TEA] == OLD
