"""Every name, host and label that the platform derives from a store id.

All names are state: a changed one makes Kubernetes or the engine forget what it owned. So nothing here may ever
depend on order, time, environment variables or anything else but its arguments.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Final

# A store id is also a Helm release's name (at most 53 characters), and the chart appends up to 20 characters to it
# (`-wordpress` and a StatefulSet's revision hash) within a DNS label's 63. 36 leaves room for both.
MAX_NAME_LENGTH: Final = 30
ID_SUFFIX_LENGTH: Final = 5
MAX_ID_LENGTH: Final = MAX_NAME_LENGTH + 1 + ID_SUFFIX_LENGTH

NAME_PATTERN: Final = re.compile(r"[a-z](?:[a-z0-9]|-(?!-))*(?<!-)")
ID_PATTERN: Final = re.compile(rf"(?P<name>[a-z](?:[a-z0-9]|-(?!-))*)-(?P<suffix>[a-z0-9]{{{ID_SUFFIX_LENGTH}}})")
CELL_PATTERN: Final = re.compile(r"(?!00)[0-9]{2}")
ENVIRONMENT_PATTERN: Final = re.compile(r"[a-z][a-z0-9]*")

# Names that would read as a part of the platform in a host name.
RESERVED_NAMES: Final = frozenset(
    {"admin", "api", "app", "dashboard", "default", "kube", "kube-system", "mail", "platform", "status", "store",
     "stores", "system", "www"}
)  # fmt: skip

# No vowels and nothing that is easily mistaken, as Kubernetes' own generated names.
_SUFFIX_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"

FIRST_CELL: Final = "01"
PROJECT: Final = "stores"
COMPONENT_TYPE: Final = "stores:index:StoreTenant"
PLATFORM_NAMESPACE: Final = "stores-platform"
"""Holds what the stores of a cluster share: the server of their backups."""
PLATFORM_KEY_ANNOTATION: Final = "stores.platform/platform-key-version"
FIELD_MANAGER: Final = "stores"


def new_store_id(name: str, choose: Callable[[str], str] = secrets.choice) -> str:
    """Return a fresh id for `name`; `choose` picks one character of an alphabet."""
    return f"{name}-{''.join(choose(_SUFFIX_ALPHABET) for _ in range(ID_SUFFIX_LENGTH))}"


def namespace(store_id: str) -> str:
    """Return the namespace that holds everything of the store."""
    return f"store-{store_id}"


def release(store_id: str) -> str:
    """Return the Helm release's name: the store id itself, so that `helm history <id>` reads well."""
    return store_id


def credentials_secret(store_id: str) -> str:
    """Return the Secret that holds the store's passwords and salts."""
    return f"{store_id}-credentials"


def service_account(store_id: str) -> str:
    """Return the ServiceAccount that all pods of the store run as."""
    return f"{store_id}-store"


def host(store_id: str, domain: str) -> str:
    """Return the store's platform host below the environment's wildcard domain."""
    return f"{store_id}.{domain}"


def url(store_id: str, *, scheme: str, domain: str, port: int) -> str:
    """Return the address that people open, without a trailing slash; the scheme's own port is left out."""
    return address(host(store_id, domain), scheme=scheme, port=port)


def address(host: str, *, scheme: str, port: int) -> str:
    """Return the address that people open for a host, without a trailing slash; the scheme's own port is left out."""
    default_port = {"http": 80, "https": 443}[scheme]
    return f"{scheme}://{host}" + ("" if port == default_port else f":{port}")


def logical_name(store_id: str, part: str) -> str:
    """Return the engine's name of one resource of a store. Changing the scheme needs aliases and an ADR."""
    return f"{store_id}-{part}"


def stack(environment: str, cell: str) -> str:
    """Return the Pulumi stack of a cell: `prod` for cell 01, `prod-02` for cell 02."""
    return environment if cell == FIRST_CELL else f"{environment}-{cell}"


def labels(store_id: str, owner: str, environment: str) -> Mapping[str, str]:
    """Return the labels of every object that the program itself makes for a store."""
    return {
        "app.kubernetes.io/managed-by": "pulumi",
        "app.kubernetes.io/part-of": "multi-store-platform",
        "app.kubernetes.io/instance": store_id,
        "stores.platform/store": store_id,
        "stores.platform/owner": owner,
        "stores.platform/environment": environment,
    }
