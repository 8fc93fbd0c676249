"""The provider's own settings: the official plugin's, less those that mean another way of working."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox.plugins.difference import differences
from sandbox.plugins.failures import NotSupportedError, PluginError
from sandbox.plugins.kubernetes.client import Throttle
from sandbox.plugins.kubernetes.kubeconfig import Access, active_cluster, load
from sandbox.plugins.provider import ENGINE_SETTINGS
from sandbox.plugins.wire import UNKNOWN

_PREFIX: Final = "kubernetes:config:"
_CONNECTION: Final = ("kubeconfig", "context", "cluster")
_TEXTS: Final = frozenset({*_CONNECTION, "namespace", "clusterIdentifier"})
# Switches that are read here, and the environment variable that sets each when the program does not.
_SWITCHES: Final = {
    "deleteUnreachable": "PULUMI_K8S_DELETE_UNREACHABLE",
    "enableConfigMapMutable": "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE",
    "enablePatchForce": "PULUMI_K8S_ENABLE_PATCH_FORCE",
    "enableSecretMutable": "PULUMI_K8S_ENABLE_SECRET_MUTABLE",
    "enableServerSideApply": "PULUMI_K8S_ENABLE_SERVER_SIDE_APPLY",
    "suppressDeprecationWarnings": "PULUMI_K8S_SUPPRESS_DEPRECATION_WARNINGS",
    "suppressHelmHookWarnings": "PULUMI_K8S_SUPPRESS_HELM_HOOK_WARNINGS",
    "upsertExistingObjects": "PULUMI_K8S_UPSERT_EXISTING_OBJECTS",
}
_CLIENT: Final = {"qps": (int, float), "burst": (int,), "timeout": (int, float)}
# Setting of helmReleaseSettings -> the variable by which the helm program takes it.
_HELM: Final = {
    "pluginsPath": "HELM_PLUGINS",
    "registryConfigPath": "HELM_REGISTRY_CONFIG",
    "repositoryConfigPath": "HELM_REPOSITORY_CONFIG",
    "repositoryCache": "HELM_REPOSITORY_CACHE",
}
_OTHER_WAYS: Final = frozenset({"alwaysRender", "renderYamlToDirectory", "skipUpdateUnreachable", "strictMode"})
_KNOWN: Final = _TEXTS | _SWITCHES.keys() | {"kubeClientSettings", "helmReleaseSettings"}


@dataclass(frozen=True)
class Settings:
    """What the program asks of the provider."""

    kubeconfig: str | None
    context: str | None
    cluster: str | None
    namespace: str | None
    switches: frozenset[str]
    client: Mapping[str, float]
    helm_environment: Mapping[str, str]

    def access(self) -> Access:
        """Return the cluster that the settings select."""
        return load(self.kubeconfig, context=self.context, cluster=self.cluster, namespace=self.namespace)

    def throttle(self) -> Throttle | None:
        """Return the limit of requests that the program asks for."""
        if "qps" not in self.client:
            return None
        return Throttle(self.client["qps"], int(self.client.get("burst", 120)))


def settings(variables: Mapping[str, str]) -> Settings:
    """Return the settings of a Configure request, whose values are all texts."""
    values = {name.removeprefix(_PREFIX): value for name, value in variables.items()}
    found = list(problems(values))
    if found:
        raise PluginError("; ".join(f"provider setting {name}: {reason}" for name, reason in found))
    helm = _object(values.get("helmReleaseSettings"))
    return Settings(
        **{name: values.get(name) or None for name in (*_CONNECTION, "namespace")},
        switches=frozenset(name for name, variable in _SWITCHES.items() if _is_on(values.get(name), variable)),
        client=_object(values.get("kubeClientSettings")),
        helm_environment={variable: helm[name] for name, variable in _HELM.items() if name in helm},
    )


def problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (setting, what is wrong with it). Values that are not known yet are taken as right."""
    for name, value in values.items():
        if value is None or value is UNKNOWN or value == "" or name in ENGINE_SETTINGS:
            continue
        if name in _OTHER_WAYS and _is_on(value):
            yield name, str(NotSupportedError(f"the provider setting `{name}`"))
        elif name == "enableServerSideApply" and not _is_on(value):
            yield name, str(NotSupportedError("client-side apply"))
        elif name not in _KNOWN | _OTHER_WAYS:
            yield name, f"unknown setting; the known ones are {', '.join(sorted(_KNOWN))}"
        elif name in _TEXTS and not isinstance(value, str):
            yield name, f"is a {type(value).__name__}, not a text"
        elif name == "kubeClientSettings":
            yield from _client_problems(_object(value))
        elif name == "helmReleaseSettings":
            yield from _helm_problems(_object(value))
    if os.environ.get("PULUMI_K8S_AWAIT_ALL") == "true":
        yield "PULUMI_K8S_AWAIT_ALL", str(NotSupportedError("waiting for every kind of object"))


def _client_problems(client: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in client.items():
        wanted = _CLIENT.get(name)
        if wanted is None:
            yield f"kubeClientSettings.{name}", f"unknown setting; the known ones are {', '.join(_CLIENT)}"
        elif not isinstance(value, wanted) or isinstance(value, bool) or value <= 0:
            yield f"kubeClientSettings.{name}", f"is {value!r}; it must be a number over 0"


def _helm_problems(helm: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in helm.items():
        if name == "driver":
            if value not in ("secret", "secrets"):
                yield "helmReleaseSettings.driver", str(NotSupportedError(f"the Helm storage driver '{value}'"))
        elif name not in _HELM:
            known = ", ".join(("driver", *_HELM))
            yield f"helmReleaseSettings.{name}", f"unknown setting; the known ones are {known}"


def replacing_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return (changed settings, those of them that make it another provider and so replace all its resources).

    With an unchanged clusterIdentifier it is the same cluster whatever the kubeconfig says. Without one, another
    active cluster in the kubeconfig is taken for another cluster; adding or removing the identifier alone is not.
    """
    changed = {str(change.path[0]) for change in differences(old, new) if change.path}
    changed -= ENGINE_SETTINGS
    identifier = "clusterIdentifier"
    if identifier in changed and old.get(identifier) and new.get(identifier):
        return sorted(changed), [identifier]
    if new.get(identifier) and identifier not in changed:
        return sorted(changed), []
    unknown = [name for name in _CONNECTION if new.get(name) is UNKNOWN]
    if unknown:
        return sorted(changed), unknown
    before, after = _active(old), _active(new)
    if before is not None and after is not None and before != after:
        return sorted(changed), [name for name in _CONNECTION if name in changed]
    return sorted(changed), []


def _active(values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return active_cluster(values.get("kubeconfig"), context=values.get("context"), cluster=values.get("cluster"))


def _is_on(value: Any, variable: str | None = None) -> bool:
    if value in (None, "") and variable is not None:
        value = os.environ.get(variable)
    return value is True or (isinstance(value, str) and value not in ("", "false"))


def _object(value: Any) -> dict[str, Any]:
    """Return an object that the SDK may have written as JSON text."""
    if isinstance(value, str) and value:
        try:
            value = json.loads(value)
        except ValueError as error:
            raise PluginError("provider settings: kubeClientSettings and helmReleaseSettings must be JSON") from error
    return value if isinstance(value, dict) else {}
