"""How to sign in to a store as its administrator. Nobody reads that without a trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from audit.ledger import Ledger
from audit.records import STORE_CREDENTIALS_READ, Actor, NewEntry
from components import naming
from stacks.cluster import Cluster
from stacks.errors import UsageError

ADMIN_USER: Final = "admin"


@dataclass(frozen=True)
class Credentials:
    """How to sign in to a store as its administrator."""

    store_id: str
    url: str
    user: str
    password: str


def read(environment: str, store_id: str, *, ledger: Ledger, cluster: Cluster, actor: Actor) -> Credentials:
    """Return how to sign in to a store. The reading is on record before the password is returned."""
    row = next((row for row in ledger.stores(environment) if row.store_id == store_id), None)
    if row is None:
        raise UsageError(f"store '{store_id}'", "there is no such store", "see `stores list` for the ids")
    secret = cluster.secret(naming.namespace(store_id), naming.credentials_secret(store_id))
    if secret is None or "wordpress-password" not in secret:
        raise UsageError(f"store '{store_id}'", f"it has no credentials yet (it is {row.status})", "run `stores up`")
    ledger.record(
        NewEntry(
            actor=actor,
            action=STORE_CREDENTIALS_READ,
            outcome="success",
            environment=environment,
            store_id=store_id,
            owner=row.owner,
        )
    )
    return Credentials(store_id, f"{row.url or ''}/wp-admin/", ADMIN_USER, secret["wordpress-password"])
