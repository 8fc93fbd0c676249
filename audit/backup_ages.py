"""How old each store's last good backup is, and whether that is too old.

Two witnesses: the schedule's own record in the cluster, and the audit log for backups that were asked for. All stores
are one question to each, bounded in time; what cannot be asked is unknown, and never told as good or as missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from audit.records import STORE_BACKUP, StoreRow
from components import backup_server, naming
from stacks.cluster import Cluster
from stacks.desired import environment_values, on_our_server
from stacks.errors import ClusterUnreachableError

if TYPE_CHECKING:
    from audit.gate import Gate

# To connect and to answer: who asks for a status waits no longer than that.
_TIMEOUTS_S: Final = (2, 5)
_NO_CLUSTER: Final = "the cluster cannot be asked"
_NO_SERVER: Final = "the backup server does not run"
_NO_SCHEDULE: Final = "its schedule is not in the cluster"


@dataclass(frozen=True)
class BackupAge:
    """One store's last good backup. `late`: it is older than twice the interval, or the store has none by then.

    `unknown` says why there may be more, or less, than is told here; then nothing is told as late.
    """

    store_id: str
    last_at: datetime | None
    age_s: int | None
    late: bool
    failed: bool
    """Whether the schedule's last run failed."""
    unknown: str | None = None
    since_at: datetime | None = None
    """Since when the witnesses look, where that is later than the store."""

    @property
    def brief(self) -> str:
        """The age in a few characters, with what is wrong; for a table."""
        if self.age_s is not None:
            text = f"{_span(self.age_s)} ago"
        elif self.unknown is not None:
            text = "unknown"
        else:
            text = "never" if self.since_at is None else f"none since {self.since_at:%Y-%m-%d}"
        marks = ["LATE" if self.late else "", "FAILED" if self.failed else ""]
        marks.append("?" if self.unknown is not None and self.age_s is not None else "")
        return " ".join([text, *(mark for mark in marks if mark)])

    @property
    def told(self) -> str:
        """What is to be said of it; empty where all is well."""
        parts = []
        if self.unknown is not None:
            parts.append(f"unknown: {self.unknown}")
        elif self.last_at is None:
            since = "" if self.since_at is None else f" since its schedule was made anew, {self.since_at:%Y-%m-%d}"
            parts.append(f"never backed up{since}")
        parts += ["late"] if self.late else []
        parts += ["the last scheduled one failed"] if self.failed else []
        return ", ".join(parts)

    @property
    def alarming(self) -> bool:
        """Whether a person should do something."""
        return self.late or self.failed or self.unknown is not None


def of_all(gate: Gate) -> list[BackupAge]:
    """Return every store that exists, by id; empty where the environment makes no backups."""
    values = environment_values(gate.root, gate.environment)
    if not values["backup"]["enabled"]:
        return []
    ours = on_our_server(values)
    unknown: str | None = None
    scheduled: Mapping[str, _Scheduled] = {}
    try:
        cluster = gate.cluster.asked_once()
        scheduled = _scheduled(cluster)
        if ours and not _server_runs(cluster):
            unknown = _NO_SERVER
    except ClusterUnreachableError as error:
        problem = error.problems[0]
        unknown = f"{_NO_CLUSTER}: {problem.what}"
    asked = gate.ledger.last_successes(gate.environment, STORE_BACKUP)
    clock = (gate.ledger.now(), timedelta(hours=values["backup"]["everyHours"]))
    rows = [row for row in gate.ledger.stores(gate.environment) if row.holds_slot]
    return ages(rows, scheduled, asked, clock, unknown=unknown)


@dataclass(frozen=True)
class _Scheduled:
    succeeded_at: datetime | None
    failed: bool
    made_at: datetime | None = None


def ages(
    rows: Iterable[StoreRow],
    scheduled: Mapping[str, _Scheduled],
    asked: Mapping[str, datetime],
    clock: tuple[datetime, timedelta],
    *,
    unknown: str | None = None,
) -> list[BackupAge]:
    """Return the age of each store's last backup by both witnesses; `clock` is now and the schedule's interval."""
    return [_age(row, scheduled.get(row.store_id), asked.get(row.store_id), clock, unknown) for row in rows]


def _age(
    row: StoreRow,
    scheduled: _Scheduled | None,
    asked_at: datetime | None,
    clock: tuple[datetime, timedelta],
    unknown: str | None,
) -> BackupAge:
    now, interval = clock
    if unknown is None and scheduled is None and row.ready_at is not None:
        unknown = _NO_SCHEDULE
    times = [at for at in (asked_at, scheduled.succeeded_at if scheduled else None) if at is not None]
    last = max(times, default=None)
    made = scheduled.made_at if scheduled else None
    since = made if made is not None and made - row.created_at > interval else None
    # A store that has never sold has nothing to back up.
    overdue = row.ready_at is not None and now - (last or since or row.created_at) > 2 * interval
    return BackupAge(
        row.store_id,
        last,
        None if last is None else max(0, int((now - last).total_seconds())),
        late=overdue and unknown is None,
        failed=scheduled is not None and scheduled.failed,
        unknown=unknown,
        since_at=since if last is None else None,
    )


def _scheduled(cluster: Cluster) -> dict[str, _Scheduled]:
    """Return what the cluster says of each store's schedule: when it last ended well, and whether it failed since."""
    selector = "app.kubernetes.io/part-of=multi-store-platform,app.kubernetes.io/component=backup"
    found: Any = cluster.ask(
        lambda: cluster.batch.list_cron_job_for_all_namespaces(label_selector=selector, _request_timeout=_TIMEOUTS_S),
        "the schedules of backups",
    )
    result: dict[str, _Scheduled] = {}
    for item in found.items if found is not None else ():
        if item.metadata.name.endswith("-restore"):
            continue  # the template of restores
        status = item.status
        good = status.last_successful_time if status else None
        begun = status.last_schedule_time if status else None
        # Begun after the last good end, and not running any more.
        failed = begun is not None and not (status.active or []) and (good is None or good < begun)
        made = item.metadata.creation_timestamp.astimezone(UTC)
        store_id = item.metadata.name.removesuffix("-backup")
        result[store_id] = _Scheduled(good.astimezone(UTC) if good else None, failed, made)
    return result


def _server_runs(cluster: Cluster) -> bool:
    """Return whether the platform's own server has a pod that serves."""
    from kubernetes import client  # noqa: PLC0415 - see stacks.cluster

    apps = client.AppsV1Api(cluster.batch.api_client)
    found: Any = cluster.ask(
        lambda: apps.read_namespaced_deployment(
            backup_server.NAME, naming.PLATFORM_NAMESPACE, _request_timeout=_TIMEOUTS_S
        ),
        "the backup server",
    )
    return found is not None and bool(found.status.available_replicas)


def _span(seconds: int) -> str:
    for name, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"
