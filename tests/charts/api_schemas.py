"""JSON schemas of Kubernetes' kinds, made from the API's description in Kubernetes' own sources, without a network.

The description leaves three things looser than the API server is, and they are made strict here: unknown properties,
quantities, and values that are a number or a string.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from .rendering import ROOT

_MODULE: Final = ROOT / "sandbox" / "programs" / "kubernetes"
_PREFIX: Final = "#/definitions/"
_QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"

Schema = Mapping[str, Any]


def write_schemas(version: str, folder: Path) -> None:
    """Write `<kind>-<group>-<version>.json` for every kind, closed and complete in itself."""
    definitions = {name: _strict(name, schema) for name, schema in _definitions(version).items()}
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            group = f"-{kind['group'].split('.')[0]}" if kind["group"] else ""
            needed = {part: definitions[part] for part in _closure(definitions, name)}
            complete = {"$ref": f"{_PREFIX}{name}", "definitions": needed}
            (folder / f"{kind['kind'].lower()}{group}-{kind['version']}.json").write_text(json.dumps(complete))


def _definitions(version: str) -> Mapping[str, Schema]:
    """Return the definitions of the API of exactly this version, from the module that the sandbox is built from."""
    command = ["go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", "k8s.io/kubernetes"]
    result = subprocess.run(command, cwd=_MODULE, capture_output=True, text=True, check=False)
    found, _, folder = result.stdout.strip().partition(" ")
    if result.returncode != 0 or not folder:
        pytest.fail(
            f"{_MODULE}: the sources of Kubernetes are not there; run `go mod download k8s.io/kubernetes` in it"
            f"\n{result.stderr}"
        )
    assert found == f"v{version}", (
        f"the sandbox has Kubernetes {found}, the tests render for {version}; change rendering.py"
    )
    definitions: Mapping[str, Schema] = json.loads((Path(folder) / "api/openapi-spec/swagger.json").read_text())[
        "definitions"
    ]
    return definitions


def _strict(name: str, schema: Schema) -> Schema:
    if name == _QUANTITY:
        return {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|[KMGTPE]i?)?$"}]}
    if schema.get("format") == "int-or-string":
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    closed = {"additionalProperties": False} if "properties" in schema and "additionalProperties" not in schema else {}
    return {**schema, **closed}


def _closure(definitions: Mapping[str, Schema], name: str) -> set[str]:
    """Return the names of all definitions that `name` needs, itself included."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += _references(definitions[current])
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].removeprefix(_PREFIX)
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)
