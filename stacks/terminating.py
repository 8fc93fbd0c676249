"""What holds a namespace that is to go: the very objects, and the finalizers that somebody must take off them.

The cluster itself counts them by kind only. Nothing here raises: what cannot be read is told in the cluster's words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

MOST_NAMED: Final = 5
# As the namespace controller writes it: `configmaps. has 1 resource instances, widgets.example.com has 2 ...`.
_REMAINING: Final = re.compile(r"([a-z0-9-]+)\.([a-z0-9.-]*) has \d+ resource instances")
_CONTENT: Final = "NamespaceContentRemaining"
_FINALIZERS: Final = "NamespaceFinalizersRemaining"


def holders(api_client: Any, namespace: Any) -> tuple[str, ...]:
    """Return one sentence per holder of a terminating namespace, the most telling first."""
    if namespace.metadata.deletion_timestamp is None:
        return ()
    own = [f"it has the finalizer {name} itself" for name in namespace.metadata.finalizers or ()]
    conditions = [found for found in namespace.status.conditions or () if found.status == "True" and found.message]
    named: list[str] = []
    for condition in conditions:
        if condition.type == _CONTENT:
            named += _named(api_client, namespace.metadata.name, condition.message)
    # Where the objects are named, their number says no more.
    counted = (_CONTENT, _FINALIZERS) if named else ()
    rest = [" ".join(found.message.split()) for found in conditions if found.type not in counted]
    return (*named, *own, *rest)


def remaining(message: str) -> list[tuple[str, str]]:
    """Return plural and group of each kind that a namespace's condition counts; the core group is ""."""
    return [(plural, group) for plural, group in _REMAINING.findall(message)]


def _named(api_client: Any, namespace: str, message: str) -> list[str]:
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415 - slow to load; see stacks.cluster
    from kubernetes.dynamic.exceptions import DynamicApiError, ResourceNotFoundError  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        found = [
            name for plural, group in remaining(message) for name in _objects(api_client, namespace, plural, group)
        ]
    except (ApiException, DynamicApiError, ResourceNotFoundError, HTTPError, OSError):
        return []
    more = [f"and {len(found) - MOST_NAMED} more"] if len(found) > MOST_NAMED else []
    return found[:MOST_NAMED] + more


def _objects(api_client: Any, namespace: str, plural: str, group: str) -> Iterator[str]:
    from kubernetes import dynamic  # noqa: PLC0415

    resources = dynamic.DynamicClient(api_client).resources.search(  # type: ignore[no-untyped-call]
        group=group, name=plural
    )
    if not resources:
        return
    for item in resources[0].get(namespace=namespace).items:
        finalizers = ", ".join(item.metadata.finalizers or ())
        held = f"is held by finalizer {finalizers}" if finalizers else "is still there"
        yield f"{plural}/{item.metadata.name} {held}"
