"""What a change of the files would do, planned from two checkouts alone: for a pull request, a fork's included.

It asks no cluster, no state and no database, and needs no secret. So it can say what the files would change, and not
whether what they say was ever applied; `Gate.plan` says that.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from audit import observation as observations
from audit import unprotection
from audit.engine.state import Snapshot
from audit.judgement import Judged
from audit.limits import NO_OWN_LIMITS, Claim, Limits, Tally, judge, own_limits
from audit.observation import Observation
from audit.plan import CHANGING, Action, Plan, StorePlan, limit_use
from audit.provenance import git
from audit.records import Change, OwnerUsage, StoreRow, Usage
from components.desired import DesiredStore
from stacks import manifest as manifests
from stacks import settings as settings_module
from stacks.desired import Plans, caps
from stacks.errors import ManifestError, StoresError, UsageError
from stacks.manifest import Manifest, Store
from stacks.settings import Settings

_READ: Final = ("stacks", "values", "charts")


@dataclass(frozen=True)
class _Files:
    """What the files of one checkout say."""

    settings: Settings
    manifest: Manifest
    desired: Mapping[str, DesiredStore]
    leaving: Mapping[str, DesiredStore] = field(default_factory=dict)
    """Tombstoned stores that are still there, and count, because their grace cannot be over."""

    @classmethod
    def read(cls, root: Path, environment: str) -> _Files:
        settings = settings_module.load(root, environment)
        manifest = manifests.load(root, environment, caps(root, settings))
        return cls(settings, manifest, Plans(root, settings).of(manifest))

    @property
    def existing(self) -> dict[str, DesiredStore]:
        """Return every store that exists once these files are applied."""
        return {**self.desired, **self.leaving}

    @property
    def owners(self) -> dict[str, str]:
        """Return whose slot each of those takes."""
        return {store_id: store.owner for store_id, store in self.existing.items()}


def against(root: Path, environment: str, ref: str) -> Plan:
    """Return what the checkout at `root` changes since it left `ref`, as if all of `ref` had been applied.

    Raises ManifestError for files of which no plan can be made, and UsageError where git cannot tell. What a run would
    refuse is in the plan.
    """
    base = _base(root, ref)
    with tempfile.TemporaryDirectory(prefix="stores-plan-") as folder:
        _extract(root, base, environment, Path(folder))
        try:
            before = _Files.read(Path(folder), environment)
            before = replace(before, leaving=_leaving(root, base, Path(folder), before))
        except ManifestError as error:
            at_base = [replace(problem, where=f"{ref}: {problem.where}") for problem in error.problems]
            raise ManifestError.of(at_base) from None
    return compare(before, _Files.read(root, environment), f"none asked; compared with {ref} ({base[:12]})")


def compare(before: _Files, after: _Files, told: str) -> Plan:
    """Return the plan from one checkout's files to another's. `told` stands where a plan names its cluster."""
    observation = _observation(before, after)
    observations.check_identity(observation)
    planned = tuple(_without_time(store) for store in observations.plan_stores(observation))
    judged = _judged(before, after, planned)
    limits = Limits.of_environment(after.settings)
    denials = {item.change.store_id: str(item.denial(limits).problem) for item in judged if not item.verdict.allowed}
    stores = tuple(replace(store, denial=denials.get(store.store_id)) for store in planned)
    uses = limit_use((item.claim for item in judged if item.verdict.allowed), _usage(before, after))
    refused = (*unprotection.problems(observation), *observations.dangers(stores, after.manifest))
    return Plan(after.settings.environment, told, stores, uses, refused)


def _without_time(store: StorePlan) -> StorePlan:
    """Return the plan of a store, without a time that the files cannot tell."""
    if store.action is not Action.LEAVING:
        return store
    return replace(store, reason="tombstoned before; it is kept, and counts, until its grace is over")


def _observation(before: _Files, after: _Files) -> Observation:
    cells: dict[str, dict[str, DesiredStore]] = {}
    existing = before.existing
    for store in before.manifest.stores:
        if store.id in existing:
            cells.setdefault(store.cell, {})[store.id] = existing[store.id]
    now = datetime.now(UTC)
    snapshots = {
        cell: Snapshot(
            exists=True,
            applied={store_id: store.to_dict() for store_id, store in stores.items()},
            known=frozenset(stores),
        )
        for cell, stores in cells.items()
    }
    return Observation(
        settings=after.settings,
        manifest=after.manifest,
        snapshots=snapshots,
        rows={
            store.id: _row(after.settings, store, now) for store in before.manifest.stores if store.id in before.leaving
        },
        desired=after.desired,
        now=now,
    )


def _row(settings: Settings, store: Store, now: datetime) -> StoreRow:
    """Return what the ledger says of a store whose grace is not over, but for the times."""
    return StoreRow(
        settings.environment, store.id, store.name, store.owner, store.cell, "Deleting", None, since_at=now,
        ready_at=None, pending_until=None, holds_slot=True, url=None, content=None, run_id=None, created_at=now,
    )  # fmt: skip


def _judged(before: _Files, after: _Files, stores: Sequence[StorePlan]) -> list[Judged]:
    """Return what the limits would say to the plan if it were the only change of the hour."""
    limits = Limits.of_environment(after.settings)
    owners = before.owners
    changing = [store for store in stores if store.action in CHANGING]
    claims = [_claim(store, owners.get(store.store_id)) for store in changing]
    tally = Tally(len(owners), Counter(owners.values()), {})
    verdicts = judge(
        claims, tally, limits=limits, owner_limits=own_limits(after.manifest.owners), now=datetime.now(UTC)
    )
    return [
        Judged(
            Change(store.store_id, store.name, store.owner, store.cell, f"store.{store.action}"), None, claim, verdict
        )
        for store, claim, verdict in zip(changing, claims, verdicts, strict=True)
    ]


def _claim(store: StorePlan, owner_before: str | None) -> Claim:
    """Return what a change takes, of a store that took a slot of `owner_before` or, for None, none."""
    if store.action is Action.DELETE:
        return Claim(store.owner, gives_back=owner_before)
    if owner_before is None:
        return Claim(store.owner, new=True)
    return Claim(store.owner, moved_from=owner_before if owner_before != store.owner else None)


def _usage(before: _Files, after: _Files) -> Usage:
    """Return what the stores of the base use. Creations of the last hour are not known, so they count as none."""
    limits, own = Limits.of_environment(after.settings), own_limits(after.manifest.owners)
    owners = list(before.owners.values())
    names = sorted({store.owner for store in after.manifest.stores} | set(owners))
    rows = []
    for name in names:
        theirs = limits.of(own.get(name, NO_OWN_LIMITS))
        rows.append(OwnerUsage(name, owners.count(name), theirs.stores_per_owner, 0, theirs.creates_per_hour, None))
    environment = after.settings.environment
    return Usage(environment, tuple(rows), len(owners), limits.stores_total, limits.window_s, datetime.now(UTC))


def _leaving(root: Path, base: str, folder: Path, before: _Files) -> dict[str, DesiredStore]:
    """Return the tombstoned stores of the base that were not tombstoned yet when a grace that is over now began.

    Without that part of the history nobody can tell: then none is.
    """
    tombstoned = [store for store in before.manifest.stores if store.deleted]
    shallow = (git(root, "rev-parse", "--is-shallow-repository") or b"").strip() == b"true"
    if not before.settings.protected or not tombstoned or shallow:
        return {}
    begun = datetime.now(UTC) - timedelta(hours=before.settings.deletion_grace_hours)
    found = git(root, "rev-list", "-1", "--first-parent", f"--before={begun:%Y-%m-%dT%H:%M:%SZ}", base, "--")
    gone = _tombstones(root, (found or b"").decode().strip(), before.settings.environment)
    plans = Plans(folder, before.settings)
    return {store.id: plans.desired(store) for store in tombstoned if store.id not in gone}


def _tombstones(root: Path, commit: str, environment: str) -> frozenset[str]:
    """Return the stores that were tombstoned at a commit; "": none."""
    if not commit:
        return frozenset()
    with tempfile.TemporaryDirectory(prefix="stores-plan-") as folder:
        try:
            _extract(root, commit, environment, Path(folder))
            stores = _Files.read(Path(folder), environment).manifest.stores
        except StoresError:
            return frozenset()  # it was no project of ours yet
    return frozenset(store.id for store in stores if store.deleted)


def _base(root: Path, ref: str) -> str:
    """Return the commit at which this checkout left `ref`: what came into it since is no change of ours."""
    if shutil.which("git") is None:
        raise UsageError("git", "the program is not installed", "install it; --against compares commits")
    commit = git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if commit is None:
        raise UsageError(f"--against {ref}", "git knows no such commit here", "fetch it first, e.g. `git fetch origin`")
    base = git(root, "merge-base", commit.decode().strip(), "HEAD")
    if base is None:
        cure = "fetch the history between them (`git fetch --unshallow`; fetch-depth: 0 in a workflow)"
        raise UsageError(f"--against {ref}", "it has no commit in common with this checkout", cure)
    return base.decode().strip()


def _extract(root: Path, commit: str, environment: str, folder: Path) -> None:
    """Write the files that a plan reads, as they were at the commit."""
    wanted = [*_READ, settings_module.settings_file(environment)]
    listed = git(root, "ls-tree", "--name-only", commit, "--", *wanted) or b""
    found = listed.decode().split()
    archive = git(root, "archive", "--format=tar", commit, "--", *found) if found else None
    if archive is None:
        raise UsageError(f"commit {commit[:12]}", "it does not hold this project's files", "name another --against")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
