"""The restricted pod security profile of Kubernetes, as far as a pod template can break it.

Source: the Pod Security Standards, profile `restricted`, with what it takes over from `baseline`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from .rendering import Object

_VOLUMES: Final = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(pod: Object) -> Iterator[str]:
    """Yield what the restricted profile forbids in this pod template."""
    spec = pod["spec"]
    context = spec.get("securityContext", {})
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield f"{name} is on"
    for volume in spec.get("volumes", []):
        if kinds := set(volume) - {"name"} - _VOLUMES:
            yield f"volume {volume['name']} is of kind {kinds}"
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        yield from (f"{container['name']}: {what}" for what in _of_container(container, context))


def _of_container(container: Object, of_pod: Object) -> Iterator[str]:
    context = container.get("securityContext", {})

    def effective(key: str) -> Any:
        return context.get(key, of_pod.get(key))

    if context.get("privileged"):
        yield "is privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if effective("runAsNonRoot") is not True:
        yield "may run as root"
    if effective("runAsUser") == 0:
        yield "runs as root"
    if (effective("seccompProfile") or {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "has no seccomp profile"
    capabilities = context.get("capabilities", {})
    if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "keeps capabilities"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "has a host port"
