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
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from audit import observation as observations
from audit.engine import Snapshot
from audit.judgement import Judged
from audit.limits import NO_OWN_LIMITS, Claim, Limits, Tally, judge, own_limits
from audit.observation import Observation
from audit.plan import CHANGING, Action, Plan, StorePlan, limit_use
from audit.provenance import git
from audit.records import Change, OwnerUsage, Usage
from components.desired import DesiredStore
from stacks import manifest as manifests
from stacks import settings as settings_module
from stacks.desired import Plans, caps
from stacks.errors import ManifestError, Problem, UsageError
from stacks.manifest import Manifest
from stacks.settings import Settings

_READ: Final = ("stacks", "values", "charts")


@dataclass(frozen=True)
class _Files:
    """What the files of one checkout say."""

    settings: Settings
    manifest: Manifest
    desired: Mapping[str, DesiredStore]

    @classmethod
    def read(cls, root: Path, environment: str) -> _Files:
        settings = settings_module.load(root, environment)
        manifest = manifests.load(root, environment, caps(root, settings))
        return cls(settings, manifest, Plans(root, settings).of(manifest))


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
        except ManifestError as error:
            at_base = [replace(problem, where=f"{ref}: {problem.where}") for problem in error.problems]
            raise ManifestError.of(at_base) from None
    return compare(before, _Files.read(root, environment), f"none asked; compared with {ref} ({base[:12]})")


def compare(before: _Files, after: _Files, told: str) -> Plan:
    """Return the plan from one checkout's files to another's. `told` stands where a plan names its cluster."""
    observation = _observation(before, after)
    observations.check_identity(observation)
    stores = _with_denials(before, after, observations.plan_stores(observation))
    refused = observations.dangers(stores, after.manifest)
    return Plan(after.settings.environment, told, stores, limit_use(stores, _usage(before, after)), refused)


def _observation(before: _Files, after: _Files) -> Observation:
    cells: dict[str, dict[str, DesiredStore]] = {}
    for store in before.manifest.stores:
        if store.id in before.desired:
            cells.setdefault(store.cell, {})[store.id] = before.desired[store.id]
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
        rows={},
        desired=after.desired,
        now=datetime.now(UTC),
    )


def _with_denials(before: _Files, after: _Files, stores: Sequence[StorePlan]) -> tuple[StorePlan, ...]:
    """Return the plan with what the limits would say if this were the only change of the hour."""
    limits = Limits.of_environment(after.settings)
    owners = {store.id: store.owner for store in before.manifest.stores if not store.deleted}
    changing = [store for store in stores if store.action in CHANGING]
    claims = [_claim(store, owners.get(store.store_id)) for store in changing]
    tally = Tally(len(owners), Counter(owners.values()), {})
    verdicts = judge(
        claims, tally, limits=limits, owner_limits=own_limits(after.manifest.owners), now=datetime.now(UTC)
    )
    denials: dict[str, Problem] = {}
    for store, claim, verdict in zip(changing, claims, verdicts, strict=True):
        if not verdict.allowed:
            change = Change(store.store_id, store.name, store.owner, store.cell, f"store.{store.action}", {})
            denials[store.store_id] = Judged(change, None, claim, verdict).denial(limits).problem
    return tuple(
        replace(store, denial=str(denials[store.store_id])) if store.store_id in denials else store for store in stores
    )


def _claim(store: StorePlan, owner_before: str | None) -> Claim:
    moved_from = owner_before if owner_before not in (None, store.owner) else None
    new = store.action is Action.CREATE
    return Claim(store.owner, new=new, moved_from=None if store.action is Action.DELETE else moved_from)


def _usage(before: _Files, after: _Files) -> Usage:
    """Return what the stores of the base use. Creations of the last hour are not known, so they count as none."""
    limits, own = Limits.of_environment(after.settings), own_limits(after.manifest.owners)
    owners = [store.owner for store in before.manifest.stores if not store.deleted]
    names = sorted({store.owner for store in after.manifest.stores} | set(owners))
    rows = []
    for name in names:
        theirs = limits.of(own.get(name, NO_OWN_LIMITS))
        rows.append(OwnerUsage(name, owners.count(name), theirs.stores_per_owner, 0, theirs.creates_per_hour, None))
    environment = after.settings.environment
    return Usage(environment, tuple(rows), len(owners), limits.stores_total, limits.window_s, datetime.now(UTC))


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
