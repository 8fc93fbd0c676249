"""Which changed fields make it another object: the official plugin's rules, by kind.

Most are fields that the API server refuses to change. Data of ConfigMaps and Secrets is among them unless the provider
says otherwise, so that whoever mounts them is replaced as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sandbox.plugins.difference import MISSING, Change
from sandbox.plugins.kubernetes.kinds import Kind

Fields = tuple[str, ...]


def _of_spec(names: str) -> Fields:
    return tuple(f"spec.{name}" for name in names.split())


_IDENTITY: Final[Fields] = ("metadata.name", "metadata.namespace")
_WORKLOAD: Final = _of_spec("selector")
_STATEFUL_SET: Final = _of_spec("podManagementPolicy revisionHistoryLimit selector serviceName volumeClaimTemplates")
_JOB: Final = _of_spec("completions parallelism selector template")
_VOLUME: Final = _of_spec(
    "awsElasticBlockStore azureDisk azureFile cephfs cinder csi fc flexVolume flocker gcePersistentDisk glusterfs "
    "hostPath iscsi local nfs photonPersistentDisk portworxVolume quobyte rbd scaleIO storageos vsphereVolume"
)
_CLAIM: Final = _of_spec("accessModes selector storageClassName volumeName")
_POD: Final = _of_spec(
    "affinity automountServiceAccountToken containers dnsConfig dnsPolicy enableServiceLinks hostAliases hostIPC "
    "hostNetwork hostPID hostname imagePullSecrets initContainers nodeName nodeSelector overhead preemptionPolicy "
    "priority priorityClassName readinessGates restartPolicy runtimeClassName schedulerName securityContext "
    "serviceAccount serviceAccountName shareProcessNamespace subdomain terminationGracePeriodSeconds volumes"
)
_BY_KIND: Final[Mapping[tuple[str, str], Fields]] = {
    ("", "PersistentVolume"): _VOLUME,
    ("", "PersistentVolumeClaim"): _CLAIM,
    ("", "Pod"): _POD,
    ("", "ResourceQuota"): _of_spec("scopes"),
    ("", "Secret"): ("type",),
    ("", "Service"): _of_spec("clusterIP"),
    ("apps", "DaemonSet"): _WORKLOAD,
    ("apps", "Deployment"): _WORKLOAD,
    ("apps", "StatefulSet"): _STATEFUL_SET,
    ("batch", "Job"): _JOB,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ("roleRef",),
    ("rbac.authorization.k8s.io", "RoleBinding"): ("roleRef",),
    ("storage.k8s.io", "StorageClass"): ("parameters", "provisioner"),
}
_CONFIG_MAP_DATA: Final[Fields] = ("binaryData", "data")
_SECRET_DATA: Final[Fields] = ("type", "stringData", "data")


def replacing_fields(
    kind: Kind, inputs: Mapping[str, Any], *, mutable_config_maps: bool, mutable_secrets: bool
) -> Fields:
    """Return the fields whose change replaces an object of the kind."""
    immutable = inputs.get("immutable") is True
    if (kind.group, kind.name) == ("", "Secret") and (immutable or not mutable_secrets):
        return _IDENTITY + _SECRET_DATA
    if (kind.group, kind.name) == ("", "ConfigMap") and (immutable or not mutable_config_maps):
        return _IDENTITY + _CONFIG_MAP_DATA
    return _IDENTITY + _BY_KIND.get((kind.group, kind.name), ())


def replaces(change: Change, fields: Fields) -> bool:
    """Say whether the change touches one of the fields: it is one, lies within one, or brings or takes one."""
    names = tuple(segment for segment in change.path if isinstance(segment, str))
    for field in fields:
        wanted = tuple(field.split("."))
        if names[: len(wanted)] == wanted:
            return True
        if wanted[: len(names)] == names and any(
            _holds(value, wanted[len(names) :]) for value in (change.old, change.new)
        ):
            return True
    return False


def _holds(value: Any, rest: tuple[str, ...]) -> bool:
    return all(step is not MISSING for step in _steps(value, rest))


def _steps(value: Any, rest: tuple[str, ...]) -> Iterator[Any]:
    for name in rest:
        value = value.get(name, MISSING) if isinstance(value, dict) else MISSING
        yield value
