"""Backups of one store: taken, listed, chosen.

A backup is a snapshot in the store's own restic repository: dump, files and credentials. It is made by a Job from the
template that the store's release has in its namespace, by the schedule and by hand alike. docs/backup.md is for people.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any, Final, Literal

from audit import bookkeeping, jobs, live
from audit.backup_server import BackupServer
from audit.closed import RESTORING
from audit.context import RunContext
from audit.limits import Limits
from audit.records import STORE_BACKUP, Actor, Change, Lease, Replay, RunRequest, Settled, StoreOutcome, StoreRow
from components import naming
from stacks import platform_key
from stacks.cluster import Cluster
from stacks.desired import environment_values
from stacks.errors import (
    AuditIncompleteError,
    CancelledError,
    DatabaseUnreachableError,
    RefusedError,
    StoreFailedError,
    StoresError,
    UsageError,
)

if TYPE_CHECKING:
    from audit.gate import Gate
    from audit.ledger import Ledger

Reason = Literal["scheduled", "manual", "pre-upgrade", "pre-restore", "final"]

_DEFAULT_DEADLINE_S: Final = 7200
_LIST: Final = """set -eu
. /etc/store/backup/repository.sh
open_repository fail
restic snapshots --json --no-lock --host "$STORE_ID"
"""
_ABOUT: Final = """set -eu
. /etc/store/backup/repository.sh
open_repository fail
restic dump --no-lock "$SNAPSHOT" /backup/data/store.json
"""
_FRACTION: Final = re.compile(r"\.\d+")

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Snapshot:
    """One backup. `versions` are the images and the chart that it was made with; sizes are bytes."""

    id: str
    taken_at: datetime
    reason: str
    versions: tuple[str, ...]
    size_bytes: int | None
    added_bytes: int | None

    @property
    def short_id(self) -> str:
        """The id as people type it."""
        return self.id[:8]

    @property
    def image_tag(self) -> str | None:
        """The tag of the image that the shop ran, where the snapshot says it."""
        return next((each.partition(":")[2] for each in self.versions if each.startswith("wordpress:")), None)


class AlreadyDoneError(Exception):
    """The same request has succeeded meanwhile; for who takes parts of one, never for people."""

    def __init__(self, replay: Replay) -> None:
        """Know the result of the earlier request."""
        super().__init__(replay.run_id)
        self.replay = replay


def take(
    gate: Gate,
    store_id: str,
    reason: Reason,
    *,
    actor: Actor,
    note: str | None = None,
    tell: Tell = lambda _text: None,
) -> str:
    """Return the id of a new snapshot of the store, made while nobody else changes its cell.

    Raises UsageError where the store makes no backups, StoreFailedError where this one failed, and CancelledError
    where it was stopped.
    """
    row = row_of(gate.ledger, gate.environment, store_id)
    run = gate.new_run(actor, lambda event: tell(event.text))
    server = server_of(gate)
    with run.session(cells={row.cell}) as leases:
        return taken(run, leases, store_id, reason, note=note, tell=tell, server=(server, known_ids(gate)))


def taken(
    run: RunContext,
    leases: Sequence[Lease],
    store_id: str,
    reason: Reason,
    *,
    note: str | None = None,
    tell: Tell | None = None,
    server: tuple[BackupServer, Sequence[str]] | None = None,
    request: RunRequest | None = None,
    part: Mapping[str, object] | None = None,
) -> str:
    """Return the id of a new snapshot, under leases that are held. It is an intent of the ledger's own, as any change.

    With `server`, the repositories' server is ready for these stores before. `request` gives it a run id and a key, and
    `part` says which part of that request it is. Raises AlreadyDoneError where that whole request has succeeded since
    its key was asked for.
    """
    environment = run.settings.environment
    row = row_of(run.ledger, environment, store_id)
    run_id = new_run_id() if request is None else request.run_id
    facts: dict[str, object] = {"backup": reason, "for_run": run.run_id}
    change = Change(store_id, row.name, row.owner, row.cell, STORE_BACKUP, {**facts, **(part or {})})
    asked = request or RunRequest(run_id, environment, run.actor, Limits.of_environment(run.settings), {}, ())
    admission = run.ledger.admit(replace(asked, changes=(change,), reason=note, leases=tuple(leases)))
    if admission.replayed is not None:
        raise AlreadyDoneError(admission.replayed)
    outcome = StoreOutcome(store_id, "success", row.status, reason=note, metadata=facts)
    try:
        if server is not None:
            server[0].ensure(server[1])
        told = tell or (lambda text: run.tell(store_id, text))
        summary = make(run.cluster, store_id, reason, cancelled=run.cancelled, tell=told)
    except StoresError as error:
        ended: Settled = "cancelled" if run.cancelled.is_set() else "failure"
        bookkeeping.put_on_record(run, run_id, replace(outcome, outcome=ended, reason=str(error)), "no backup was made")
        if run.cancelled.is_set():
            raise CancelledError(f"store '{store_id}'", "its backup was stopped", "run it again") from error
        raise
    snapshot = str(summary["snapshot_id"])
    facts |= {"snapshot": snapshot, "bytes": summary.get("total_bytes_processed")}
    bookkeeping.put_on_record(run, run_id, replace(outcome, metadata=facts), f"backup {snapshot[:8]} was made")
    return snapshot


def tried(run: RunContext, leases: Sequence[Lease], store_id: str, reason: Reason, *, note: str) -> str | None:
    """Return why no backup could be made, or None once there is one; it is on record either way.

    Raises AuditIncompleteError where it is not, and DatabaseUnreachableError where it cannot be asked for: that is no
    store's own failure, and the next one would only wait as long.
    """
    try:
        taken(run, leases, store_id, reason, note=note)
    except (AuditIncompleteError, DatabaseUnreachableError):
        raise
    except StoresError as error:
        return str(error)
    return None


def new_run_id() -> str:
    """Return the id of the run of one backup."""
    return f"backup-{secrets.token_hex(8)}"


def row_of(ledger: Ledger, environment: str, store_id: str) -> StoreRow:
    """Return what the ledger knows of a store that can be backed up; raises UsageError for one that cannot."""
    row = next((row for row in ledger.stores(environment) if row.store_id == store_id), None)
    if row is None:
        raise UsageError(f"store '{store_id}'", "there is no such store", "see `stores list` for the ids")
    if not row.holds_slot:
        raise UsageError(
            f"store '{store_id}'", f"it is {row.status}, so there is nothing to back up", "see `stores up`"
        )
    return row


def make(
    cluster: Cluster,
    store_id: str,
    reason: Reason,
    *,
    cancelled: Event | None = None,
    tell: Tell = lambda _text: None,
) -> Mapping[str, Any]:
    """Return restic's summary of a new snapshot, without a word in the ledger: its caller has put it on record."""
    where = f"store '{store_id}'"
    namespace = naming.namespace(store_id)
    web = live.read(cluster, "apps/v1", "Deployment", namespace, f"{store_id}-wordpress")
    if web is not None and RESTORING in (web["metadata"].get("annotations") or {}):
        raise RefusedError(
            where,
            "a restore is under way, or broke off, so its data is not whole",
            f"finish it: `stores restore {store_id}`",
        )
    job = job_of(cluster, store_id, "backup", {"BACKUP_REASON": reason})
    if web is None or web["spec"].get("replicas") == 0:
        # It has to be where the web pods are, which have the volume. Where there are none it may be anywhere.
        job["spec"]["template"]["spec"].pop("affinity", None)
    tell("backing up")
    result = jobs.run(cluster, job, job["spec"]["activeDeadlineSeconds"], cancelled=cancelled, on_wait=tell)
    if not result.succeeded:
        raise StoreFailedError(where, f"its backup failed: {result.reason}", "see docs/backup.md, and try again")
    try:
        summary: Mapping[str, Any] = json.loads(result.message)
        summary["snapshot_id"]
    except (KeyError, ValueError):
        what = f"its backup ended well, but told no snapshot: {result.message[:200]!r}"
        raise StoreFailedError(where, what, f"look with `stores backups {store_id}`") from None
    return summary


def job_of(cluster: Cluster, store_id: str, kind: Literal["backup", "restore"], variables: Mapping[str, str]) -> Any:
    """Return a Job from the store's own template, with these variables in every container that has them."""
    namespace = naming.namespace(store_id)
    template = live.read(cluster, "batch/v1", "CronJob", namespace, f"{store_id}-{kind}")
    if template is None:
        raise UsageError(
            f"store '{store_id}'",
            f"it has no template for a {kind}: it is not there, or was made without backups",
            "set backup.enabled in the environment's values, and run `stores up`",
        )
    spec = deepcopy(template["spec"]["jobTemplate"]["spec"])
    pod = spec["template"]["spec"]
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        for variable in container.get("env", ()):
            if variable["name"] in variables:
                variable["value"] = variables[variable["name"]]
    # The schedule tries again by itself; whoever asked is told at once.
    spec["backoffLimit"] = 0
    spec.setdefault("activeDeadlineSeconds", _DEFAULT_DEADLINE_S)
    labels = template["spec"]["jobTemplate"]["metadata"].get("labels", {})
    name = f"{store_id}-{kind}-{secrets.token_hex(3)}"
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec}


def listed(server: BackupServer, store_id: str, *, cancelled: Event | None = None, tell: Tell) -> list[Snapshot]:
    """Return the snapshots of a store, the newest first; it need not exist any more."""
    if server.cluster.namespace(naming.PLATFORM_NAMESPACE) is None:
        return []  # no run has made a place for backups yet, and whoever only asks makes none
    tell("asking the repository")
    result = server.client(store_id, _LIST, cancelled=cancelled, on_wait=tell)
    where = f"backups of '{store_id}'"
    if not result.succeeded:
        if "there is no repository of" in (result.reason or ""):
            return []
        raise StoreFailedError(where, f"they cannot be listed: {result.reason}", "see docs/backup.md")
    try:
        documents = json.loads(result.output.strip().splitlines()[-1])
        found = [_snapshot(document) for document in documents]
    except (IndexError, KeyError, ValueError) as error:
        raise StoreFailedError(where, f"the list cannot be read: {error}", "see docs/backup.md") from None
    return sorted(found, key=lambda snapshot: snapshot.taken_at, reverse=True)


def about(
    server: BackupServer, store_id: str, snapshot: Snapshot, *, cancelled: Event | None = None
) -> Mapping[str, Any]:
    """Return what a snapshot says of the store that it was made of: its store.json, see the chart."""
    result = server.client(store_id, _ABOUT, environment={"SNAPSHOT": snapshot.id}, cancelled=cancelled)
    where = f"snapshot {snapshot.short_id} of '{store_id}'"
    if not result.succeeded:
        raise StoreFailedError(where, f"it cannot be read: {result.reason}", "see docs/backup.md")
    try:
        document = json.loads(result.output[result.output.index("{") :])
    except ValueError as error:
        raise StoreFailedError(where, f"what it says of itself cannot be read: {error}", "name another one") from None
    return document if isinstance(document, Mapping) else {}


def _snapshot(document: Mapping[str, Any]) -> Snapshot:
    tags = document.get("tags") or []
    summary = document.get("summary") or {}
    return Snapshot(
        id=document["id"],
        taken_at=moment_of(document["time"]),
        reason=next((tag for tag in tags if ":" not in tag), "unknown"),
        versions=tuple(tag for tag in tags if ":" in tag),
        size_bytes=summary.get("total_bytes_processed"),
        added_bytes=summary.get("data_added_packed"),
    )


def moment_of(text: str) -> datetime:
    """Return a time as restic writes it, with nanoseconds, which Python does not read."""
    return datetime.fromisoformat(_FRACTION.sub("", text, count=1)).astimezone(UTC)


def chosen(snapshots: Sequence[Snapshot], at: str | None, where: str) -> Snapshot:
    """Return the snapshot that `at` names: an id or its beginning, or a time, for the last one up to then.

    None takes the newest; but none that a restore has taken of what it was about to replace. Raises UsageError.
    """
    if not snapshots:
        raise UsageError(where, "there is no backup of it", "see `stores backups` for what there is")
    if at is None:
        usual = [snapshot for snapshot in snapshots if snapshot.reason != "pre-restore"]
        return (usual or list(snapshots))[0]
    if re.fullmatch(r"[0-9a-f]{4,64}", at):
        found = [snapshot for snapshot in snapshots if snapshot.id.startswith(at)]
        if len(found) == 1:
            return found[0]
        what = f"{len(found)} snapshots begin with {at}" if found else f"there is no snapshot {at}"
        raise UsageError(where, what, "see `stores backups` for the ids")
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise UsageError(where, f"{at!r} is no snapshot's id and no time", "write 2026-11-23T14:00") from None
    # A time without a zone is meant as the clock on the wall says.
    before = [snapshot for snapshot in snapshots if snapshot.taken_at <= moment.astimezone(UTC)]
    if not before:
        oldest = snapshots[-1].taken_at
        raise UsageError(where, f"no snapshot is as old as {at}", f"the oldest is of {oldest:%Y-%m-%dT%H:%M:%SZ}")
    return before[0]


def server_of(gate: Gate) -> BackupServer:
    """Return the platform's part of the environment's backups."""
    values = environment_values(gate.root, gate.environment)
    if not values["backup"]["enabled"]:
        raise UsageError(
            f"environment {gate.environment}",
            "it makes no backups",
            f"set backup.enabled in values/values-{gate.environment}.yaml, and run `stores up`",
        )
    return BackupServer(gate.root, gate.settings, gate.cluster, platform_key.load(gate.root, gate.settings), values)


def known_ids(gate: Gate) -> list[str]:
    """Return every store that may have backups: those of the manifest, and all that the ledger remembers."""
    rows = gate.ledger.stores(gate.environment, include_deleted=True)
    return sorted({store.id for store in gate.manifest().stores} | {row.store_id for row in rows})
