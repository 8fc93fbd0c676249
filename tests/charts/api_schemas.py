"""JSON schemas of Kubernetes' kinds, made from the API's description in Kubernetes' own sources, without a network.

The description leaves three things looser than the API server is, and they are made strict here: unknown properties,
quantities, and values that are a number or a string.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from .rendering import ROOT

_MODULE: Final = ROOT / "sandbox" / "programs" / "kubernetes"
_PREFIX: Final = "#/definitions/"
_QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"

# Where the definitions of custom resources come from: module, version, digest as in a go.sum, folder.
CUSTOM_RESOURCES: Final = (
    ("sigs.k8s.io/gateway-api", "v1.6.3", "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=", "config/crd/standard"),
    (
        "github.com/cert-manager/cert-manager",
        "v1.21.2",
        "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
        "deploy/crds",
    ),
)

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


def write_crd_schemas(files: Iterable[Path], folder: Path) -> None:
    """Write `<kind>-<group>-<version>.json` for every version of the custom resources that the files define."""
    for file in files:
        for definition in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader):
            spec = definition["spec"]
            group = spec["group"].split(".")[0]
            for version in spec["versions"]:
                schema = _closed(version["schema"]["openAPIV3Schema"])
                name = f"{spec['names']['kind'].lower()}-{group}-{version['name']}.json"
                (folder / name).write_text(json.dumps(schema))


def _closed(schema: Any) -> Any:
    """Return the schema without room for what it does not know, as the API server prunes it."""
    if isinstance(schema, list):
        return [_closed(entry) for entry in schema]
    if not isinstance(schema, Mapping):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    closed = {key: _closed(value) for key, value in schema.items()}
    is_open = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    return closed if "properties" not in schema or is_open else {**closed, "additionalProperties": False}


def module_folder(module: str, version: str, digest: str) -> Path:
    """Return the sources of a Go module, which must have this digest (`h1:...`), as go.sum has it."""
    with tempfile.TemporaryDirectory() as nowhere:
        command = ["go", "mod", "download", "-json", f"{module}@{version}"]
        result = subprocess.run(command, cwd=nowhere, capture_output=True, text=True, check=False)
    told = json.loads(result.stdout or "{}")
    if "Dir" not in told:
        pytest.fail(f"the sources of {module} {version} are not to be had: {told.get('Error') or result.stderr}")
    assert told["Sum"] == digest, f"{module} {version} is {told['Sum']}, not what was pinned"
    return Path(told["Dir"])


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
