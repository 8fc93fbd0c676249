"""What a change of MariaDB's image means for a store: a backup before it, and whether there is a way back from it.

A server of another series writes the system tables of its data anew when it first starts, and MariaDB supports no older
server on them (https://mariadb.com/kb/en/downgrading-between-major-versions-of-mariadb/). So nothing here guesses: an
image whose series cannot be read counts as another one, and a server of which nothing is known as one that has started.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from audit import live
from components import naming
from components.desired import DesiredStore
from stacks.cluster import Cluster
from stacks.errors import ClusterUnreachableError

_SERIES: Final = re.compile(r"(?:.*[^0-9.])?([0-9]+)\.([0-9]+)(?:\.[0-9]+)?(?:[^0-9.].*)?")


def series(reference: str) -> tuple[int, int] | None:
    """Return the series of an image's reference or tag, `11.8.6` is of (11, 8); None where it names none."""
    tag = reference.rpartition("/")[2].partition("@")[0].rpartition(":")[2]
    found = _SERIES.fullmatch(tag)
    return None if found is None else (int(found[1]), int(found[2]))


def reference(values: Mapping[str, Any]) -> str | None:
    """Return the database's image of a release's values, digest included; None where it has no server of its own."""
    database = values.get("database", {})
    image = database.get("image")
    if image is None or database.get("external", {}).get("host"):
        return None
    digest = f"@{image['digest']}" if image.get("digest") else ""
    return f"{image['tag']}{digest}"


def change(applied: Mapping[str, Any] | None, desired: DesiredStore) -> tuple[str, str] | None:
    """Return the database's image before and after, of a store whose server gets another one; else None."""
    before = None if applied is None else reference(applied["release"]["values"])
    after = reference(desired.release.values)
    return None if before is None or after is None or before == after else (before, after)


def same_series(before: str, after: str) -> bool:
    """Return whether two images surely are of one series, whose servers read each other's data."""
    return series(before) is not None and series(before) == series(after)


def no_way_back(
    cluster: Cluster, store_id: str, applied: Mapping[str, Any] | None, desired: DesiredStore
) -> str | None:
    """Return why a failed change of the store must not be taken back, or None where it may be.

    A server of the new series that has never started has changed nothing: its image could not be pulled, say.
    """
    changed = change(applied, desired)
    if changed is None or same_series(*changed):
        return None
    try:
        if not _has_started(cluster, store_id, changed[1]):
            return None
    except ClusterUnreachableError:
        pass  # what is not known is not risked
    return (
        f"it is not rolled back, since MariaDB {changed[1]} has worked on its data, which {changed[0]} cannot read; "
        "correct the cause and run `stores up` again"
    )


def running(cluster: Cluster, store_id: str) -> str | None:
    """Return the image of the store's database server that has started last, as the live objects say it, or None."""
    return next((server.image for server in _servers(cluster, store_id) if server.started), None)


def too_old(cluster: Cluster, store_id: str, desired: DesiredStore) -> str | None:
    """Return why the store's data cannot go to the wanted server: an older one than the one that runs; else None."""
    wanted, now = reference(desired.release.values), running(cluster, store_id)
    if wanted is None or now is None:
        return None
    to, at = series(wanted), series(now)
    if to is None or at is None or to >= at:
        return None
    has, back = f"{at[0]}.{at[1]}", f"`stores restore {store_id} --as NAME`"
    return (
        f"its data is that of MariaDB {has}, which {wanted} cannot read; name an image of {has} or newer in "
        f"database.image, or take its data to a new store by {back}"
    )


def serves(cluster: Cluster, store_id: str) -> bool:
    """Return whether the store's database server runs and can be dumped."""
    return any(server.ready for server in _servers(cluster, store_id))


def _has_started(cluster: Cluster, store_id: str, image: str) -> bool:
    found = live.read(cluster, "apps/v1", "StatefulSet", naming.namespace(store_id), f"{store_id}-mariadb")
    if found is None:
        return True  # somebody removed it, perhaps after it had started
    asked_for = str(found["spec"]["template"]["spec"]["containers"][0]["image"])
    if not asked_for.endswith(f":{image}"):
        return False  # the release failed before it came to the server
    theirs = [server for server in _servers(cluster, store_id) if server.image.endswith(f":{image}")]
    return not theirs or any(server.started for server in theirs)


@dataclass(frozen=True)
class _Server:
    """A pod of the store's database: the image that its spec names, whether it has ever started, whether it serves."""

    image: str
    started: bool
    ready: bool


def _servers(cluster: Cluster, store_id: str) -> list[_Server]:
    found = []
    for pod in live.pods(cluster, naming.namespace(store_id), {"app.kubernetes.io/component": "mariadb"}):
        image = next(str(one.image) for one in pod.spec.containers if one.name == "mariadb")
        status = next((one for one in pod.status.container_statuses or () if one.name == "mariadb"), None)
        states = () if status is None else (status.state, status.last_state)
        started = any(state is not None and (state.running or state.terminated) is not None for state in states)
        found.append(_Server(image, started, ready=status is not None and bool(status.ready)))
    return found
