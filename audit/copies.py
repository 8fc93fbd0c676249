"""What of a store's block in the manifest goes into the block of a new store that gets its data.

Each key of a block is either copied or the new store's own; docs/backup.md has the reasons. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stacks.manifest import Store

COPIED: Final = frozenset(
    {
        "title", "adminEmail", "web", "database", "uploads", "image", "https", "country", "currency", "locale",
        "timezone", "plugins", "themes", "wpContent",
    }
)  # fmt: skip
"""What makes a shop that shop: its data was made by this code, for these customers, and fits into these volumes."""
OWN: Final = frozenset({"id", "name", "owner", "cell", "state", "domains"})
"""What says which store it is, where it stands, and whether it is to go; two stores cannot share a domain."""

_STORE_KEYS: Final = ("title", "adminEmail", "country", "currency", "locale", "timezone")


def of_store(store: Store, contact: str, *, same_owner: bool) -> dict[str, Any]:
    """Return the keys for a copy of a store that the manifest has.

    `contact` is its owner's. The administrator's address is the merchant's own, so it goes to no other owner, who has
    a contact too.
    """
    return _fit(store.spec(), contact, same_owner=same_owner)


def of_backup(
    values: Mapping[str, Any], environment: Mapping[str, Any], contact: str | None, *, same_owner: bool
) -> dict[str, Any]:
    """Return the keys for a copy of a store that is known from its backup alone.

    `values` are those of the chart that the backup tells, `environment` the environment's: what is the same there
    comes from there again. `contact` is the owner's, None where there is no such owner any more.
    """
    usual = _keys(environment)
    found: dict[str, Any] = {}
    for key, value in _keys(values).items():
        below = usual[key]
        own = (
            {name: each for name, each in value.items() if each != below.get(name)}
            if isinstance(value, dict)
            else value
        )
        if own and own != below:
            found[key] = own
    if environment["database"]["external"]["host"]:
        # Here it has no server of its own that could have a size.
        found.pop("database", None)
    return _fit(found, contact, same_owner=same_owner)


def _fit(keys: Mapping[str, Any], contact: str | None, *, same_owner: bool) -> dict[str, Any]:
    left_out = set() if same_owner and keys.get("adminEmail") != contact else {"adminEmail"}
    return {key: value for key, value in keys.items() if key in COPIED - left_out}


def _keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return chart values by the manifest's keys: `stacks.desired.store_values`, read backwards."""

    def at(*path: str) -> Any:
        found: Any = values
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    sizes = {
        "web": {"cpu": at("web", "resources", "limits", "cpu"), "memory": at("web", "resources", "limits", "memory")},
        "database": {
            "cpu": at("database", "resources", "limits", "cpu"),
            "memory": at("database", "resources", "limits", "memory"),
            "storage": at("database", "storage", "size"),
        },
        "uploads": {"storage": at("uploads", "size")},
        "image": {"tag": at("image", "tag")},
    }
    keys: dict[str, Any] = {key: at("store", key) for key in _STORE_KEYS}
    for key, part in sizes.items():
        keys[key] = {name: str(value) for name, value in part.items() if value is not None}
    packages = {key: [dict(each) for each in at(key) or ()] for key in ("plugins", "themes")}
    https = at("ingress", "scheme") == "https"
    return {**keys, **packages, "wpContent": at("wpContent", "mode"), "https": https}
