"""What a killed engine has made of a store and could not note: it is read into the state before the next one works.

An engine notes an object when the API server has answered; killed in between, the object is there and its state knows
nothing of it. Making it again is refused ("it exists already"), for good. So the next run takes it over as it is, and
then brings it to what is wanted. Taken over is only what bears the store's own labels, of a store whose last run broke
off in this very cluster. Never a credentials Secret whose generated values the state has lost: new ones would lock the
shop out of its database; that is what `stores reconcile --import` is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from audit import live
from audit.context import RunContext
from audit.engine.state import name_of
from audit.observation import Observation
from audit.phases import orphans
from audit.records import BROKE_OFF
from components import desired, naming

_OURS: Final = ("stores.platform/store", "stores.platform/environment")
_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    desired.NAMESPACE: ("v1", "Namespace"),
    desired.QUOTA: ("v1", "ResourceQuota"),
    desired.LIMITS: ("v1", "LimitRange"),
    desired.SERVICE_ACCOUNT: ("v1", "ServiceAccount"),
    desired.CREDENTIALS: ("v1", "Secret"),
    **dict.fromkeys(desired.POLICY_PARTS, ("networking.k8s.io/v1", "NetworkPolicy")),
}


def parts(
    context: RunContext, observation: Observation, cell: str, store_ids: Iterable[str]
) -> dict[str, frozenset[str]]:
    """Return the parts of each store that exist and that the cell's state lacks. Only under the cell's lease."""
    noted = observation.snapshots[cell].urns
    found: dict[str, frozenset[str]] = {}
    for store_id in store_ids:
        row = observation.rows.get(store_id)
        if row is None or row.status not in BROKE_OFF or orphans.elsewhere(context, cell) is not None:
            continue
        known = {name_of(urn) for urn in noted.get(store_id, ())}
        lacking = {part for part in desired.PARTS if naming.logical_name(store_id, part) not in known}
        exist = {
            part for part in desired.LIVE_PARTS if part in lacking and _exists(context, observation, store_id, part)
        }
        if not exist or (desired.CREDENTIALS in exist and not lacking.isdisjoint(desired.RANDOM_PARTS)):
            continue
        context.tell(store_id, f"a killed run has made and not noted: {', '.join(sorted(exist))}; taken over as it is")
        found[store_id] = frozenset(exist)
    return found


def _exists(context: RunContext, observation: Observation, store_id: str, part: str) -> bool:
    """Return whether the part exists and is the store's own."""
    if part == desired.RELEASE:
        revisions = context.cluster.revisions(naming.namespace(store_id), naming.release(store_id))
        return bool(revisions) and not revisions[-1].status.startswith("pending-")
    wanted = observation.desired[store_id].objects.get(part)
    if wanted is None:
        return False
    where = wanted["metadata"]
    found = live.read(context.cluster, *_KINDS[part], where.get("namespace", ""), where["name"])
    # What is being deleted is not there for long: who takes it over loses it.
    return found is not None and "deletionTimestamp" not in found["metadata"] and _labels(found) == _labels(wanted)


def _labels(thing: Mapping[str, Any]) -> list[str | None]:
    labels = thing["metadata"].get("labels") or {}
    return [labels.get(name) for name in _OURS]
