"""The editors' schemas say what the models say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML

from components import naming
from stacks import manifest_fields as fields
from stacks import schema
from stacks.manifest_model import StoresFile

ROOT = Path(__file__).parents[2]
STORES = jsonschema.Draft202012Validator(json.loads(schema.texts()["docs/schema/stores.schema.json"]))


def block(**more: Any) -> dict[str, Any]:
    return {"version": 1, "stores": [{"name": "tea", "owner": "alice", **more}]}


def test_the_committed_schemas_are_what_the_models_say() -> None:
    assert schema.stale(ROOT) == [], "run `stores schema --write`"


def test_a_stale_schema_is_noticed_and_written(tmp_path: Path) -> None:
    assert schema.write(tmp_path) == list(schema.MODELS)
    assert schema.stale(tmp_path) == []
    (tmp_path / "docs/schema/stores.schema.json").write_text("{}")
    assert schema.stale(tmp_path) == ["docs/schema/stores.schema.json"]


@pytest.mark.parametrize("environment", ["local", "prod"])
@pytest.mark.parametrize("kind", ["stores", "owners"])
def test_the_manifests_of_this_project_fit_and_name_their_schema(environment: str, kind: str) -> None:
    path = ROOT / f"stacks/{environment}/{kind}.yaml"
    text = path.read_text()
    reference = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    named = json.loads((path.parent / reference).read_text())
    jsonschema.Draft202012Validator(named).validate(YAML(typ="safe").load(text))


def test_every_key_is_described() -> None:
    for path in schema.MODELS:
        document = json.loads((ROOT / path).read_text())
        for model in (document, *document["$defs"].values()):
            assert model["additionalProperties"] is False
            for key, value in model["properties"].items():
                assert value.get("description"), key


@pytest.mark.parametrize(
    "wrong",
    [
        {"titel": "x"},
        {"name": "Tea"},
        {"name": "www"},
        {"name": "a" * 31},
        {"id": "teahouse"},
        {"cell": "00"},
        {"cell": 1},
        {"title": ""},
        {"state": "gone"},
        {"web": {"memory": "9GB"}},
        {"web": {"disk": "1Gi"}},
        {"image": {}},
        {"image": {"tag": "latest"}},
        {"country": "Germany"},
        {"currency": "eur"},
        {"locale": "de-DE"},
        {"timezone": "not a zone"},
        {"wpContent": "writable"},
        {"plugins": ({"slug": "own", "version": "1.0"},)},
        {"themes": ({"slug": "own", "version": "1.0", "url": "http://x.test/a.zip", "sha256": "a" * 64},)},
    ],
)
def test_an_editor_shows_what_the_program_refuses(wrong: dict[str, Any]) -> None:
    document = block(**wrong)
    assert not STORES.is_valid(document)
    with pytest.raises(ValidationError):
        StoresFile.model_validate({**document, "stores": tuple(document["stores"])})


def test_an_editor_shows_a_key_without_a_value() -> None:
    assert not STORES.is_valid(block(title=None))


names = st.from_regex(r"\A[a-zA-Z0-9-]{1,34}\Z") | st.from_regex(naming.NAME_PATTERN, fullmatch=True)


def accepts(check: Any, value: str) -> bool:
    try:
        check(value)
    except PydanticCustomError:
        return False
    return True


@given(names)
def test_schema_program_and_names_agree_on_every_name(name: str) -> None:
    accepted = accepts(fields.check_name, name)
    fits = naming.NAME_PATTERN.fullmatch(name) is not None and len(name) <= naming.MAX_NAME_LENGTH
    assert accepted == (fits and name not in naming.RESERVED_NAMES)
    assert STORES.is_valid(block(name=name)) == accepted


@given(names, st.from_regex(r"\A[a-z0-9]{4,6}\Z"))
def test_schema_and_program_agree_on_every_id(name: str, suffix: str) -> None:
    store_id = f"{name}-{suffix}"
    assert STORES.is_valid(block(id=store_id)) == accepts(fields.check_store_id, store_id)
