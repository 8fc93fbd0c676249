"""Who may pass a limit or purge the audit log: the people that `stores:admins` names, and nobody else.

Fail closed: where no admin is named, there is none. The list is in the settings file, which changes by pull request.
A name without a kind is a user of the operating system; `ci:NAME` is who CI says that it runs for.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from audit.records import Actor, NewEntry
from stacks.errors import RefusedError

if TYPE_CHECKING:
    from audit.ledger import Ledger


def require(admins: Collection[str], what: str, asked: NewEntry, ledger: Ledger) -> None:
    """Return if the actor of `asked` is an admin. Raises RefusedError, which says what was asked and who may.

    A refusal is on record first: `asked`, with the outcome denied. Where that cannot be written, the error is that.
    """
    actor = asked.actor
    if is_admin(admins, actor):
        return
    known = ", ".join(sorted(admins)) or "nobody"
    who = f"'{actor.name}'" if actor.kind == "user" else f"'{actor.kind}:{actor.name}'"
    refused = RefusedError(
        f"environment {asked.environment}",
        f"{who} may not {what}; in this environment, {known} may",
        "ask one of them, or name an admin under `stores:admins` in the environment's settings file",
    )
    ledger.record(asked)
    raise refused


def is_admin(admins: Collection[str], actor: Actor) -> bool:
    """Return whether the list names the actor, of the actor's kind: what CI claims is never a user's name.

    Nobody of a shop is ever an admin of the platform, whatever the list says.
    """
    if actor.kind == "shop":
        return False
    for entry in admins:
        kind, _, name = entry.rpartition(":")
        if (kind or "user", name) == (actor.kind, actor.name):
            return True
    return False
