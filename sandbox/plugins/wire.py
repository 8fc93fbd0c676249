"""Property values as the engine sends them, and as the plugins work with them.

On the wire a property bag is a protobuf Struct in which objects with a special key stand for secrets and assets, and
special strings for values that are not known yet. Inside, the same things are `Secret`, `Asset` and `UNKNOWN`; all
else is plain JSON. Keys and strings are those of the engine's `sig.go` and `rpc.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import struct_pb2

# JSON, with Secret, Asset and UNKNOWN as further leaves. A closed recursive type would cost a cast per access, and buy
# little, as Kubernetes' objects are open.
Properties = dict[str, Any]

_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a marker, not a password
_ASSET: Final = "c44067f5952c0a294b673a41bacd8c17"
_UNKNOWN_STRING: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWNS: Final = frozenset(
    {
        _UNKNOWN_STRING,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)


class WireError(ValueError):
    """A property holds something that these plugins do not take."""


class _Unknown:
    """The one value that stands for "not known before the change is made"."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()


@dataclass(frozen=True)
class Secret:
    """A value that is encrypted in the state and never shown."""

    value: Any

    def __repr__(self) -> str:
        return "Secret(...)"


@dataclass(frozen=True)
class Asset:
    """A text that the program hands over: by content, by path below the project's folder, or by address."""

    text: str | None = None
    path: str | None = None
    uri: str | None = None


def decode(struct: struct_pb2.Struct) -> Properties:
    """Return the property bag of a request. Whole numbers become `int`."""
    return {key: _decode_value(value) for key, value in struct.fields.items()}


def encode(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    """Return the property bag for a response."""
    struct = struct_pb2.Struct()
    for key, value in properties.items():
        _encode_into(struct.fields[key], value)
    return struct


def _decode_value(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        text = value.string_value
        return UNKNOWN if text in _UNKNOWNS else text
    if kind == "struct_value":
        return _decode_struct(value.struct_value)
    if kind == "list_value":
        return [_decode_value(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    return None


def _decode_struct(struct: struct_pb2.Struct) -> Any:
    fields = struct.fields
    if _SIGNATURE not in fields:
        return decode(struct)
    signature = fields[_SIGNATURE].string_value
    if signature == _SECRET:
        return Secret(_decode_value(fields["value"]))
    if signature == _ASSET:
        texts = {key: fields[key].string_value for key in ("text", "path", "uri") if key in fields}
        return Asset(**{key: text for key, text in texts.items() if text})
    raise WireError("a property holds an archive or a resource reference, which this plugin does not take")


def _encode_into(target: struct_pb2.Value, value: Any) -> None:
    if isinstance(value, str):
        target.string_value = value
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, (int, float)):
        target.number_value = value
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        for key, item in value.items():
            _encode_into(target.struct_value.fields[key], item)
    elif isinstance(value, (list, tuple)):
        target.list_value.SetInParent()
        for item in value:
            _encode_into(target.list_value.values.add(), item)
    elif isinstance(value, Secret):
        target.struct_value.fields[_SIGNATURE].string_value = _SECRET
        _encode_into(target.struct_value.fields["value"], value.value)
    elif value is UNKNOWN:
        target.string_value = _UNKNOWN_STRING
    elif value is None:
        target.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, Asset):
        _encode_asset(target, value)
    else:
        raise WireError(f"a property of type {type(value).__name__} has no form on the wire")


def _encode_asset(target: struct_pb2.Value, asset: Asset) -> None:
    target.struct_value.fields[_SIGNATURE].string_value = _ASSET
    for key in ("text", "path", "uri"):
        content = getattr(asset, key)
        if content is not None:
            target.struct_value.fields[key].string_value = content


def plain(value: Any) -> Any:
    """Return a deep copy without secret marks."""
    return _map(value, lambda leaf: plain(leaf.value) if isinstance(leaf, Secret) else leaf)


def _map(value: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _map(item, leaf) for key, item in value.items()}
    if isinstance(value, list):
        return [_map(item, leaf) for item in value]
    return leaf(value)


def has_unknown(value: Any) -> bool:
    """Say whether anything in `value` is not known yet."""
    return any(leaf is UNKNOWN for leaf, _ in _leaves(value, secret=False))


def has_secret(value: Any) -> bool:
    """Say whether anything in `value` is secret."""
    if isinstance(value, Secret):
        return True
    if isinstance(value, dict):
        return any(has_secret(item) for item in value.values())
    if isinstance(value, list):
        return any(has_secret(item) for item in value)
    return False


def secret_texts(value: Any) -> Iterator[str]:
    """Yield every string that is somewhere within a secret of `value`."""
    return (leaf for leaf, secret in _leaves(value, secret=False) if secret and isinstance(leaf, str))


def _leaves(value: Any, *, secret: bool) -> Iterator[tuple[Any, bool]]:
    if isinstance(value, Secret):
        yield from _leaves(value.value, secret=True)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item, secret=secret)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, secret=secret)
    else:
        yield value, secret


def keep_secret(outputs: Any, inputs: Any) -> Any:
    """Return `outputs` with everything secret that is secret at the same place of `inputs`.

    A list with one secret in it becomes secret as a whole, as the server may reorder it.
    """
    if isinstance(outputs, Secret) or inputs is None:
        return outputs
    if isinstance(outputs, dict) and isinstance(inputs, dict):
        return {key: keep_secret(item, inputs.get(key)) for key, item in outputs.items()}
    return Secret(outputs) if has_secret(inputs) else outputs
