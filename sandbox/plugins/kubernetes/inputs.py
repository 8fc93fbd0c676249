"""An object's inputs: what the program says, brought into the one form that is compared and applied."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from sandbox.plugins.difference import MISSING, same
from sandbox.plugins.failures import NotSupportedError
from sandbox.plugins.kubernetes.kinds import Kind
from sandbox.plugins.wire import UNKNOWN, Secret, plain

AUTONAMED: Final = "pulumi.com/autonamed"
SKIP_AWAIT: Final = "pulumi.com/skipAwait"
TIMEOUT: Final = "pulumi.com/timeoutSeconds"
PATCH_FORCE: Final = "pulumi.com/patchForce"
FIELD_MANAGER: Final = "pulumi.com/patchFieldManager"
PROPAGATION: Final = "pulumi.com/deletionPropagationPolicy"
_REFUSED_ANNOTATIONS: Final = ("pulumi.com/waitFor", "pulumi.com/replaceUnready")

# The API server sets these; they are no one's input.
SERVER_METADATA: Final = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "managedFields",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
_SERVER_ANNOTATIONS: Final = frozenset(
    {"deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration"}
)
# The SDK cannot have "-" in names of schema fields.
_DASHED: Final = {
    name.replace("-", "_"): name
    for name in (
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    )
}
_UNDERSCORED: Final = {dashed: name for name, dashed in _DASHED.items()}


def metadata(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata, empty where it is missing or not known yet."""
    found = document.get("metadata")
    return found if isinstance(found, dict) else {}


def annotation(document: Mapping[str, Any], name: str) -> str | None:
    """Return an annotation's value."""
    annotations = metadata(document).get("annotations")
    value = annotations.get(name) if isinstance(annotations, dict) else None
    return value if isinstance(value, str) else None


def normalized(kind: Kind, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs without fields that only the server sets, and a Secret's texts as `data`."""
    result = dict(inputs)
    result.setdefault("apiVersion", kind.api_version)
    result.setdefault("kind", kind.name)
    result.pop("__defaults", None)
    result.pop("status", None)
    found = result.get("metadata", {})
    if isinstance(found, dict):
        result["metadata"] = {name: value for name, value in found.items() if name not in SERVER_METADATA}
    return _with_data(result) if (kind.group, kind.name) == ("", "Secret") else result


def _with_data(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return a Secret's inputs with `stringData` written as `data`, as the API server stores it.

    Server-side apply would not take a removed `stringData` entry out of `data`.
    """
    texts = plain(inputs.pop("stringData", None))
    data = plain(inputs.get("data"))
    if texts is UNKNOWN or data is UNKNOWN:
        inputs["data"] = Secret(UNKNOWN)
        return inputs
    if texts is None and data is None:
        return inputs
    encoded = {name: _leaf(value, _recoded) for name, value in (data or {}).items()}
    encoded |= {name: _leaf(value, _encoded) for name, value in (texts or {}).items()}
    inputs["data"] = Secret(encoded)
    return inputs


def _leaf(value: Any, change: Callable[[str], str]) -> Any:
    return change(value) if isinstance(value, str) else value


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _recoded(text: str) -> str:
    # The API server drops line breaks; what is not base64 it refuses, with a better message than one from here.
    try:
        return base64.b64encode(base64.b64decode("".join(text.splitlines()), validate=True)).decode()
    except binascii.Error:
        return text


def problems(kind: Kind, inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (property, what is wrong with it)."""
    for name, wanted in (("apiVersion", kind.api_version), ("kind", kind.name)):
        if inputs.get(name, wanted) not in (wanted, UNKNOWN):
            yield name, f"is '{inputs[name]}', but the resource's type says '{wanted}'; make them the same"
    found = metadata(inputs)
    if found.get("generateName") and not found.get("name"):
        yield "metadata.generateName", "cannot be used with server-side apply; set metadata.name, or neither"
    for name in _REFUSED_ANNOTATIONS:
        if annotation(inputs, name) is not None:
            yield "metadata.annotations", str(NotSupportedError(f"the annotation {name}"))


def is_named(inputs: Mapping[str, Any]) -> bool:
    """Say whether the program names the object; a name that is not known yet counts."""
    return bool(metadata(inputs).get("name")) or inputs.get("metadata") is UNKNOWN


def autonamed(inputs: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the inputs with a name that the program did not give, and the mark that says so."""
    found = metadata(inputs)
    annotations = found.get("annotations") or {}
    if annotations is not UNKNOWN:
        annotations = {**annotations, AUTONAMED: "true"}
    return {**inputs, "metadata": {**found, "name": name, "annotations": annotations}}


def fresh_name(resource_name: str, seed: bytes) -> str:
    """Return the official form of an automatic name. The seed makes a preview and its run agree."""
    suffix = hashlib.sha256(seed).hexdigest()[:8] if seed else secrets.token_hex(4)
    return f"{resource_name}-{suffix}"


def field_manager(urn: str, inputs: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """Return who owns the fields on the server: the annotation's name, else the state's, else one from the URN.

    The official plugin draws the last one at random. From the URN it is the same again after a lost state.
    """
    named = annotation(inputs, FIELD_MANAGER) or state.get("__fieldManager")
    return str(named) if named else f"pulumi-kubernetes-{hashlib.sha256(urn.encode()).hexdigest()[:8]}"


def from_live(kind: Kind, live: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs for an object that was found: all of it, less what the server set."""
    result = normalized(kind, live)
    annotations = result["metadata"].get("annotations")
    if annotations:
        kept = {name: value for name, value in annotations.items() if name not in _SERVER_ANNOTATIONS}
        result["metadata"] = {**result["metadata"], "annotations": kept}
        if not kept:
            del result["metadata"]["annotations"]
    return result


def drifted(inputs: Any, before: Any, after: Any) -> Any:
    """Return `inputs` with what changed on the server from `before` to `after`, where the inputs say anything.

    What the server merely writes differently ("1000m" as "1") was so before, and is no change. All without secret
    marks; MISSING when the input's place is gone.
    """
    if isinstance(inputs, dict) and isinstance(after, dict):
        earlier = before if isinstance(before, dict) else {}
        merged = {
            name: drifted(value, earlier.get(name, MISSING), after.get(name, MISSING)) for name, value in inputs.items()
        }
        return {name: value for name, value in merged.items() if value is not MISSING}
    if isinstance(inputs, list) and isinstance(after, list):
        if isinstance(before, list) and same(before, after):
            return inputs
        earlier_items = before if isinstance(before, list) else []
        return [
            drifted(_at(inputs, index), _at(earlier_items, index), item) if index < len(inputs) else item
            for index, item in enumerate(after)
        ]
    if same(before, after) or same(inputs, after):
        return inputs
    return after


def _at(items: list[Any], index: int) -> Any:
    return items[index] if index < len(items) else MISSING


def dashed(document: Any) -> Any:
    """Return the document as the API server spells it."""
    return _renamed(document, _DASHED)


def underscored(document: Any) -> Any:
    """Return the document as the SDK spells it."""
    return _renamed(document, _UNDERSCORED)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(name, name): _renamed(item, names) for name, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return value
