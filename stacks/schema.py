"""JSON schemas of the manifest's files for editors, made from the models; `python -m stacks.schema` writes them.

They help while somebody types: the rules that span blocks, and all messages with a cure, are `stacks.manifest`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from stacks.manifest_model import OwnersFile, StoresFile

FOLDER: Final = "docs/schema"
MODELS: Final[Mapping[str, type[BaseModel]]] = {
    f"{FOLDER}/stores.schema.json": StoresFile,
    f"{FOLDER}/owners.schema.json": OwnersFile,
}


def texts() -> dict[str, str]:
    """Return the text of every schema, by its path relative to the project's root."""
    return {path: _text(model) for path, model in MODELS.items()}


def stale(root: Path) -> list[str]:
    """Return the schemas that are not what the models say."""
    return [path for path, text in texts().items() if _read(root / path) != text]


def write(root: Path) -> list[str]:
    """Write the schemas that are stale; return their paths."""
    changed = stale(root)
    for path in changed:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(texts()[path], encoding="utf-8")
    return changed


class _Editors(GenerateJsonSchema):
    """As pydantic makes them, but without titles that repeat the key, and without null: no key may be empty."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - the signature is pydantic's
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def _text(model: type[BaseModel]) -> str:
    schema = model.model_json_schema(schema_generator=_Editors)
    return json.dumps({"$schema": _Editors.schema_dialect, **schema}, indent=2, ensure_ascii=False) + "\n"


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    write(Path(__file__).parents[1])
