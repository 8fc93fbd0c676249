"""What an upgrade or a rollback would do, store by store, before anything is done. Reads only.

An upgrade changes one thing of a store: the tag of its image. A store of which anything else is to be changed too is
left out, so that what goes wrong has one cause, and what is taken back is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from audit.backups import Snapshot
from audit.observation import Observation
from audit.plan import changes
from components import naming
from stacks.cluster import Cluster
from stacks.errors import Problem, RefusedError, UsageError
from stacks.helm_history import RevisionContent
from stacks.manifest import Store
from stacks.manifest_file import require_image_tag

Kind = Literal["upgrade", "rollback"]
PARALLEL: Final = 3
_TAG: Final = "image.tag"


@dataclass(frozen=True)
class Step:
    """One store's part. `revision` is the Helm revision that a rollback goes back to."""

    store_id: str
    cell: str
    before: str
    after: str
    revision: int | None = None


@dataclass(frozen=True)
class UpgradePlan:
    """A whole upgrade: batches one after another, the stores of a batch at the same time.

    `there`: stores that run the tag already. `left_out`: stores that cannot go, and why.
    `restore`: the backup that a rollback puts back with the image, or None; what was made since it was taken goes.
    """

    environment: str
    kind: Kind
    tag: str
    batches: tuple[tuple[Step, ...], ...]
    there: tuple[str, ...] = ()
    left_out: tuple[Problem, ...] = ()
    backup: bool = True
    restore: Snapshot | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return every step, in the order in which they begin."""
        return tuple(step for batch in self.batches for step in batch)

    def as_json(self) -> dict[str, Any]:
        """Return plain data for `--json`."""
        return asdict(self) | {"left_out": [str(problem) for problem in self.left_out]}


def plan_upgrade(
    observation: Observation,
    tag: str,
    store_ids: Sequence[str] | None,
    *,
    canary: str | None = None,
    parallel: int = PARALLEL,
    backup: bool = True,
) -> UpgradePlan:
    """Return what bringing stores to `tag` would do; `store_ids` None: every store of the environment.

    Raises UsageError for a tag that is none, and for a named store that cannot go.
    """
    require_image_tag(tag)
    chosen = _chosen(observation, store_ids)
    steps, there, left_out = [], [], []
    for store in chosen:
        problem = next(_in_the_way(observation, store), None)
        if problem is not None:
            left_out.append(problem)
        elif _runs(observation, store, tag):
            there.append(store.id)
        else:
            steps.append(Step(store.id, store.cell, running_tag(observation, store.id), tag))
    if store_ids is not None and left_out:
        raise UsageError.of(left_out)
    batches = tuple(_batches(observation, steps, canary, parallel))
    return UpgradePlan(
        observation.settings.environment, "upgrade", tag, batches, tuple(there), tuple(left_out), backup=backup
    )


def plan_rollback(
    observation: Observation,
    cluster: Cluster,
    store_id: str,
    revision: int | None,
    *,
    backup: bool = True,
    replaces_data: bool = False,
) -> UpgradePlan:
    """Return what going back to the image of an earlier Helm revision would do.

    Without `revision` it is the last one that ran with another image. Everything else of the store stays as the
    manifest says. With `replaces_data` the shop may be closed, as an earlier try has left it. Raises UsageError where
    there is nothing to go back to.
    """
    (store,) = _chosen(observation, [store_id])
    if replaces_data:
        closed = {other: how for other, how in observation.closed.items() if other != store_id}
        observation = replace(observation, closed=closed)
    problem = next(_in_the_way(observation, store), None)
    if problem is not None:
        raise UsageError.of([problem])
    now = running_tag(observation, store_id)
    found = _earlier(cluster, store_id, revision, now)
    tag = found.image_tag
    if tag is None:
        raise UsageError(f"store '{store_id}'", f"revision {found.number} names no image", "name another revision")
    if tag == now:
        raise UsageError(
            f"store '{store_id}'",
            f"revision {found.number} ran image {tag}, as it does now",
            "a rollback changes the image alone; other values are the manifest's, so change them there",
        )
    step = Step(store_id, store.cell, now, tag, found.number)
    return UpgradePlan(observation.settings.environment, "rollback", tag, ((step,),), backup=backup)


def running_tag(observation: Observation, store_id: str) -> str:
    """Return the tag that the platform last brought the store to."""
    applied = observation.applied(store_id)
    return "" if applied is None else str(applied["release"]["values"]["image"]["tag"])


def _chosen(observation: Observation, store_ids: Sequence[str] | None) -> list[Store]:
    stores = {store.id: store for store in observation.manifest.stores}
    if store_ids is None:
        return [store for store in stores.values() if not store.deleted]
    for store_id in store_ids:
        if store_id not in stores:
            raise UsageError(f"store '{store_id}'", "there is no such store", "see `stores list` for the ids")
    return [stores[store_id] for store_id in dict.fromkeys(store_ids)]


def _in_the_way(observation: Observation, store: Store) -> Iterator[Problem]:
    """Yield what keeps the store from a change of its image alone."""
    where = f"store '{store.id}'"
    if store.deleted:
        yield Problem(where, "it is marked for removal", "take that back with `stores undelete` first")
        return
    applied = observation.applied(store.id)
    if applied is None:
        yield Problem(where, "it was never brought up", "run `stores up` first")
        return
    closed = observation.closed.get(store.id)
    if closed is not None:
        yield Problem(where, closed.reason, closed.cure(store.id))
    held = observation.held.get(store.id)
    if held is not None and not observation.overwrite_held:
        yield Problem(
            where, held.reason, "look at it, then pass --overwrite-drift, or change its block and `stores up`"
        )
    if digest := applied["release"]["values"]["image"].get("digest"):
        yield Problem(where, f"its image is pinned by digest {digest}, which wins over any tag", "change image.digest")
    other = [change.path for change in changes(applied, observation.desired[store.id]) if change.path != _TAG]
    if other:
        yield Problem(where, f"other changes wait for it: {', '.join(other)}", "run `stores up` first")


def _runs(observation: Observation, store: Store, tag: str) -> bool:
    """Return whether the store is at the tag, in order, and the manifest says so."""
    row = observation.rows.get(store.id)
    wanted = observation.desired[store.id].release.values["image"]["tag"]
    at_it = running_tag(observation, store.id) == tag == wanted
    return at_it and store.id not in observation.held and row is not None and row.status == "Ready"


def _batches(
    observation: Observation, steps: Sequence[Step], canary: str | None, parallel: int
) -> Iterator[tuple[Step, ...]]:
    """Yield one store alone, then a few at a time, in the manifest's order: so those of a cell go together."""
    if canary is not None and canary not in {step.store_id for step in steps}:
        raise UsageError("--canary", f"store '{canary}' is not among those to upgrade", "name one of them")
    if not steps:
        return
    first = next((step for step in steps if step.store_id == (canary or _first_ready(observation, steps))), steps[0])
    yield (first,)
    rest = [step for step in steps if step is not first]
    for start in range(0, len(rest), parallel):
        yield tuple(rest[start : start + parallel])


def _first_ready(observation: Observation, steps: Iterable[Step]) -> str | None:
    """Return a store that is well: one that is broken already would tell nothing about the image."""
    rows = observation.rows
    return next((step.store_id for step in steps if (row := rows.get(step.store_id)) and row.status == "Ready"), None)


def _earlier(cluster: Cluster, store_id: str, number: int | None, now: str) -> RevisionContent:
    namespace, release = naming.namespace(store_id), naming.release(store_id)
    history = cluster.revisions(namespace, release)
    where = f"store '{store_id}'"
    if number is not None:
        known = {revision.number: revision for revision in history}
        if number not in known:
            told = ", ".join(str(revision.number) for revision in history) or "none"
            raise UsageError(where, f"Helm has no revision {number} of it; it has {told}", "name one of these")
        if not known[number].was_live:
            raise RefusedError(
                where, f"revision {number} is {known[number].status}: it never ran", "name one that was deployed"
            )
        found = cluster.revision(namespace, release, number)
        if found is None:
            raise UsageError(where, f"Helm has just forgotten revision {number}", "run the command again")
        return found
    for revision in reversed(history[:-1]):
        found = cluster.revision(namespace, release, revision.number) if revision.was_live else None
        if found is not None and found.image_tag not in (None, now):
            return found
    raise UsageError(
        where, f"none of its {len(history)} Helm revisions ran another image than {now}", "use `stores upgrade`"
    )
