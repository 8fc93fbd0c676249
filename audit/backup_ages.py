"""How old each store's last good backup is, and whether that is too old.

Two witnesses: the schedule's own record in the cluster, and the audit log for backups that were asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from audit.backups import STORE_BACKUP
from stacks.cluster import Cluster
from stacks.desired import environment_values

if TYPE_CHECKING:
    from audit.gate import Gate


@dataclass(frozen=True)
class BackupAge:
    """One store's last good backup. `late`: it is older than twice the interval, or the store has none by then."""

    store_id: str
    last_at: datetime | None
    age_s: int | None
    late: bool
    failed: bool
    """Whether the schedule's last run failed."""

    @property
    def told(self) -> str:
        """What is to be said of it."""
        parts = ["never backed up" if self.last_at is None else "", "late" if self.late else ""]
        return ", ".join(part for part in [*parts, "the last scheduled one failed" if self.failed else ""] if part)


def of_all(gate: Gate) -> list[BackupAge]:
    """Return every store that exists, by id; raises ClusterUnreachableError."""
    values = environment_values(gate.root, gate.environment)["backup"]
    if not values["enabled"]:
        return []
    interval = timedelta(hours=values["everyHours"])
    scheduled = _scheduled(gate.cluster)
    asked: dict[str, datetime] = {}
    for entry in gate.ledger.entries(gate.environment, action=STORE_BACKUP, limit=10_000):
        if entry.outcome == "success" and entry.store_id is not None:
            asked.setdefault(entry.store_id, entry.occurred_at)
    now = gate.ledger.now()
    rows = [row for row in gate.ledger.stores(gate.environment) if row.holds_slot]
    return [_age(row.store_id, row.created_at, scheduled.get(row.store_id), asked, (now, interval)) for row in rows]


@dataclass(frozen=True)
class _Scheduled:
    succeeded_at: datetime | None
    failed: bool


def _age(
    store_id: str,
    created_at: datetime,
    scheduled: _Scheduled | None,
    asked: Mapping[str, datetime],
    clock: tuple[datetime, timedelta],
) -> BackupAge:
    now, interval = clock
    times = [at for at in (asked.get(store_id), scheduled.succeeded_at if scheduled else None) if at is not None]
    last = max(times, default=None)
    late = now - (last or created_at) > 2 * interval
    failed = scheduled is not None and scheduled.failed
    return BackupAge(store_id, last, None if last is None else int((now - last).total_seconds()), late, failed)


def _scheduled(cluster: Cluster) -> dict[str, _Scheduled]:
    """Return what the cluster says of each store's schedule: when it last ended well, and whether it failed since."""
    selector = "app.kubernetes.io/part-of=multi-store-platform,app.kubernetes.io/component=backup"
    found: Any = cluster.ask(
        lambda: cluster.batch.list_cron_job_for_all_namespaces(label_selector=selector, _request_timeout=20),
        "the schedules of backups",
    )
    result: dict[str, _Scheduled] = {}
    for item in found.items if found is not None else ():
        if item.spec.suspend:
            continue  # the template of restores
        status = item.status
        good = status.last_successful_time if status else None
        begun = status.last_schedule_time if status else None
        # Begun after the last good end, and not running any more.
        failed = begun is not None and not (status.active or []) and (good is None or good < begun)
        result[item.metadata.name.removesuffix("-backup")] = _Scheduled(good.astimezone(UTC) if good else None, failed)
    return result
