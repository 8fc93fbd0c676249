"""A lost state, rebuilt from the live objects.

Everything but the generated passwords is imported by the engine itself. Those are planted into the empty state first,
read from the live Secret: imported by the engine, they would stay in the state in the clear, as the import's id.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final

from components import desired, naming

# How the engine's state marks a value that is to be encrypted when it is imported.
# Source: sdk/go/common/resource/sig/sig.go, and `pulumi stack export --show-secrets`.
_SIGNATURE_KEY: Final = "4dabf18193072939515e22adb298388d"
_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the mark of a secret, not one

_PASSWORD_TYPE: Final = "random:index/randomPassword:RandomPassword"  # noqa: S105
_STACK_TYPE: Final = "pulumi:pulumi:Stack"
_PROVIDER_TYPE: Final = "pulumi:providers:random"

Resource = dict[str, Any]


def generated_values(secret: Mapping[str, str]) -> dict[str, str] | None:
    """Return the generators' values by part, of a live credentials Secret; None when a key is missing."""
    passwords = [part for part in desired.RANDOM_PARTS if part != desired.SALTS]
    if any(key not in secret for key in (*passwords, *desired.SALT_KEYS)):
        return None
    return {
        **{part: secret[part] for part in passwords},
        desired.SALTS: "".join(secret[key] for key in desired.SALT_KEYS),
    }


def planted(stack: str, values: Mapping[str, Mapping[str, str]]) -> list[Resource]:
    """Return the state's resources for the generators of stores, by store id and part; parents come first.

    The values are marked as secrets: the engine encrypts them when it takes the state in.
    """
    prefix = f"urn:pulumi:{stack}::{naming.PROJECT}::"
    root = f"{prefix}{_STACK_TYPE}::{naming.PROJECT}-{stack}"
    version = metadata.version("pulumi-random")
    provider_id = str(uuid.uuid4())
    provider = f"{prefix}{_PROVIDER_TYPE}::default_{version.replace('.', '_')}"
    resources: list[Resource] = [
        {"urn": root, "custom": False, "type": _STACK_TYPE},
        {
            "urn": provider,
            "custom": True,
            "id": provider_id,
            "type": _PROVIDER_TYPE,
            "inputs": {"version": version},
            "outputs": {"version": version},
        },
    ]
    for store_id, parts in values.items():
        component = f"{prefix}{naming.COMPONENT_TYPE}::{store_id}"
        resources.append({"urn": component, "custom": False, "type": naming.COMPONENT_TYPE, "parent": root})
        resources.extend(
            {
                "urn": f"{prefix}{naming.COMPONENT_TYPE}${_PASSWORD_TYPE}::{naming.logical_name(store_id, part)}",
                "custom": True,
                "id": "none",
                "type": _PASSWORD_TYPE,
                "inputs": {"__defaults": [], "length": len(value), "special": False},
                "outputs": {"id": "none", "length": len(value), "result": _secret(value), "special": False},
                "parent": component,
                "provider": f"{provider}::{provider_id}",
                "additionalSecretOutputs": ["bcryptHash", "result"],
            }
            for part, value in parts.items()
        )
    return resources


def with_planted(deployment: Mapping[str, Any], resources: list[Resource]) -> dict[str, Any]:
    """Return a deployment with the resources added that it does not hold yet."""
    existing = list(deployment.get("resources") or [])
    known = {resource["urn"] for resource in existing}
    kinds = {resource["type"] for resource in existing}
    added = [
        resource
        for resource in resources
        if resource["urn"] not in known and not (resource["type"] == _PROVIDER_TYPE and _PROVIDER_TYPE in kinds)
    ]
    if _PROVIDER_TYPE in kinds:
        provider = next(resource for resource in existing if resource["type"] == _PROVIDER_TYPE)
        reference = f"{provider['urn']}::{provider['id']}"
        added = [{**resource, "provider": reference} if "provider" in resource else resource for resource in added]
    return {**deployment, "resources": [*existing, *added]}


def _secret(value: str) -> dict[str, str]:
    return {_SIGNATURE_KEY: _SECRET, "plaintext": json.dumps(value)}
