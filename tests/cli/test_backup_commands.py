"""The commands about backups, but for what they ask the cluster: filters, keys, and when somebody is asked to agree."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from audit import backup_ages, backup_requests, backups, restores, retired
from audit.backup_ages import BackupAge
from audit.backup_requests import BackedUp, BackupResult
from audit.backups import Snapshot
from audit.records import StoreRow
from audit.restores import Restore, RestoreResult
from audit.retired import Pruned, Retired
from stacks.errors import StoreFailedError
from tests.cli.conftest import AT

TEA, BAR, OLD = "tea-house-x7k2m", "milk-bar-c2c2c", "old-shop-a1b2c"


def row(store_id: str, owner: str, cell: str, status: Any = "Ready") -> StoreRow:
    return StoreRow(
        "local", store_id, store_id, owner, cell, status, None, AT, AT, None, status != "Deleted", None, None, None, AT
    )


@pytest.fixture
def known(gate: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    gate.ledger.rows = [row(BAR, "bob", "02"), row(OLD, "bob", "01", "Deleted"), row(TEA, "alice", "01")]
    ages = [BackupAge(BAR, AT, 60, late=True, failed=False), BackupAge(TEA, AT, 60, late=False, failed=False)]
    monkeypatch.setattr(backup_ages, "of_all", lambda _gate: ages)
    gone = [Retired(OLD, "old-shop", "bob", AT, AT + timedelta(days=90), expired=False)]
    monkeypatch.setattr(retired, "of_all", lambda _gate: gone)
    monkeypatch.setattr(backups, "server_of", lambda _gate: None)
    found = [
        Snapshot(f"{number:064d}", AT - timedelta(days=number), reason, (), None, None)
        for number, reason in enumerate(("manual", "scheduled", "final"))
    ]
    monkeypatch.setattr(backups, "listed", lambda *_, **__: found)
    gate.settings = SimpleNamespace(deleted_backups_days=90)
    return gate


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), [BAR, TEA]),
        (("--owner", "alice"), [TEA]),
        (("--cell", "02"), [BAR]),
        (("--late",), [BAR]),
        (("--late", "--owner", "alice"), []),
        (("--deleted",), [OLD]),
        (("--deleted", "--owner", "alice"), []),
        (("--deleted", "--cell", "01"), [OLD]),
    ],
)
def test_the_ages_of_backups_and_what_is_left_are_filtered(
    known: Any, stores: Any, options: Sequence[str], found: list[str]
) -> None:
    done = stores("backups", *options, "--json")
    assert [each["store_id"] for each in json.loads(done.out)] == found
    shown = stores("backups", *options).out
    assert all(store_id in shown for store_id in found)
    assert found or shown.strip()


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), [0, 1, 2]),
        (("--reason", "scheduled"), [1]),
        (("--since", (AT - timedelta(days=1)).isoformat()), [0, 1]),
        (("--until", (AT - timedelta(days=1)).isoformat()), [2]),
        (("--reason", "manual", "--until", AT.isoformat()), []),
    ],
)
def test_the_snapshots_of_a_store_are_filtered(
    known: Any, stores: Any, options: Sequence[str], found: list[int]
) -> None:
    done = stores("backups", TEA, *options, "--json")
    assert [int(each["id"]) for each in json.loads(done.out)] == found
    if not found:
        assert "no backup fits" in stores("backups", TEA, *options).out


@pytest.mark.parametrize(
    "options",
    [(TEA, "--owner", "alice"), (TEA, "--late"), ("--reason", "final"), ("--since", "7d"), ("--late", "--deleted")],
)
def test_filters_that_mean_nothing_are_refused(known: Any, stores: Any, options: Sequence[str]) -> None:
    assert stores("backups", *options).code == 2


def test_a_backup_hands_on_its_key_and_says_what_was_made_before(
    known: Any, stores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def back_up(_gate: Any, store_ids: Any, **named: Any) -> BackupResult:
        asked.append((store_ids, named["idempotency_key"], named["note"]))
        made = (BackedUp(TEA, "3f9a1c20" * 8, replayed=True), BackedUp(BAR, None, "no room"))
        return BackupResult(made, StoreFailedError("store", "no room", "make room"))

    monkeypatch.setattr(backup_requests, "back_up", back_up)
    done = stores("backup", TEA, BAR, "--idempotency-key", "k", "--reason", "sale")
    assert (done.code, asked) == (6, [((TEA, BAR), "k", "sale")])
    assert f"{TEA}: snapshot 3f9a1c20, made before under this key" in done.out
    stores("backup", "--all")
    assert asked[1] == (None, None, None)


RESULT = RestoreResult("run-1", "copy-a1b2c", TEA, "3f9a1c20" * 8, "Ready", "http://copy", None)


@pytest.mark.parametrize("replayed", [True, False])
def test_nobody_is_asked_to_agree_to_what_was_done_before(
    known: Any, stores: Any, monkeypatch: pytest.MonkeyPatch, *, replayed: bool
) -> None:
    before = RestoreResult(**{**vars(RESULT), "replayed": True})
    carried: list[Any] = []
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    monkeypatch.setattr(Restore, "done", lambda *_: before if replayed else None)
    monkeypatch.setattr(Restore, "carry_out", lambda _self, asked: carried.append(asked) or RESULT)
    done = stores("restore", TEA, "--idempotency-key", "k")
    assert done.code == (0 if replayed else 130), "there is nobody who could agree"
    assert ("already done under this key" in done.out) == replayed
    assert carried == []
    assert stores("restore", TEA, "--idempotency-key", "k", "--yes", "--json").code == 0
    assert carried == ([] if replayed else [restores.Asked(TEA)])


def test_a_prune_that_was_done_before_is_answered_without_a_list_and_without_a_question(
    known: Any, stores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def before(*_: Any, **named: Any) -> list[Pruned]:
        asked.append(named["asked"])
        return [Pruned(OLD, 7, replayed=True)]

    monkeypatch.setattr(retired, "pruned_before", before)
    monkeypatch.setattr(retired, "of_all", lambda _gate: pytest.fail("it was listed"))
    done = stores("prune-backups", "--deleted-before", "2026-06-01", "--idempotency-key", "k")
    assert done.out.splitlines() == [f"{OLD}: 7 backups removed, by an earlier call under this key"]
    assert json.loads(asked[0]) == {"command": "prune-backups", "deleted_before": "2026-06-01"}


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--owner", "bob"), ["milk-bar-c2c2c"]),
        (("--status", "Ready"), ["tea-house-x7k2m"]),
        (("--cell", "01", "--owner", "alice"), ["tea-house-x7k2m"]),
        (("--cell", "07"), []),
        (("--held",), []),
        (("milk-bar-c2c2c", "--owner", "alice"), []),
    ],
)
def test_stores_are_listed_by_owner_status_cell_and_held(
    gate: Any, stores: Any, options: Sequence[str], found: list[str]
) -> None:
    assert [each["store_id"] for each in json.loads(stores("list", *options, "--json").out)] == found
    assert (stores("status", *options).out == "no store fits\n") == (not found)


def test_only_owners_who_can_begin_nothing_now_are_shown(gate: Any, stores: Any) -> None:
    assert [each["owner"] for each in json.loads(stores("limits", "--reached", "--json").out)["owners"]] == ["bob"]
    assert stores("limits", "alice", "--reached").code == 2
