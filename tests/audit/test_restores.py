"""What becomes of the shop when a restore does not succeed: open as it was, or closed; never open with half a state."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from audit import replacement, restores
from audit.backups import Snapshot
from audit.closed import RESTORING
from audit.jobs import JobResult
from audit.records import Actor, StoreOutcome
from audit.replacement import Replacement
from audit.restores import Restore
from stacks.errors import ClusterUnreachableError, StoresError
from tests.audit.test_backups import NOON

STORE = "tea-house-x7k2m"
AWAY = ClusterUnreachableError("cluster", "it does not answer", "start it")


class Cluster:
    """The two objects of a store that a restore changes, and its pods."""

    def __init__(self) -> None:
        self.replicas = 2
        self.mark: str | None = None
        self.suspended = False
        self.backups: list[str] = []
        self.seen: list[tuple[int, bool]] = []
        self.served: list[list[str]] = []

    def read(self, *_: object) -> dict[str, Any]:
        annotations = {} if self.mark is None else {RESTORING: self.mark}
        return {"metadata": {"annotations": annotations}, "spec": {"replicas": self.replicas}}

    def patch(self, _cluster: object, _version: str, kind: str, _where: object, change: dict[str, Any]) -> None:
        if kind == "CronJob":
            self.suspended = change["spec"]["suspend"]
        else:
            self.replicas = change["spec"]["replicas"]
            self.mark = change["metadata"]["annotations"][RESTORING]

    def pods(self, _cluster: object, _namespace: str, labels: dict[str, str]) -> Sequence[Any]:
        phases = self.backups if labels["app.kubernetes.io/component"] == "backup" else ["Running"] * self.replicas
        return [
            SimpleNamespace(
                status=SimpleNamespace(phase=phase.removeprefix("Unscheduled ")),
                spec=SimpleNamespace(node_name=None if phase.startswith("Unscheduled ") else "node"),
            )
            for phase in phases
        ]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    for name in ("read", "patch", "pods"):
        monkeypatch.setattr(replacement.live, name, getattr(made, name))
    monkeypatch.setattr(replacement, "_POLL_S", 0)
    return made


def restored(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, result: JobResult | StoresError) -> StoreOutcome:
    """Return what becomes of a restore whose Job ends like this."""

    def load(*_: object) -> JobResult:
        cluster.seen.append((cluster.replicas, cluster.suspended))
        if isinstance(result, StoresError):
            raise result
        return result

    monkeypatch.setattr(Replacement, "load", load)
    work = Restore(SimpleNamespace(cluster=cluster), Actor("alice", "user"), lambda _event: None)  # type: ignore[arg-type]
    run: Any = SimpleNamespace(run_id="run-1", until_sells=lambda store_id: StoreOutcome(store_id, "success", "Ready"))
    snapshot = Snapshot("3" * 64, NOON, "manual", (), None, None)
    monkeypatch.setattr(restores.backups, "known_ids", lambda _gate: [STORE])
    server: Any = SimpleNamespace(ensure=cluster.served.append)
    return work._outcome(run, STORE, STORE, snapshot, (server, None))


FETCH = JobResult(succeeded=False, reason="no such snapshot", container="fetch")
LOAD = JobResult(succeeded=False, reason="a full disk", container="load")
DRAINED = JobResult(succeeded=False, reason="it has not ended within 7200 s", container="fetch", certain=False)
UNSEEN = JobResult(succeeded=False, reason="job restore-1 was deleted while it ran", certain=False)


def test_while_data_is_replaced_there_is_no_web_pod_and_no_backup_begins(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = restored(cluster, monkeypatch, JobResult(succeeded=True, container="files"))
    assert cluster.seen == [(0, True)]
    assert (cluster.replicas, cluster.mark, cluster.suspended) == (2, None, False)
    assert (outcome.outcome, outcome.status) == ("success", "Ready")


@pytest.mark.parametrize("result", [FETCH, AWAY])
def test_a_restore_that_touched_nothing_opens_the_shop_as_it_was(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, result: JobResult | StoresError
) -> None:
    outcome = restored(cluster, monkeypatch, result)
    assert (cluster.replicas, cluster.mark, cluster.suspended) == (2, None, False)
    assert (outcome.outcome, outcome.status) == ("failure", "Ready")
    assert "nothing was changed" in (outcome.reason or "")


@pytest.mark.parametrize("result", [LOAD, DRAINED, UNSEEN])
def test_a_restore_that_broke_off_or_may_have_leaves_the_shop_closed_and_unsaved(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, result: JobResult
) -> None:
    outcome = restored(cluster, monkeypatch, result)
    assert (cluster.replicas, cluster.mark, cluster.suspended) == (0, "run-1 - 2", True)
    assert (outcome.outcome, outcome.status) == ("failure", "Failed")
    assert "it stays closed until a restore succeeds" in (outcome.reason or "")


@pytest.mark.parametrize("result", [FETCH, AWAY, LOAD])
def test_after_one_that_broke_off_only_a_restore_that_succeeds_opens_the_shop(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, result: JobResult | StoresError
) -> None:
    restored(cluster, monkeypatch, LOAD)
    outcome = restored(cluster, monkeypatch, result)
    assert (cluster.replicas, cluster.mark, outcome.status) == (0, "run-1 - 2", "Failed")
    restored(cluster, monkeypatch, JobResult(succeeded=True, container="files"))
    assert (cluster.replicas, cluster.mark, cluster.suspended) == (2, None, False)


def test_a_backup_that_runs_is_waited_for_and_not_for_ever(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.backups = ["Succeeded", "Failed", "Running"]
    monkeypatch.setattr(replacement, "_PODS_GONE_S", 0)
    outcome = restored(cluster, monkeypatch, JobResult(succeeded=True))
    assert cluster.seen == []
    assert (cluster.replicas, cluster.mark, cluster.suspended) == (2, None, False)
    assert "waiting until a backup that runs has ended" in (outcome.reason or "")


def test_a_backup_that_no_node_takes_keeps_nobody_from_a_restore(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.backups = ["Unscheduled Pending"]
    monkeypatch.setattr(replacement, "_PODS_GONE_S", 0)
    assert restored(cluster, monkeypatch, JobResult(succeeded=True)).status == "Ready"


def test_one_that_broke_off_stays_closed_also_when_the_next_cannot_begin(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored(cluster, monkeypatch, LOAD)
    cluster.backups = ["Running"]
    monkeypatch.setattr(replacement, "_PODS_GONE_S", 0)
    restored(cluster, monkeypatch, JobResult(succeeded=True))
    assert (cluster.replicas, cluster.mark, cluster.suspended) == (0, "run-1 - 2", True)
