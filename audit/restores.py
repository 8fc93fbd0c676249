"""A store brought back from one of its backups: in place, after a loss of its namespace, or into a new store.

The order keeps a way back. What is there is backed up first; the snapshot is fetched and judged before anything is
touched; then the web pods go, database and files are replaced, and the web pods come back. Where it breaks off after
something was touched, the shop stays closed, and says so, until a restore succeeds.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from audit import backups, copies, idempotency, jobs, replays
from audit import schema as schemas
from audit.backup_server import BackupServer
from audit.backups import Snapshot
from audit.closed import Closed
from audit.records import STORE_RESTORE, Actor, Change, Lease, Replay, RunRequest, StoreOutcome, StoreRow
from audit.replacement import Replacement, touches
from audit.results import ProgressEvent, Report, RunResult
from audit.run import Run
from audit.scope import Scope
from components import naming
from stacks.desired import Plans, environment_values
from stacks.errors import (
    CancelledError,
    ClusterUnreachableError,
    OverLimitError,
    RefusedError,
    StoreFailedError,
    StoresError,
    UsageError,
)
from stacks.manifest_file import ManifestFile

if TYPE_CHECKING:
    from audit.gate import Gate


@dataclass(frozen=True)
class RestoreResult:
    """What became of a restore. `undo` is the snapshot of what was there before, or None where nothing was."""

    run_id: str
    store_id: str
    source_id: str
    snapshot: str
    status: str
    url: str | None
    undo: str | None
    reason: str | None = None
    exit_error: StoresError | None = None
    replayed: bool = False
    """Whether it is the result of an earlier call under the same key."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a restore: which store's data, of when, and where to. `new_name` None: in place."""

    store_id: str
    at: str | None = None
    new_name: str | None = None
    owner: str | None = None


@dataclass
class Restore:
    """One restore. Not to be used twice."""

    gate: Gate
    actor: Actor
    report: Report
    reason: str | None = None
    keep_undo: bool = True
    """Whether what is there is backed up first."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set where it is to stop: that of its run."""
    idempotency_key: str | None = None
    _asked: str | None = None
    """What tells the request from others under its key."""
    _before: tuple[str, ...] = ()
    """The runs that have done parts of the same request."""

    def done(self, asked: Asked) -> RestoreResult | None:
        """Return what the same request has come to under its key; None if it is to be made, which `carry_out` does.

        To be asked before anybody is asked to agree. Raises UsageError for a key that was used for another request,
        LockedError if the same one is in flight.
        """
        self._asked = idempotency.asked("restore", **asdict(asked), keep_undo=self.keep_undo)
        return self._repeated()

    def _repeated(self) -> RestoreResult | None:
        """Return what the same request has come to, and know the runs of its parts; None if it is to be made."""
        run = self._run()
        request = self._request(run)
        earlier = replays.earlier(self.gate, run, request)
        if earlier is None:
            self._before = self.gate.ledger.parts_done(request)
            return None
        return _of_replay(earlier)

    def carry_out(self, asked: Asked) -> RestoreResult:
        """Do what is asked. What an earlier try under the same key has made is taken up; see `done`.

        Where the same request has succeeded since that was asked, its result is returned and nothing is done.
        """
        if asked.new_name is None:
            return self.in_place(asked.store_id, asked.at)
        return self.into_new(asked.store_id, asked.at, asked.new_name, asked.owner)

    def in_place(self, store_id: str, at: str | None) -> RestoreResult:
        """Replace a store's data with that of one of its snapshots. A store that is gone is made first, and empty."""
        self._require(store_id)
        server = self._server()
        snapshot = self._chosen(server, store_id, at)
        namespace = self.gate.cluster.namespace(naming.namespace(store_id))
        if namespace is not None and namespace.terminating:
            raise ClusterUnreachableError(
                f"store '{store_id}'", "its namespace is still going away", "run it again once `stores status` says so"
            )
        fresh = namespace is None
        if snapshot.image_tag is not None:
            self._refuse_too_new(store_id, snapshot, self._tag_of(store_id, fresh=fresh), f"store '{store_id}'")
        if fresh:
            self._tell(store_id, "its namespace is gone; making it anew")
            self._made(self.gate.up(actor=self.actor, reason=self.reason, report=self.report), store_id)
        return self._replaced(store_id, store_id, snapshot, server, fresh=fresh)

    def into_new(self, source_id: str, at: str | None, name: str, owner: str | None) -> RestoreResult:
        """Make a new store, within the limits, with the data of another store's snapshot; that one may be deleted.

        The new store has its own address and credentials. Where a limit denies it, the manifest is as before.
        """
        source = self._source(source_id)
        server = self._server()
        snapshot = self._chosen(server, source_id, at)
        if self.idempotency_key is not None and (earlier := self._repeated()) is not None:
            return earlier
        owner = owner or source.owner
        root, environment = self.gate.root, self.gate.environment
        new_id, known = self._named(name)
        if new_id is None or self.gate.manifest().store(new_id) is None:
            more = self._copied(server, source, snapshot, owner)
            tag = str(more.get("image", {}).get("tag") or environment_values(root, environment)["image"]["tag"])
            self._refuse_too_new(source_id, snapshot, tag, f"store '{name}'")
            file = ManifestFile(root, environment)
            title, cell = more.pop("title", None), None if known is None else known.cell
            written = file.add(name, owner, title, more=more, store_id=new_id, cell=cell)
            file.save()
            new_id = written.store_id
            self._tell(new_id, f"a block in {written.where}")
        if known is None or known.status != "Ready":
            self._make(new_id, source_id, snapshot)
        return self._replaced(new_id, source_id, snapshot, server, fresh=True)

    def _named(self, name: str) -> tuple[str | None, StoreRow | None]:
        """Return the new store's id, where it is known before, and its row where an earlier try has made it.

        Under a key the id follows from the request, so that whatever an earlier try came to, this one takes up its
        store, or its block, and makes no second one.
        """
        if self.idempotency_key is None:
            return None, None
        rows = {row.store_id: row for row in self.gate.ledger.stores(self.gate.environment, include_deleted=True)}
        seed = "\0".join((self.actor.kind, self.actor.name, self.idempotency_key, self._asked or ""))
        attempt = 0
        while True:
            store_id = naming.new_store_id(name, _chooser(f"{seed}\0{attempt}"))
            row = rows.get(store_id)
            if row is None or row.status == "Pending":
                return store_id, None
            if row.status != "Deleted" and self._made_by_us(store_id):
                return store_id, row
            # It was made under the same key when that was kept last, or was deleted since.
            attempt += 1

    def _tag_of(self, store_id: str, *, fresh: bool) -> str:
        """Return the tag of the image that the shop runs, or of one that is gone, that it will run."""
        if fresh:
            wanted = Plans(self.gate.root, self.gate.settings).of(self.gate.manifest())[store_id]
            return str(wanted.release.values["image"]["tag"])
        containers = self._replacement.web(store_id)["spec"]["template"]["spec"]["containers"]
        image = next(str(each["image"]) for each in containers if each["name"] == "wordpress")
        return image.partition("@")[0].rpartition(":")[2]

    def _refuse_too_new(self, shop: str, snapshot: Snapshot, tag: str, where: str) -> None:
        """Raise RefusedError where the snapshot is of a newer version than the code that would run on it.

        `shop` is who knows which database which image needs; it is asked where it can be.
        """
        if snapshot.image_tag is None or snapshot.image_tag == tag:
            return
        why = schemas.too_new(schemas.ask(self.gate.cluster, shop), snapshot.image_tag, tag)
        if why is not None:
            raise RefusedError(
                where,
                f"snapshot {snapshot.short_id} is of a newer version than image {tag} can run: {why}",
                f"run `stores upgrade {shop} --image-tag {snapshot.image_tag}` first, or name an older snapshot",
            )

    def _made_by_us(self, store_id: str) -> bool:
        entries = self.gate.ledger.entries
        return any(entries(self.gate.environment, run_id=run_id, store_id=store_id) for run_id in self._before)

    def _make(self, new_id: str, source_id: str, snapshot: Snapshot) -> None:
        """Make the new store, within the limits, and empty. Where it is denied the manifest is as before."""
        try:
            run = self._run()
            request, part = idempotency.in_part(self._request(run), self._before, more=True)
            facts = {"restored_from": source_id, "snapshot": snapshot.id, **part}
            with run.session(request) as leases:
                result = run.carry_out(request, leases, Scope("store.create", {new_id: facts}))
        except StoresError:
            # Such as: what it was is more than the environment gives a store today. The next `up` must not make it.
            if all(row.store_id != new_id for row in self.gate.ledger.stores(self.gate.environment)):
                self._take_back(new_id)
            raise
        if isinstance(result.exit_error, OverLimitError):
            self._take_back(new_id)
        if not result.nothing_to_do:
            self._before = (*self._before, result.run_id)
        self._made(result, new_id)

    def _copied(self, server: BackupServer, source: StoreRow, snapshot: Snapshot, owner: str) -> dict[str, Any]:
        """Return the keys of the source's block that its copy has too; where there is no block, of its backup."""
        manifest = self.gate.manifest()
        same_owner = owner == source.owner
        contact = next((found.contact for found in manifest.owners if found.name == source.owner), None)
        store = manifest.store(source.store_id)
        if store is not None:
            return copies.of_store(store, contact or "", same_owner=same_owner)
        self._tell(source.store_id, "it is not in the manifest any more: reading what it was from its backup")
        values = backups.about(server, source.store_id, snapshot, cancelled=self.cancelled).get("values")
        if not isinstance(values, Mapping):
            self._tell(source.store_id, "this backup does not tell sizes and settings; the copy has the environment's")
            return {}
        return copies.of_backup(values, server.values, contact, same_owner=same_owner)

    def _take_back(self, store_id: str) -> None:
        """Take the block of a store that was not made out of the manifest again."""
        file = ManifestFile(self.gate.root, self.gate.environment)
        file.remove(store_id)
        file.save()

    # --- what both have in common

    def _replaced(
        self, store_id: str, source_id: str, snapshot: Snapshot, server: BackupServer, *, fresh: bool
    ) -> RestoreResult:
        run = self._run()
        self.cancelled = run.cancelled
        with run.session(self._request(run)) as leases:
            run.observe(leases)
            # Before anything is backed up or replaced: what was sold since the data was put back would be lost.
            if (earlier := self.gate.ledger.replayed(self._request(run))) is not None:
                return _of_replay(earlier)
            undo = self._undo(run, leases, store_id) if self.keep_undo and not fresh else None
            facts = {"snapshot": snapshot.id, "source": source_id, "taken_at": snapshot.taken_at.isoformat()}
            if undo is not None:
                facts["undo"] = undo
            if (earlier := self._admit(run, leases, store_id, facts)) is not None:
                return _of_replay(earlier)
            outcome = self._outcome(run, store_id, source_id, snapshot, (server, undo))
            if outcome.outcome == "success":
                outcome = replace(outcome, metadata={**outcome.metadata, **facts})
            run.put_on_record(run.run_id, outcome, f"snapshot {snapshot.short_id} was being restored")
        error: StoresError | None = None
        if outcome.outcome == "cancelled":
            error = CancelledError(f"run {run.run_id}", "the restore was stopped", outcome.reason or "run it again")
        elif outcome.outcome == "failure":
            error = StoreFailedError(f"store '{store_id}'", outcome.reason or "failed", _way_back(store_id, undo))
        return RestoreResult(
            run.run_id, store_id, source_id, snapshot.id, outcome.status, outcome.url, undo, outcome.reason, error
        )

    def _undo(self, run: Run, leases: Sequence[Lease], store_id: str) -> str | None:
        """Return a snapshot of what is there; after a restore that broke off the one that it took, if it did."""
        broken_off = Closed.of(self._replacement.web(store_id))
        if broken_off is not None:
            self._tell(store_id, "an earlier restore broke off; what is there now is not kept")
            return broken_off.undo
        asked = replace(self._request(run), run_id=backups.new_run_id())
        request, part = idempotency.in_part(asked, self._before, more=True)
        note = f"before restore {run.run_id}"
        snapshot = backups.taken(run, leases, store_id, "pre-restore", note=note, request=request, part=part)
        self._before = (*self._before, request.run_id)
        return snapshot

    def _admit(self, run: Run, leases: Sequence[Lease], store_id: str, facts: Mapping[str, object]) -> Replay | None:
        """Leave the intent on record; return the result of the same request where it has succeeded meanwhile."""
        store = run.manifest.store(store_id)
        assert store is not None  # noqa: S101 - looked for before
        request, part = idempotency.in_part(self._request(run), self._before, more=False)
        change = Change(store_id, store.name, store.owner, store.cell, STORE_RESTORE, {**facts, **part})
        admission = self.gate.ledger.admit(replace(request, changes=(change,), leases=tuple(leases)))
        if admission.denied:
            raise OverLimitError.of([denial.problem for denial in admission.denied])
        return admission.replayed

    def _outcome(
        self, run: Run, store_id: str, source_id: str, snapshot: Snapshot, means: tuple[BackupServer, str | None]
    ) -> StoreOutcome:
        server, undo = means
        try:
            server.ensure(backups.known_ids(self.gate))
            half = Closed.of(self._replacement.web(store_id)) is not None
            replicas = self._replacement.close(store_id, run.run_id, undo)
        except StoresError as error:
            return StoreOutcome(store_id, "failure", "Failed", reason=str(error))
        try:
            result = self._replacement.load(store_id, source_id, snapshot, server)
        except StoresError as error:
            # Its Job did not begin, so what there is is what there was.
            result = jobs.JobResult(succeeded=False, reason=str(error))
        touched = half or touches(result)
        if not result.succeeded and touched:
            closed = f"it stays closed until a restore succeeds: {_way_back(store_id, undo)}"
            kind = "cancelled" if result.cancelled else "failure"
            self._tell(store_id, f"{result.reason}; {closed}")
            return StoreOutcome(store_id, kind, "Failed", reason=f"{result.reason}; {closed}")  # type: ignore[arg-type]
        try:
            self._replacement.open(store_id, replicas)
        except StoresError as error:
            return StoreOutcome(store_id, "failure", "Failed", reason=f"it could not be opened again: {error}")
        outcome = run.until_sells(store_id)
        if not result.succeeded:
            reason = f"nothing was changed: {result.reason}"
            return replace(outcome, outcome="failure", reason=reason)
        return replace(outcome, metadata={**outcome.metadata, "snapshot": snapshot.id})

    @property
    def _replacement(self) -> Replacement:
        return Replacement(self.gate.cluster, self.report, self.cancelled)

    # --- what is asked for

    def _require(self, store_id: str) -> None:
        store = self.gate.manifest().store(store_id)
        if store is None or store.deleted:
            raise UsageError(
                f"store '{store_id}'",
                "it is deleted" if store is not None else "it is not in the manifest",
                f"bring its data into a new store: `stores restore {store_id} --as NEWNAME`",
            )

    def _source(self, source_id: str) -> StoreRow:
        rows = self.gate.ledger.stores(self.gate.environment, include_deleted=True)
        found = next((row for row in rows if row.store_id == source_id), None)
        if found is None:
            raise UsageError(f"store '{source_id}'", "there was never such a store", "see `stores list` for the ids")
        return found

    def _server(self) -> BackupServer:
        return backups.server_of(self.gate)

    def _chosen(self, server: BackupServer, store_id: str, at: str | None) -> Snapshot:
        found = backups.listed(server, store_id, tell=lambda text: self._tell(store_id, text))
        return backups.chosen(found, at, f"store '{store_id}'")

    def _made(self, result: RunResult, store_id: str) -> None:
        """Raise what kept the store from being made."""
        found = next((store for store in result.stores if store.store_id == store_id), None)
        if found is None or found.status != "Ready":
            if result.exit_error is not None:
                raise result.exit_error
            raise StoreFailedError(f"store '{store_id}'", "it is not Ready", "run `stores up`, then restore again")

    def _run(self) -> Run:
        return self.gate.new_run(self.actor, self.report)

    def _request(self, run: Run) -> RunRequest:
        key = self.idempotency_key
        return self.gate.request_of(run.manifest, run.run_id, self.actor, self.reason, key, asked=self._asked)

    def _tell(self, store_id: str, text: str) -> None:
        self.report(ProgressEvent(store_id, text))


def _of_replay(earlier: Replay) -> RestoreResult:
    last = earlier.outcomes[-1]
    said = {name: str(value) for name, value in last.metadata.items()}
    return RestoreResult(
        run_id=earlier.run_id,
        store_id=last.store_id,
        source_id=said["source"],
        snapshot=said["snapshot"],
        status=last.status,
        url=last.url,
        undo=said.get("undo"),
        replayed=True,
    )


def _chooser(seed: str) -> Callable[[str], str]:
    """Return what picks one character of an alphabet after the other, always the same ones for a seed."""
    numbers = iter(hashlib.sha256(seed.encode()).digest())
    return lambda alphabet: alphabet[next(numbers) % len(alphabet)]


def _way_back(store_id: str, undo: str | None) -> str:
    if undo is None:
        return f"see `stores backups {store_id}`, and restore one of them"
    return f"`stores restore {store_id} --at {undo[:8]}` brings back what was there before"
