"""What one store should be, whole, as plain data.

The program registers exactly this, a plan compares it with what was applied, and its digest tells whether anything
at all would change. It never holds a secret.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from components import naming, objects

# Part names are the second half of logical names, so they are state: `<store id>-<part>`.
NAMESPACE: Final = "namespace"
QUOTA: Final = "quota"
LIMITS: Final = "limits"
SERVICE_ACCOUNT: Final = "service-account"
POLICY_PREFIX: Final = "policy-"
CREDENTIALS: Final = "credentials"
RELEASE: Final = "release"
SALTS: Final = "wordpress-salts"

# The keys of the credentials Secret, as the chart mounts them.
PASSWORD_KEYS: Final = ("mariadb-root-password", "mariadb-password", "wordpress-password")
SALT_KEYS: Final = tuple(
    f"wordpress-{name}-{kind}" for kind in ("key", "salt") for name in ("auth", "secure-auth", "logged-in", "nonce")
)
# Derived from the platform key, so that they outlive the Secret.
WEBHOOK_SECRET: Final = "webhook-secret"  # noqa: S105 - a key's name
BACKUP_PASSWORD: Final = "backup-password"  # noqa: S105 - a key's name
BACKUP_ACCESS: Final = "backup-access"
DERIVED_KEYS: Final = (WEBHOOK_SECRET, BACKUP_PASSWORD, BACKUP_ACCESS)
RANDOM_PARTS: Final = (*PASSWORD_KEYS, SALTS)
POLICY_PARTS: Final = tuple(
    POLICY_PREFIX + name for name in ("acme-solver", "backup", "default-deny", "dns", "mariadb", "wordpress")
)
# What exists in the cluster, and can be read from there; what is random exists only in the engine's state.
LIVE_PARTS: Final = (NAMESPACE, QUOTA, LIMITS, SERVICE_ACCOUNT, CREDENTIALS, RELEASE, *POLICY_PARTS)
PARTS: Final = (*LIVE_PARTS, *RANDOM_PARTS)


@dataclass(frozen=True)
class ReleaseSpec:
    """The Helm release: `chart` is a path relative to the project's root, `values` are complete but for defaults."""

    chart: str
    values: Mapping[str, Any]
    timeout_s: int
    max_history: int = 5
    description: str | None = None
    """What `helm history` says of the revision, where a run overwrites what is not the platform's. Never compared."""


@dataclass(frozen=True)
class DesiredStore:
    """One store: its identity, every object around its release by part name, and the release."""

    store_id: str
    name: str
    owner: str
    url: str
    host: str
    protected: bool
    objects: Mapping[str, objects.Object]
    release: ReleaseSpec
    deletion_timeout_s: int = 300

    @property
    def sells(self) -> bool:
        """Whether WooCommerce is declared; without it the store is a WordPress, and is asked for no more."""
        return sells(self.release.values)

    @property
    def locale(self) -> str:
        """The language that the shop's texts should be in, as WordPress writes it."""
        return locale(self.release.values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for comparison; what only tunes a run (time limits) is left out."""
        return {
            "id": self.store_id,
            "name": self.name,
            "owner": self.owner,
            "url": self.url,
            "protected": self.protected,
            "objects": dict(self.objects),
            "release": {
                "chart": self.release.chart,
                "maxHistory": self.release.max_history,
                "values": dict(self.release.values),
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, timeout_s: int) -> DesiredStore:
        """Return the store that `to_dict` told of: one that was applied, to be left exactly as it is."""
        release = data["release"]
        return cls(
            store_id=data["id"],
            name=data["name"],
            owner=data["owner"],
            url=data["url"],
            host=release["values"]["ingress"]["host"],
            protected=data["protected"],
            objects=data["objects"],
            release=ReleaseSpec(
                chart=release["chart"],
                values=release["values"],
                timeout_s=timeout_s,
                max_history=release["maxHistory"],
            ),
        )

    def to_json(self) -> str:
        """Return the canonical text: sorted keys, no spaces."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sells(values: Mapping[str, Any]) -> bool:
    """Return whether a release's values declare WooCommerce."""
    return bool(values.get("woocommerce", {}).get("enabled", False))


def locale(values: Mapping[str, Any]) -> str:
    """Return the language that a release's values declare; the chart's default where they do not."""
    return str((values.get("store") or {}).get("locale") or "en_US")


def digest(text: str) -> str:
    """Return the SHA-256 of a canonical text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def flatten(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf of nested data with its dotted path; an empty mapping or list is a leaf."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from flatten(value, f"{path}.{key}" if path else str(key))
    elif isinstance(data, list) and data:
        for index, value in enumerate(data):
            yield from flatten(value, f"{path}[{index}]")
    else:
        yield path, data


def store_objects(
    store_id: str,
    *,
    owner: str,
    environment: str,
    quota: objects.Quota,
    surroundings: objects.Surroundings,
    platform_key_version: int = 1,
    repository: objects.Destination | None = None,
) -> dict[str, objects.Object]:
    """Return the objects around a store's release, by part name."""
    labels = naming.labels(store_id, owner, environment)
    policies = objects.network_policies(store_id, surroundings, labels, repository)
    return {
        NAMESPACE: objects.namespace(store_id, labels),
        QUOTA: objects.resource_quota(store_id, quota, labels),
        LIMITS: objects.limit_range(store_id, quota, labels),
        SERVICE_ACCOUNT: objects.service_account(store_id, labels),
        CREDENTIALS: objects.credentials_secret(store_id, labels, platform_key_version),
        **{POLICY_PREFIX + name: policy for name, policy in policies.items()},
    }
