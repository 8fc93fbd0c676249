"""Names that the project has, for completion in a shell: from its files alone, and none from a wrong file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stacks.errors import StoresError

if TYPE_CHECKING:
    from cli.session import Session


def store_ids(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of the manifest that begin so. It reads nothing but that file, and never fails."""
    return _names(context, "stores.yaml", "stores", "id", incomplete)


def owners(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the owners that begin so."""
    return _names(context, "owners.yaml", "owners", "name", incomplete)


def cells(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the cells of the manifest that begin so."""
    return sorted(set(_names(context, "stores.yaml", "stores", "cell", incomplete)))


def actions(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the actions of the audit log that begin so: the names that its records give them."""
    from audit import records  # noqa: PLC0415 - `--help` must not load the ledger

    known = {value for name, value in vars(records).items() if name.isupper() and isinstance(value, str)}
    return sorted(value for value in known if "." in value and value.startswith(incomplete))


def environments(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the project's environments that begin so."""
    root = _root(context)
    found = () if root is None else (path.name.split(".")[1] for path in root.glob("Pulumi.*.yaml"))
    return sorted(name for name in found if name.startswith(incomplete))


def _names(context: click.Context, file: str, section: str, key: str, incomplete: str) -> list[str]:
    root = _root(context)
    if root is None:
        return []
    environment = _session(context).environment
    try:
        document: Any = YAML(typ="safe", pure=True).load(root / "stacks" / environment / file)
        found = [str(block[key]) for block in document[section] if key in block]
    except (OSError, YAMLError, KeyError, TypeError):
        return []
    return [name for name in found if name.startswith(incomplete)]


def _session(context: click.Context) -> Session:
    from cli.session import Session  # noqa: PLC0415 - that module's options complete by this one

    session = context.find_object(Session) or Session()
    if session.environment == Session().environment:
        session.environment = os.environ.get("STORES_ENV") or session.environment
    given = context.find_root().params.get("root")
    session.root_option = Path(given) if given else None
    return session


def _root(context: click.Context) -> Path | None:
    try:
        return _session(context).root
    except StoresError:
        return None
