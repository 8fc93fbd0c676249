"""Which snapshot is meant, and how a snapshot is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from audit import jobs, live
from audit.backups import Snapshot, _snapshot, chosen, make, moment_of
from audit.jobs import JobResult
from stacks.errors import UsageError

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
WHERE = "store 'tea-house-x7k2m'"


def snapshot(number: int, reason: str = "scheduled", *, hours: float = 0) -> Snapshot:
    return Snapshot(f"{number:x}" * 64, NOON - timedelta(hours=hours), reason, (), None, None)


SNAPSHOTS = [snapshot(1, "pre-restore"), snapshot(2, "manual", hours=1), snapshot(3, hours=24), snapshot(4, hours=48)]


def test_without_a_wish_it_is_the_newest_but_none_that_a_restore_has_made() -> None:
    assert chosen(SNAPSHOTS, None, WHERE) == SNAPSHOTS[1]
    assert chosen(SNAPSHOTS[:1], None, WHERE) == SNAPSHOTS[0]


@pytest.mark.parametrize(("at", "index"), [("1111", 0), ("3" * 64, 2), ("44444444", 3)])
def test_the_beginning_of_an_id_is_enough(at: str, index: int) -> None:
    assert chosen(SNAPSHOTS, at, WHERE) == SNAPSHOTS[index]


@pytest.mark.parametrize(
    ("at", "index"),
    [
        ("2026-11-23T12:00:00+00:00", 0),
        ("2026-11-23T11:59:59+00:00", 1),
        ("2026-11-23T11:00:00+00:00", 1),
        ("2026-11-23T10:59:59+00:00", 2),
        ("2026-11-21T12:00:00+00:00", 3),
    ],
)
def test_a_time_means_the_last_one_up_to_then(at: str, index: int) -> None:
    assert chosen(SNAPSHOTS, at, WHERE) == SNAPSHOTS[index]


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("abcd", "there is no snapshot abcd"),
        ("2026-11-21T11:59:59+00:00", "no snapshot is as old"),
        ("yesterday", "is no snapshot's id and no time"),
        ("111", "is no snapshot's id and no time"),
    ],
)
def test_what_means_no_snapshot_is_refused(at: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        chosen(SNAPSHOTS, at, WHERE)


def test_an_id_that_means_two_snapshots_is_refused() -> None:
    with pytest.raises(UsageError, match="2 snapshots begin with 1111"):
        chosen([SNAPSHOTS[0], SNAPSHOTS[0]], "1111", WHERE)


def test_a_store_that_was_never_backed_up_says_so() -> None:
    with pytest.raises(UsageError, match="there is no backup of it"):
        chosen([], None, WHERE)


@pytest.mark.parametrize(
    "text",
    ["2026-11-23T12:00:00Z", "2026-11-23T12:00:00.123456789Z", "2026-11-23T13:00:00.5+01:00"],
)
def test_times_are_read_as_restic_writes_them(text: str) -> None:
    assert moment_of(text) == NOON


def test_a_snapshot_is_read_as_restic_lists_it() -> None:
    found = _snapshot(
        {
            "id": "a" * 64,
            "time": "2026-11-23T12:00:00.1Z",
            "tags": ["final", "wordpress:7.1.4", "mariadb:11.8.6"],
            "summary": {"total_bytes_processed": 7, "data_added_packed": 3},
        }
    )
    assert found == Snapshot("a" * 64, NOON, "final", ("wordpress:7.1.4", "mariadb:11.8.6"), 7, 3)


@pytest.mark.parametrize(("replicas", "beside"), [(None, False), (0, False), (1, True)])
def test_a_backup_is_made_beside_the_web_pods_or_where_there_are_none_anywhere(
    monkeypatch: pytest.MonkeyPatch, replicas: int | None, *, beside: bool
) -> None:
    pod = {"affinity": {"podAffinity": {}}, "containers": []}
    found = {
        "Deployment": None if replicas is None else {"metadata": {}, "spec": {"replicas": replicas}},
        "CronJob": {"spec": {"jobTemplate": {"metadata": {}, "spec": {"template": {"spec": pod}}}}},
    }
    made: list[Any] = []

    def run(_cluster: object, job: Any, *_: object, **__: object) -> JobResult:
        made.append(job)
        return JobResult(succeeded=True, message='{"snapshot_id": "a"}')

    monkeypatch.setattr(live, "read", lambda _c, _v, kind, *_: found[kind])
    monkeypatch.setattr(jobs, "run", run)
    cluster: Any = None
    assert make(cluster, "tea-x7k2m", "manual")["snapshot_id"] == "a"
    assert ("affinity" in made[0]["spec"]["template"]["spec"]) is beside
