"""Who may pass a limit or purge the audit log: the people that `stores:admins` names, and nobody else.

Fail closed: where no admin is named, there is none. The list is in the settings file, which changes by pull request.
"""

from __future__ import annotations

from collections.abc import Collection

from audit.records import Actor
from stacks.errors import RefusedError


def require(admins: Collection[str], actor: Actor, what: str, where: str) -> None:
    """Return if the actor is an admin. Raises RefusedError, which says what was asked and who may."""
    if actor.name in admins:
        return
    known = ", ".join(sorted(admins)) or "nobody"
    raise RefusedError(
        where,
        f"'{actor.name}' may not {what}; in this environment, {known} may",
        "ask one of them, or name an admin under `stores:admins` in the environment's settings file",
    )
