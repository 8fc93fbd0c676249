"""What a shop says of its database: which versions it is at, which its code needs, and what is still to be updated.

Asked in the shop's own pod by a script of the chart that prints one JSON document and changes nothing. The updates
themselves are the pods' own work (charts/store/files/schema), so that they happen after a plain `helm upgrade` too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from components import naming
from stacks.cluster import Cluster
from stacks.errors import ClusterUnreachableError

_CONTAINER: Final = "cron"
_COMMAND: Final = ("php", "/etc/store/schema/state.php")


@dataclass(frozen=True)
class Schema:
    """One look. `wordpress` is the database's number, `code_wordpress` the one that the newest pod's code needs.

    `pending`: what is older than the code, in words. `waits_for`: pods of another version that may still serve.
    `images`: by image tag, the number that its code needs, of every image that has run in this shop.
    """

    image: str
    wordpress: int | None
    code_wordpress: int
    woocommerce: str | None
    pending: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    failure: str | None = None
    images: Mapping[str, int] = field(default_factory=dict)
    woocommerce_of: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def told(self) -> dict[str, Any]:
        """Return what the audit log keeps of it."""
        return {"wordpress_db": self.wordpress, "woocommerce": self.woocommerce}

    @property
    def stage(self) -> str:
        """Return what tells one stage of an update from the next: not how long ago a pod was seen."""
        return f"{self.pending} {[pod.partition(' ')[0] for pod in self.waits_for]}"

    @property
    def progress(self) -> str:
        """Return in words what is still to come."""
        what = f"the database is still to be updated ({', '.join(self.pending)})"
        if self.waits_for:
            return f"{what}, once these pods of another version are surely gone: {', '.join(self.waits_for)}"
        return what


def ask(cluster: Cluster, store_id: str) -> Schema | None:
    """Return what the shop's newest ready pod says; None where none can be asked, or the chart has no such script."""
    namespace = naming.namespace(store_id)
    selector = f"app.kubernetes.io/instance={naming.release(store_id)},app.kubernetes.io/component=wordpress"
    try:
        said = cluster.execute(namespace, selector, _CONTAINER, _COMMAND)
    except ClusterUnreachableError:
        return None
    return None if said is None else read(said)


def read(said: str) -> Schema | None:
    """Return what the script's output says; None where it is not the script's."""
    try:
        document = json.loads(said.strip().splitlines()[-1])
        return Schema(
            image=document["image"],
            wordpress=document["database"]["wordpress_db"],
            code_wordpress=document["code"]["wordpress_db"],
            woocommerce=document["database"]["woocommerce_db"] or document["database"]["woocommerce"],
            pending=tuple(document["pending"]),
            waits_for=tuple(
                f"{pod['pod']} ({pod['wordpress']}, seen {pod['seen_s_ago']} s ago)" for pod in document["waits_for"]
            ),
            failure=document["failure"],
            images={one["image"]: one["wordpress_db"] for one in document["images"]},
            woocommerce_of={one["image"]: one["woocommerce"] for one in document["images"]},
        )
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def crossing(schema: Schema | None, tag: str) -> str | None:
    """Return why an image cannot be gone back to without the database of its time; None where it can.

    What is not known is not risked.
    """
    if schema is None:
        return "the shop cannot be asked which version its database is at"
    if tag not in schema.images:
        return f"which database image {tag} needs is not known: it has never run in this shop"
    if schema.wordpress is not None and schema.wordpress > schema.images[tag]:
        return f"the database was updated since, from WordPress {schema.images[tag]} to {schema.wordpress}"
    older = schema.woocommerce_of.get(tag)
    if schema.woocommerce is not None and older is not None and _numbers(schema.woocommerce) > _numbers(older):
        return f"the database was updated since, from WooCommerce {older} to {schema.woocommerce}"
    return None


def behind(schema: Schema | None, tag: str) -> str | None:
    """Return why an image is older than the database, where that is known; None where it is not, or is not known."""
    return crossing(schema, tag) if schema is not None and tag in schema.images else None


def too_new(schema: Schema | None, made_with: str, tag: str) -> str | None:
    """Return why data that was made with one image is not for the code of another, an older one; None where it is.

    By the numbers of both where the shop knows them, else by the versions that the tags begin with, if they do. Newer
    code updates older data by itself; older code breaks newer data.
    """
    if made_with == tag:
        return None
    if schema is not None and {made_with, tag} <= schema.images.keys():
        theirs, ours = schema.images[made_with], schema.images[tag]
        if theirs > ours:
            return f"its database is at WordPress {theirs}, and image {tag} needs {ours}"
        one, other = (schema.woocommerce_of.get(image) for image in (made_with, tag))
        if one is not None and other is not None and _numbers(one) > _numbers(other):
            return f"its database is at WooCommerce {one}, and image {tag} needs {other}"
        return None
    theirs_by_tag, ours_by_tag = _numbers(made_with), _numbers(tag)
    if ours_by_tag and theirs_by_tag > ours_by_tag:
        return f"it was made with image {made_with}, which is newer than {tag}"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, without what follows a hyphen."""
    return tuple(int(part) for part in version.partition("-")[0].split(".") if part.isdigit())
