"""What the engine says when it fails as a whole, in our own words: what is wrong, and what to do."""

from __future__ import annotations

import re

from pulumi.automation.errors import CommandError, ConcurrentUpdateError

from audit.engine.locks import EngineLockedError, holders_in
from components import naming
from stacks.errors import ClusterUnreachableError, StoresError
from stacks.settings import settings_file


def translated(error: CommandError, environment: str, cell: str, messages: tuple[str, ...] = ()) -> StoresError:
    """Return the engine's failure as one clear sentence of ours; `messages` are its errors that belong to no store."""
    text = str(error)
    where = f"stack {naming.stack(environment, cell)}"
    if isinstance(error, ConcurrentUpdateError) or "currently locked" in text:
        return EngineLockedError(where, holders_in(text))
    if "incorrect passphrase" in text or "passphrase must be set" in text:
        return ClusterUnreachableError(
            where,
            "the passphrase does not open the state",
            "set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE to the one it was made with; a plain "
            f"`pulumi` also reads the encryptionsalt line of {settings_file(environment)}",
        )
    plugin = re.search(r"no (?:resource|language) plugin '(?:pulumi-resource-|pulumi-language-)?([^']+)'", text)
    if plugin or "could not load plugin" in text:
        return ClusterUnreachableError(
            "engine",
            f"the plugin {plugin.group(1) if plugin else 'for a resource'} is missing",
            "run `pulumi plugin install` where the internet can be reached, or `make up` for the sandbox",
        )
    detail = messages or tuple(line for line in text.splitlines() if line.strip().startswith("error:"))
    shown = " ".join(" ".join(detail).split()) or " ".join(text.split())[-600:]
    return ClusterUnreachableError(where, f"the engine failed: {shown}", "run `stores doctor`, then again")
