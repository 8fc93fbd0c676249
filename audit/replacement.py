"""The data of a shop replaced by that of a snapshot: the shop is closed, loaded and opened again.

Restores and rollbacks do so, each in its own order. Nothing here is admitted or put on record; they do that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from audit import backups, jobs, live
from audit.backup_server import BackupServer, owner_of
from audit.backups import Snapshot
from audit.closed import RESTORING, Closed
from audit.results import ProgressEvent, Report
from components import naming
from stacks.cluster import Cluster
from stacks.errors import StoreFailedError, StoresError, UsageError

_PODS_GONE_S: Final = 180
_POLL_S: Final = 0.5
# The container of the template that only reads: until it has ended the shop is as it was.
_HARMLESS: Final = "fetch"


@dataclass(frozen=True)
class Replacement:
    """What replaces the data of live shops. `cancelled` is set where it is to stop."""

    cluster: Cluster
    report: Report
    cancelled: threading.Event

    def close(self, store_id: str, run_id: str, undo: str | None, *, marked: bool = True) -> int:
        """Leave no web pod and no backup, and return how many web pods there should be.

        Nobody buys, and nothing is saved, while the data is replaced. Marked, it stays closed whatever becomes of this
        run; see `audit.closed`. Where it does not close within its time, it is opened again. Raises StoreFailedError
        then, and where the run is stopped.
        """
        web = self.web(store_id)
        before = Closed.of(web)
        # None is what a run left that was killed between closing and marking.
        replicas = max(1, before.replicas if before else int(web["spec"]["replicas"]))
        closed = Closed(run_id, undo, replicas)
        try:
            self._pause_backups(store_id, paused=True)
            self._wait_until_gone(store_id, "backup", "waiting until a backup that runs has ended")
            self.scale(store_id, 0, closed.mark if marked else None)
            self._wait_until_gone(store_id, "wordpress", "closed: waiting until no web pod is left")
        except StoresError as error:
            what = "; ".join(problem.what for problem in error.problems)
            if before is not None:
                raise StoreFailedError(
                    f"store '{store_id}'", f"{what}; it is closed as before", "run it again"
                ) from error
            self.open(store_id, replicas)
            raise StoreFailedError(f"store '{store_id}'", f"{what}; it was opened again", "run it again") from error
        return replicas

    def _wait_until_gone(self, store_id: str, component: str, told: str) -> None:
        labels = {"app.kubernetes.io/component": component}
        deadline = time.monotonic() + _PODS_GONE_S
        self._tell(store_id, told)
        while any(_works(pod) for pod in live.pods(self.cluster, naming.namespace(store_id), labels)):
            if time.monotonic() > deadline or self.cancelled.wait(_POLL_S):
                what = f"the run was stopped while {told}" if self.cancelled.is_set() else f"too long {told}"
                raise StoreFailedError(f"store '{store_id}'", what, "run it again")

    def open(self, store_id: str, replicas: int) -> None:
        """Let the web pods come back, and backups by the schedule begin."""
        self._tell(store_id, "opening again")
        self.scale(store_id, replicas, None)
        self._pause_backups(store_id, paused=False)

    def _pause_backups(self, store_id: str, *, paused: bool) -> None:
        """Let no backup begin by the schedule: one of half-replaced data would be the newest of all."""
        where = (naming.namespace(store_id), f"{store_id}-backup")
        live.patch(self.cluster, "batch/v1", "CronJob", where, {"spec": {"suspend": paused}})

    def scale(self, store_id: str, replicas: int, mark: str | None) -> None:
        """Make it so many web pods; `mark` None takes the mark away."""
        where = (naming.namespace(store_id), f"{store_id}-wordpress")
        change = {"metadata": {"annotations": {RESTORING: mark}}, "spec": {"replicas": replicas}}
        live.patch(self.cluster, "apps/v1", "Deployment", where, change)

    def web(self, store_id: str) -> Mapping[str, Any]:
        """Return the web pods' Deployment; raises UsageError where there is none."""
        found = live.read(self.cluster, "apps/v1", "Deployment", naming.namespace(store_id), f"{store_id}-wordpress")
        if found is None:
            raise UsageError(f"store '{store_id}'", "it has no web pods", "run `stores up` first")
        return found

    def load(
        self,
        store_id: str,
        source_id: str,
        snapshot: Snapshot,
        server: BackupServer,
        images: Mapping[str, str] | None = None,
    ) -> jobs.JobResult:
        """Replace database and files of a closed shop by those of a snapshot, and return how that went.

        `images` by container are used instead of the live release's, one of which may be what cannot be pulled.
        """
        foreign = "1" if source_id != store_id else ""
        variables = {"SNAPSHOT": snapshot.id, "REPOSITORY_ID": source_id, "FOREIGN": foreign}
        job = backups.job_of(self.cluster, store_id, "restore", variables)
        pod = job["spec"]["template"]["spec"]
        for container in [*pod.get("initContainers", ()), *pod["containers"]] if images else ():
            container["image"] = (images or {}).get(container["name"], container["image"])
        name = f"{job['metadata']['name']}-keys"
        for volume in job["spec"]["template"]["spec"]["volumes"]:
            if volume["name"] == "repository":
                volume["secret"]["secretName"] = name

        def hand_over(created: Mapping[str, Any]) -> None:
            # The source's keys, for this Job alone: with it they go.
            secret = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": name,
                    "namespace": naming.namespace(store_id),
                    "ownerReferences": [owner_of(created)],
                },
                "stringData": server.key.backup_secrets(source_id),
            }
            live.create(self.cluster, secret)

        self._tell(store_id, f"restoring snapshot {snapshot.short_id} of {source_id}")
        return jobs.run(
            self.cluster,
            job,
            job["spec"]["activeDeadlineSeconds"],
            cancelled=self.cancelled,
            on_created=hand_over,
            on_wait=lambda text: self._tell(store_id, text),
        )

    def _tell(self, store_id: str, text: str) -> None:
        self.report(ProgressEvent(store_id, text))


def touches(result: jobs.JobResult) -> bool:
    """Return whether a restore's Job came so far that something of the shop is another than before, perhaps.

    It did not where none of its containers ever began, or only the one that fetches, and nothing more can have happened
    unseen.
    """
    return result.cancelled or not result.certain or result.container not in (None, _HARMLESS)


def _works(pod: Any) -> bool:
    """Return whether a pod reads or changes anything, or is about to. One that no node takes does neither.

    Such a backup waits for a web pod's node: it must not keep its store from being restored.
    """
    return pod.status.phase not in ("Succeeded", "Failed") and pod.spec.node_name is not None
