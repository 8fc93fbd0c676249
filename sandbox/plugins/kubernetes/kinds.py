"""Kinds of objects: from the engine's type tokens to paths on the API server."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from sandbox.plugins.failures import NotSupportedError, PluginError
from sandbox.plugins.kubernetes.client import ApiError, Client

RELEASE_TOKEN: Final = "kubernetes:helm.sh/v3:Release"  # noqa: S105 - a type token

# Modules of the SDK whose resources run charts and manifests inside the official plugin.
_COMPONENT_MODULES: Final = ("helm", "kustomize", "yaml")

# Kinds without a namespace, of the API groups that come with Kubernetes. All their other kinds have one.
_CLUSTER_SCOPED: Final = frozenset(
    {
        ("", "ComponentStatus"),
        ("", "Namespace"),
        ("", "Node"),
        ("", "PersistentVolume"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("apiregistration.k8s.io", "APIService"),
        ("certificates.k8s.io", "CertificateSigningRequest"),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
        ("networking.k8s.io", "IPAddress"),
        ("networking.k8s.io", "IngressClass"),
        ("networking.k8s.io", "ServiceCIDR"),
        ("node.k8s.io", "RuntimeClass"),
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("scheduling.k8s.io", "PriorityClass"),
        ("storage.k8s.io", "CSIDriver"),
        ("storage.k8s.io", "CSINode"),
        ("storage.k8s.io", "StorageClass"),
        ("storage.k8s.io", "VolumeAttachment"),
    }
)
_BUILT_IN_GROUPS: Final = frozenset(
    {group for group, _ in _CLUSTER_SCOPED} | {"apps", "autoscaling", "batch", "policy"}
)


@dataclass(frozen=True)
class Kind:
    """A group, version and kind, as a type token names it."""

    group: str
    version: str
    name: str

    @property
    def api_version(self) -> str:
        """Return what stands in an object's apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def path(self) -> str:
        """Return where the group's resources are."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def __str__(self) -> str:
        return f"{self.api_version}/{self.name}"


@dataclass(frozen=True)
class Resource:
    """Where the objects of one kind are on this API server."""

    kind: Kind
    plural: str
    namespaced: bool

    def collection(self, namespace: str) -> str:
        """Return the path of all objects in the namespace."""
        scope = f"/namespaces/{namespace}" if self.namespaced else ""
        return f"{self.kind.path}{scope}/{self.plural}"

    def path(self, namespace: str, name: str) -> str:
        """Return the path of one object."""
        return f"{self.collection(namespace)}/{name}"


def kind_of(token: str) -> Kind:
    """Return the kind that a type token names. Raises NotSupportedError for tokens that are no plain object."""
    package, _, rest = token.partition(":")
    module, _, name = rest.partition(":")
    group, slash, version = module.partition("/")
    if package != "kubernetes" or not slash or not name or rest.startswith(_COMPONENT_MODULES):
        raise NotSupportedError(token)
    # `NamespacePatch` manages some fields of an object that somebody else owns; a `PodList` is no object at all.
    if name.endswith(("Patch", "List")) and (group in _BUILT_IN_GROUPS or group == "core"):
        raise NotSupportedError(token)
    return Kind(group="" if group == "core" else group, version=version, name=name)


class Discovery:
    """Asks the API server which kinds it has, and remembers the answer per group."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._groups: dict[str, dict[str, Resource]] = {}

    def find(self, kind: Kind) -> Resource | None:
        """Return where the kind's objects are, or None where the API server has no such kind (yet)."""
        with self._lock:
            known = self._groups.get(kind.path, {}).get(kind.name)
            if known is None:
                # Asked again while it is missing: its definition may have come meanwhile.
                self._groups[kind.path] = self._ask(kind)
                known = self._groups[kind.path].get(kind.name)
            return known

    def require(self, kind: Kind) -> Resource:
        """Return where the kind's objects are. Raises PluginError where there is no such kind."""
        found = self.find(kind)
        if found is None:
            raise PluginError(f"{kind}: the API server has no such kind; create its definition first, or correct it")
        return found

    def namespaced(self, kind: Kind) -> bool:
        """Say whether objects of the kind live in namespaces, without asking for kinds that come with Kubernetes."""
        if kind.group in _BUILT_IN_GROUPS:
            return (kind.group, kind.name) not in _CLUSTER_SCOPED
        found = self.find(kind)
        return found is None or found.namespaced

    def _ask(self, kind: Kind) -> dict[str, Resource]:
        try:
            answer = self._client.get(kind.path)
        except ApiError as error:
            if error.status == 404:
                return {}
            raise
        return {
            entry["kind"]: Resource(Kind(kind.group, kind.version, entry["kind"]), entry["name"], entry["namespaced"])
            for entry in answer.get("resources", ())
            # Subresources such as `pods/log` are no objects.
            if "/" not in entry["name"]
        }
