"""Short ways to the values that tests of the ledger are made of."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from audit.database import Database
from audit.ledger import Ledger
from audit.limits import Limits, OwnerLimits
from audit.migrations import migrate
from audit.records import Actor, Admission, Change, Holder, RunRequest, Status, StoreOutcome

ENVIRONMENT = "prod"
ALICE = Actor("alice", "user")
ROBOT = Actor("robot", "ci", "192.0.2.7")

DEFAULTS = Limits()

_numbers = itertools.count(1)


def change(store_id: str, owner: str = "alice", action: str = "store.create", **values: Any) -> Change:
    return Change(store_id, values.pop("name", store_id), owner, values.pop("cell", "01"), action, **values)


def creations(count: int, owner: str = "alice", *, begin: int = 0) -> list[Change]:
    return [change(f"{owner}-{number:03}", owner) for number in range(begin, begin + count)]


def request(
    changes: Sequence[Change],
    *,
    limits: Limits = DEFAULTS,
    owner_limits: Mapping[str, OwnerLimits] | None = None,
    **values: Any,
) -> RunRequest:
    given: dict[str, Any] = {"run_id": f"run-{next(_numbers)}", "environment": ENVIRONMENT, "actor": ALICE} | values
    return RunRequest(limits=limits, owner_limits=owner_limits or {}, changes=changes, **given)


def outcomes(
    admission: Admission, status: Status = "Ready", outcome: str = "success", **values: Any
) -> list[StoreOutcome]:
    return [StoreOutcome(item.store_id, outcome, status, **values) for item in admission.admitted]  # type: ignore[arg-type]


def create(ledger: Ledger, count: int, owner: str = "alice", *, begin: int = 0, limits: Limits | None = None) -> None:
    """Leave `count` stores Ready that were admitted at the ledger's present time."""
    wish = request(creations(count, owner, begin=begin), limits=limits or Limits(100, 100, 3600, 1000))
    ledger.settle(wish.run_id, outcomes(ledger.admit(wish)))


def holder(run_id: str, name: str = "alice") -> Holder:
    return Holder(Actor(name, "user"), "laptop", 4711, run_id)


def used(ledger: Ledger, owner: str = "alice", environment: str = ENVIRONMENT) -> int:
    """Return the owner's slots in use as people see them."""
    usage = ledger.usage(environment, Limits(), {owner: OwnerLimits()})
    return next(item.used for item in usage.owners if item.owner == owner)


def claim_revision(ledger_url: str, revision: str) -> None:
    """Leave a database with our schema, which says that it is of another revision."""
    migrate(ledger_url)
    database = Database(ledger_url)
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")  # noqa: S608
    database.close()
