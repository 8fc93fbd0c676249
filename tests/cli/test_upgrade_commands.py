"""Upgrades and rollbacks at the command line: what is asked, shown and handed over."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from audit.backups import Snapshot
from audit.upgrade_plan import Step
from stacks.errors import Problem, RefusedError, StoreFailedError
from tests.cli.conftest import upgrade_plan, upgraded_store

UPGRADE = ("upgrade", "--all", "--image-tag", "7.1.5")


def called(gate) -> list[str]:
    return [name for name, _ in gate.calls]


def test_a_plan_is_shown_and_nothing_is_done_where_nobody_can_agree(gate, stores) -> None:
    done = stores(*UPGRADE)
    assert done.code == 2
    assert "~ tea-house-x7k2m: image 7.1.4 -> 7.1.5  (batch 1, the canary)" in done.out
    assert "~ milk-bar-c2c2c: image 7.0.1 -> 7.1.5  (batch 2)" in done.out
    assert "a backup of each is taken first" in done.out
    assert "nobody is there to agree to the plan; look at it, then pass --yes" in done.err
    assert called(gate) == ["plan_upgrade"]


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_dry_run_only_shows(gate, stores, more: tuple[str, ...]) -> None:
    done = stores(*UPGRADE, "--dry-run", *more)
    assert done.code == 0
    assert "tea-house-x7k2m" in done.out
    assert called(gate) == ["plan_upgrade"]
    if more:
        assert json.loads(done.out)["batches"][0][0]["after"] == "7.1.5"


def test_what_was_chosen_is_handed_over(gate, stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.session.system_user", lambda: "mara")
    options = ("--canary", "milk-bar-c2c2c", "--parallel", "5", "--no-backup", "--overwrite-drift", "--yes")
    stores(*UPGRADE, *options, "--reason", "CVE", "--idempotency-key", "k")
    (_, asked), (_, plan), (_, run) = gate.calls
    assert asked["asked"] == run["asked"]
    assert asked["asked"] == {
        "stores": None, "image_tag": "7.1.5", "canary": "milk-bar-c2c2c", "parallel": 5, "backup": False,
        "overwrite_drift": True,
    }  # fmt: skip
    assert plan == {
        "tag": "7.1.5", "store_ids": None, "canary": "milk-bar-c2c2c", "parallel": 5, "backup": False,
        "overwrite_drift": True,
    }  # fmt: skip
    assert (run["actor"].name, run["reason"], run["idempotency_key"], run["overwrite_drift"]) == (
        "mara", "CVE", "k", True,
    )  # fmt: skip


@pytest.mark.parametrize("line", [UPGRADE, ("rollback", "tea-house-x7k2m")])
def test_what_was_done_under_the_key_is_shown_and_nothing_is_planned(gate, stores, line: tuple[str, ...]) -> None:
    gate.done_before = replace(gate.upgraded, replayed=True)
    done = stores(*line, "--idempotency-key", "k", "--json")
    assert (done.code, json.loads(done.out)["replayed"]) == (0, True)
    assert called(gate) == ["upgrade_done"]
    assert "already done under this key" in stores(*line, "--idempotency-key", "k").out


@pytest.mark.parametrize("arguments", [("upgrade", "--image-tag", "x"), ("upgrade", "a", "--all", "--image-tag", "x")])
def test_which_stores_must_be_said_in_one_way(gate, stores, arguments: tuple[str, ...]) -> None:
    done = stores(*arguments)
    assert done.code == 2
    assert "Name the stores to upgrade, or pass --all." in done.err
    assert gate.calls == []


def test_the_result_says_which_are_new_and_which_old(gate, stores) -> None:
    failed = upgraded_store(store_id="milk-bar-c2c2c", runs="7.0.1", reason="ErrImagePull")
    problem = Problem("store 'milk-bar-c2c2c'", "ErrImagePull", "correct it")
    gate.upgraded = replace(
        gate.upgraded, stores=(upgraded_store(), failed), notes=("look",), exit_error=StoreFailedError.of([problem])
    )
    done = stores(*UPGRADE, "--yes")
    assert done.code == 6
    assert "new image: tea-house-x7k2m" in done.out
    assert "old image: milk-bar-c2c2c" in done.out
    assert "commit it, so that the next merge does not undo this" in done.out
    assert "look" in done.err
    assert "error: store 'milk-bar-c2c2c': ErrImagePull; correct it" in done.err


def test_json_is_one_document_with_the_plan_on_stderr(gate, stores) -> None:
    done = stores(*UPGRADE, "--yes", "--json")
    assert json.loads(done.out)["new"] == ["tea-house-x7k2m"]
    assert "~ tea-house-x7k2m" in done.err


def test_nothing_to_do_asks_nobody(gate, stores) -> None:
    gate.upgrade_plan = upgrade_plan(batches=(), there=("tea-house-x7k2m", "milk-bar-c2c2c"))
    done = stores(*UPGRADE)
    assert done.code == 0
    assert "nothing to do: 2 stores run image 7.1.5" in done.out
    assert called(gate) == ["plan_upgrade"]


def test_stores_that_are_left_out_are_told(gate, stores) -> None:
    gate.upgrade_plan = upgrade_plan(left_out=(Problem("store 'x'", "held", "look"),), there=("y",))
    out = stores(*UPGRADE, "--dry-run").out
    assert "= left out: store 'x': held; look" in out
    assert "1 stores run image 7.1.5 already" in out


def test_a_rollback_names_store_and_revision(gate, stores) -> None:
    stores("rollback", "tea-house-x7k2m", "4", "--yes")
    assert gate.calls[0][0] == "plan_rollback"
    assert (gate.calls[0][1]["store_id"], gate.calls[0][1]["revision"]) == ("tea-house-x7k2m", 4)
    assert called(gate) == ["plan_rollback", "upgrade"]
    stores("rollback", "tea-house-x7k2m", "--yes")
    assert gate.calls[2][1]["revision"] is None


def test_going_back_with_the_data_says_what_is_lost_before_it_asks(gate, stores) -> None:
    taken = Snapshot("3f9a1c20" * 8, datetime(2026, 11, 23, 9, 5, tzinfo=UTC), "pre-upgrade", (), None, None)
    step = Step("tea-house-x7k2m", "01", "7.1.4", "6.8.3", 1)
    gate.upgrade_plan = upgrade_plan(kind="rollback", batches=((step,),), restore=taken)
    done = stores("rollback", "tea-house-x7k2m", "1", "--restore-backup")
    assert done.code == 2
    assert gate.calls[0][1]["restore_backup"] is True
    assert "database and files as of 2026-11-23T09:05:00Z (snapshot 3f9a1c20)" in done.out
    assert "LOSES every order, customer and change since 2026-11-23T09:05:00Z" in done.out
    assert "what is there now is kept in a backup first" in done.out
    assert called(gate) == ["plan_rollback"]
    shown = stores("rollback", "tea-house-x7k2m", "1", "--restore-backup", "--dry-run", "--json")
    assert json.loads(shown.out)["restore"]["id"] == "3f9a1c20" * 8
    gate.upgrade_plan = replace(gate.upgrade_plan, backup=False)
    assert "there is no way back" in stores("rollback", "tea-house-x7k2m", "--restore-backup").out
    gate.upgraded = replace(gate.upgraded, stores=(upgraded_store(backup="bbbbbbbb" * 8),))
    assert "what was there before is kept: snapshot bbbbbbbb" in stores(
        "rollback", "tea-house-x7k2m", "--restore-backup", "--yes"
    ).out  # fmt: skip


def test_a_refused_rollback_ends_with_11(gate, stores) -> None:
    gate.failure = RefusedError("store 'x'", "the database was updated since", "pass ...")
    assert stores("rollback", "x", "--yes").code == 11


def test_a_person_is_asked_and_may_say_no(gate, stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.upgrade._watched", lambda: True)
    answers = iter(("n", "y"))
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda *_, **__: next(answers))
    assert stores(*UPGRADE).code == 130
    assert called(gate) == ["plan_upgrade"]
    stores(*UPGRADE)
    assert called(gate) == ["plan_upgrade", "plan_upgrade", "upgrade"]
