"""An object in the engine's state: the live object, with the inputs it was made from beside it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from sandbox.plugins.kubernetes.inputs import underscored
from sandbox.plugins.kubernetes.kinds import Kind
from sandbox.plugins.wire import UNKNOWN, Secret, keep_secret, plain

_INPUTS: Final = "__inputs"
_API_VERSION: Final = "__initialApiVersion"
_MANAGER: Final = "__fieldManager"
# Set by an import: the inputs are all that is live then, defaults of the server included.
IMPORTED: Final = "__imported"

# What a dry run makes up, and the real run makes up anew.
_INVENTED_METADATA: Final = ("uid", "creationTimestamp", "resourceVersion", "managedFields")
_INVENTED_SERVICE: Final = ("clusterIP", "clusterIPs", "healthCheckNodePort")


def outputs(kind: Kind, live: Mapping[str, Any], inputs: Mapping[str, Any], *, manager: str) -> dict[str, Any]:
    """Return the outputs of an object. What is secret in the inputs stays so; a Secret's data always is."""
    result: dict[str, Any] = keep_secret(underscored(dict(live)), inputs)
    if (kind.group, kind.name) == ("", "Secret"):
        for name in ("data", "stringData"):
            if name in result:
                result[name] = Secret(plain(result[name]))
    return {**result, _INPUTS: dict(inputs), _API_VERSION: kind.api_version, _MANAGER: manager}


def saved_inputs(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that are part of a state, with their secret marks."""
    found = state.get(_INPUTS)
    if isinstance(found, Secret):
        found = found.value
    return dict(found) if isinstance(found, dict) else {}


def live(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the live object of a state as the plugin last saw it, without secret marks."""
    result: dict[str, Any] = plain({name: value for name, value in state.items() if not name.startswith("__")})
    return result


def foretold(live_object: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outcome of a creation's dry run, with UNKNOWN for what will be different in the real run."""
    result = copy.deepcopy(dict(live_object))
    result.pop("status", None)
    for name in _INVENTED_METADATA:
        if name in result.get("metadata", {}):
            result["metadata"][name] = UNKNOWN
    if result.get("kind") == "Service" and result.get("apiVersion") == "v1":
        given = inputs.get("spec") or {}
        for name in _INVENTED_SERVICE:
            if name in result["spec"] and name not in given:
                result["spec"][name] = UNKNOWN
        for port in result["spec"].get("ports") or ():
            if "nodePort" in port:
                port["nodePort"] = UNKNOWN
    return result
