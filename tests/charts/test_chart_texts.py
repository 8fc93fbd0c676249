"""A text that YAML would take for something else stays a text, whatever value it is given in."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from jsonschema import Draft7Validator

from .rendering import CHART, Chart, leaves, load, merged, nested

SCHEMA = load(CHART / "values.schema.json")
DEFAULTS = load(CHART / "values.yaml")
# Everything switched on, so that each value is somewhere in the objects. What a path ends with stands for itself.
PACKAGE = {"version": "1", "url": "https://example.com/own.zip", "sha256": "1" * 64}
BASE: Mapping[str, Any] = {
    "serviceAccount": {"create": True},
    "plugins": [{"slug": "own", **PACKAGE}],
    "themes": [{"slug": "own", **PACKAGE}],
    "webhooks": {"receiverUrl": "https://receiver.example.com", "ca": {"configMap": "plain"}},
    "mail": {"smtp": {"host": "plain", "user": "plain", "existingSecret": "plain", "ca": {"configMap": "plain"}}},
    "backup": {"enabled": True, "repository": {"kind": "s3", "url": "https://s3.example.com", "accessSecret": "plain"}},
    "ingress": {
        "scheme": "https",
        "port": 443,
        "domains": ["tea.example.org"],
        "tls": {"enabled": True, "secretName": "plain", "clusterIssuer": "plain"},
    },
}
ROUTES: Mapping[str, Any] = {
    "ingress": {"kind": "HTTPRoute", "tls": {"secretName": ""}},
    "gateway": {"parentRefs": [{"name": "plain", "namespace": "plain", "sectionName": "plain"}]},
}
EXTERNAL: Mapping[str, Any] = {"database": {"external": {"host": "plain", "ca": {"configMap": "plain"}}}}
SECRET: Mapping[str, Any] = {"database": {"external": {"host": "plain", "ca": {"secret": "plain"}}}}
SOMETIMES = {
    ("ingress", "tls", "secretName"),
    *[("database", "external", *path) for path in (("host",), ("ca", "configMap"), ("ca", "secret"))],
}
# One must not be what another is, or has an effect only with another.
APART = {("woocommerce", "version"), ("storefront", "version")}


def may_be(path: tuple[str, ...], text: str) -> bool:
    """Whether the schema lets this text through, at this place."""
    values = merged(DEFAULTS, merged(BASE, nested(path, text)))
    return not any(tuple(error.absolute_path) == path for error in Draft7Validator(SCHEMA).iter_errors(values))


def texts(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the path of every value that may be this text, and may as well be `plain`."""
    for path, value in leaves(DEFAULTS):
        if isinstance(value, str) and path not in APART and may_be(path, text) and may_be(path, "plain"):
            yield path


def filled(base: Mapping[str, Any], paths: list[tuple[str, ...]], text: str) -> dict[str, Any]:
    values = merged({}, copy.deepcopy(dict(base)))
    for path in paths:
        values = merged(values, nested(path, text))
    # Values in lists have no path of their own.
    for place in (values.get("plugins", []), values.get("themes", [])):
        for package in place:
            package.update({"slug": text, "version": text})
    for reference in values.get("gateway", {}).get("parentRefs", []):
        reference.update(dict.fromkeys(reference, text))
    return values | {"imagePullSecrets": [{"name": text}]}


def kinds(value: Any) -> Any:
    """Return what kind each part of an object is, by its place; keys that are a value's own do not matter."""
    if isinstance(value, Mapping):
        return sorted((str(key) if key not in NAMED else "", kinds(one)) for key, one in value.items())
    if isinstance(value, list):
        return [kinds(one) for one in value]
    return type(value).__name__


NAMED = ("plain", "true", "1e3", "null", "on", "0x1f")


@pytest.mark.parametrize("text", ["true", "1e3", "null", "on", "0x1f"])
@pytest.mark.parametrize("more", [{}, ROUTES, EXTERNAL, SECRET], ids=["ingress", "routes", "external", "secret"])
def test_every_text_stays_a_text(chart: Chart, text: str, more: Mapping[str, Any]) -> None:
    paths = list(texts(text))
    assert len(paths) > 20, paths
    base = merged(BASE, more)
    # What is for another kind of way in, or for a server elsewhere, is refused without it.
    set_here = {path for path, value in leaves(base) if value == "plain"}
    alone = [path for path in paths if path in SOMETIMES and path not in set_here]
    own = [path for path in paths if path not in alone]
    plain, odd = (chart.render(filled(base, own, each)) for each in ("plain", text))
    assert [kinds(o) for o in odd.objects] == [kinds(o) for o in plain.objects]
    # Helm reads YAML as Go does, which takes 1e3 for a number, as Python's reader does not.
    for before, line in zip(plain.text.splitlines(), odd.text.splitlines(), strict=True):
        assert line == before or not re.fullmatch(rf"\s*(?:- )?(?:[\w./-]+: )?{text}", line), f"{line!r} is not quoted"
