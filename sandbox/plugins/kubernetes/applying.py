"""Server-side apply: making an object that must not exist, changing one that must, and trying either out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sandbox.plugins.difference import Change, differences, parse
from sandbox.plugins.failures import PluginError
from sandbox.plugins.kubernetes import inputs as forms
from sandbox.plugins.kubernetes import refusals
from sandbox.plugins.kubernetes.client import ApiError
from sandbox.plugins.kubernetes.cluster import Cluster
from sandbox.plugins.kubernetes.kinds import Resource
from sandbox.plugins.kubernetes.ownership import owns
from sandbox.plugins.kubernetes.subject import Subject

# Any version will do that no object has: the API server takes an apply with a version for an object that does not
# exist, and refuses it for one that does. So creating cannot take an object over, not even in a race.
_NO_VERSION: Final = "1"
_IDENTITY: Final = ("name", "namespace", "uid")
# A namespace or a definition that another resource of the same run is making may come a moment later.
_PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0)


def make(cluster: Cluster, subject: Subject) -> tuple[Resource, dict[str, Any]]:
    """Return the object, which is new. Raises PluginError where one of its name exists."""
    document, force = subject.document, forces(cluster, subject)
    if not cluster.is_on("upsertExistingObjects"):
        # Nothing can be in the way of an object that is new, and an old one is to be called just that.
        document, force = _without_existing(document), True
    for pause_s in (*_PAUSES_S, None):
        resource = cluster.discovery.find(subject.kind)
        try:
            if resource is not None:
                path = resource.path(subject.namespace, subject.name)
                return resource, cluster.client.apply(path, document, manager=subject.manager, force=force)
        except ApiError as error:
            if refusals.is_taken(error):
                raise PluginError(refusals.exists(subject)) from error
            if error.status != 404 or pause_s is None:
                raise
        if pause_s is not None:
            cluster.client.sleep(pause_s)
    raise PluginError("the API server has no such kind; create its definition first")


def try_making(cluster: Cluster, subject: Subject) -> dict[str, Any] | None:
    """Return how the object would be, or None where only the real run can tell. Raises as `make`."""
    resource = cluster.discovery.find(subject.kind)
    if resource is None:
        return None
    path = resource.path(subject.namespace, subject.name)
    document = _without_existing(subject.document)
    try:
        return cluster.client.apply(path, document, manager=subject.manager, force=True, dry_run=True)
    except ApiError as error:
        # Its namespace comes with the same run, or this user may not try it.
        if error.status == 404 or error.reason in ("Forbidden", "MethodNotAllowed"):
            return None
        raise


def change(
    cluster: Cluster, subject: Subject, state: Mapping[str, Any], *, ignored: Iterable[str], dry_run: bool
) -> tuple[Resource, dict[str, Any]]:
    """Return the very object of `state`, changed. Fields at `ignored` stay as they are."""
    resource = cluster.discovery.require(subject.kind)
    path = resource.path(subject.namespace, subject.name)
    document = dict(subject.document)
    uid = forms.metadata(state).get("uid")
    if uid:
        # Otherwise an apply would quietly make an object that somebody has deleted.
        document["metadata"] = {**document.get("metadata", {}), "uid": uid}
    paths = [parse(text) for text in ignored]
    if paths:
        live = cluster.client.get(path)
        for ignored_path in paths:
            _follow_live(document, live, ignored_path, subject.manager)
    force = forces(cluster, subject)
    return resource, cluster.client.apply(path, document, manager=subject.manager, force=force, dry_run=dry_run)


def would_change(
    cluster: Cluster, subject: Subject, state: Mapping[str, Any], *, ignored: Iterable[str]
) -> list[Change]:
    """Return what a change would do to the object of `state`, as the API server says."""
    _, after = change(cluster, subject, state, ignored=ignored, dry_run=True)
    return list(differences(_content(state), _content(after)))


def _content(live: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an object says, without who said it and when."""
    metadata = {name: value for name, value in live["metadata"].items() if name not in forms.SERVER_METADATA}
    return {**{name: value for name, value in live.items() if name != "status"}, "metadata": metadata}


def forces(cluster: Cluster, subject: Subject) -> bool:
    """Say whether fields that somebody else has set are to be taken over."""
    return subject.is_on(forms.PATCH_FORCE) or cluster.is_on("enablePatchForce")


def _without_existing(document: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {**document.get("metadata", {}), "resourceVersion": _NO_VERSION}
    return {**document, "metadata": metadata}


def _follow_live(document: dict[str, Any], live: Mapping[str, Any], path: tuple[str | int, ...], manager: str) -> None:
    """Make `document` say at `path` what is live if we set that field, and nothing if somebody else did."""
    names = [segment for segment in path if isinstance(segment, str)]
    if not names or len(names) != len(path) or "*" in names:
        return  # items of lists have no fixed place
    *parents, last = names
    target: Any = document
    found: Any = live
    for name in parents:
        target = target.get(name) if isinstance(target, dict) else None
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(target, dict) or not isinstance(found, dict) or last not in found:
        return
    managed = live["metadata"].get("managedFields") or ()
    owned = owns(managed, manager, names)
    if names == ["metadata"]:
        # An apply names its object, and is refused with what only the server sets.
        identity = {name: value for name, value in target[last].items() if name in _IDENTITY}
        target[last] = (_content(live)[last] if owned else {}) | identity
    elif owned:
        target[last] = found[last]
    else:
        target.pop(last, None)
