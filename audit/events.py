"""What happened outside of the platform's own runs, as entries of the audit log: events of shops, and sign-ins.

Whoever receives them hears some of them twice, so each has an id that follows from what it is: recorded again, it is
the entry that is there (`Ledger.record`). Nothing is invented: who is not known is not named, and an address that was
not told stays empty.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from audit.records import SESSION_SIGN_IN, SESSION_SIGN_OUT, Actor, Metadata, NewEntry, Outcome

_IDS: Final = uuid.UUID("0d9f6a5e-6f0b-5c5e-9f0a-3f5f2c1b7a44")
"""The namespace of the ids below. It never changes: an event that comes again must have the id that it had."""


@dataclass(frozen=True)
class OutsideEvent:
    """An entry to be written once, however often it is told of: `ledger.record(event.entry, event.entry_id)`."""

    entry_id: str
    entry: NewEntry


def entry_id(*told: str) -> str:
    """Return the id of an entry that stands for `told`: always the same for the same, and for nothing else."""
    # As JSON no part can borrow from its neighbour, and what is no UTF-8 text has a form too.
    return str(uuid.uuid5(_IDS, json.dumps(told)))


def shop_user(store_id: str, login: str | None, source_ip: str | None = None) -> Actor:
    """Return who did something in a shop; login None: nobody was signed in, or the shop does not say who it was.

    A shop's users are its own: the `admin` of one is neither the `admin` of another nor anybody of the platform's. So
    they have a kind of their own, and a name that no user of the platform can have, also where only names are shown.
    """
    return Actor(f"{store_id}/{login}" if login else store_id, "shop", source_ip)


def product_change(
    environment: str,
    store_id: str,
    action: str,
    *,
    told: tuple[str, ...],
    occurred_at: datetime,
    owner: str | None = None,
    login: str | None = None,
    source_ip: str | None = None,
    outcome: Outcome = "success",
    metadata: Metadata | None = None,
) -> OutsideEvent:
    """Return what a shop says of one of its products; `action` is one of the product actions of `audit.records`.

    `told` is what tells one message of this shop from another: the event's id; or of WooCommerce's own webhooks, which
    have none, the webhook's id, the delivery's id and the body's SHA-256 (docs/events.md).
    """
    entry = NewEntry(
        shop_user(store_id, login, source_ip),
        action,
        outcome,
        environment=environment,
        store_id=store_id,
        owner=owner,
        metadata=metadata or {},
        occurred_at=occurred_at,
    )
    return OutsideEvent(entry_id("product", environment, store_id, *told), entry)


def sign_in(
    environment: str,
    actor: Actor,
    request_id: str,
    outcome: Outcome,
    *,
    occurred_at: datetime,
    reason: str | None = None,
    metadata: Metadata | None = None,
) -> OutsideEvent:
    """Return that somebody signed in, or tried: `denied` then, with the reason and the name that was claimed."""
    entry = NewEntry(
        actor,
        SESSION_SIGN_IN,
        outcome,
        environment=environment,
        reason=reason,
        metadata=metadata or {},
        occurred_at=occurred_at,
    )
    return OutsideEvent(entry_id(SESSION_SIGN_IN, environment, request_id), entry)


def sign_out(
    environment: str, actor: Actor, request_id: str, *, occurred_at: datetime, metadata: Metadata | None = None
) -> OutsideEvent:
    """Return that somebody's session has ended."""
    entry = NewEntry(
        actor,
        SESSION_SIGN_OUT,
        "success",
        environment=environment,
        metadata=metadata or {},
        occurred_at=occurred_at,
    )
    return OutsideEvent(entry_id(SESSION_SIGN_OUT, environment, request_id), entry)
