"""What a shop says of its database, and when an image can be gone back to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from audit import schema as schemas
from audit.schema import Schema
from stacks.errors import ClusterUnreachableError

SAID: dict[str, Any] = {
    "image": "7.1.4",
    "code": {"wordpress": "7.1.4", "wordpress_db": 61833, "woocommerce": "11.0.1"},
    "database": {"wordpress_db": 60421, "woocommerce": "11.0.1", "woocommerce_db": "10.9.0"},
    "pending": ["WordPress 60421 -> 61833"],
    "waits_for": [{"pod": "tea-1", "wordpress": "6.8.3", "woocommerce": None, "seen_s_ago": 4}],
    "failure": None,
    "images": [
        {"image": "6.8.3", "wordpress": "6.8.3", "wordpress_db": 60421, "woocommerce": "10.9.0"},
        {"image": "7.1.4", "wordpress": "7.1.4", "wordpress_db": 61833, "woocommerce": "11.0.1"},
    ],
}


def test_what_the_script_prints_is_read() -> None:
    schema = schemas.read("a warning\n" + json.dumps(SAID) + "\n")
    assert schema is not None
    assert (schema.image, schema.wordpress, schema.code_wordpress, schema.woocommerce) == (
        "7.1.4", 60421, 61833, "10.9.0",
    )  # fmt: skip
    assert schema.images == {"6.8.3": 60421, "7.1.4": 61833}
    assert "once these pods of another version are surely gone: tea-1 (6.8.3, seen 4 s ago)" in schema.progress


@pytest.mark.parametrize("said", ["", "PHP Fatal error", "{}", json.dumps({**SAID, "code": None}), "[]"])
def test_what_is_not_the_scripts_is_not_known(said: str) -> None:
    assert schemas.read(said) is None


class LiveCluster:
    def __init__(self, said: str | ClusterUnreachableError | None) -> None:
        self._said = said

    def execute(self, namespace: str, selector: str, container: str, command: Any) -> str | None:
        assert (namespace, container, next(iter(command))) == ("store-tea-x7k2m", "cron", "php")
        assert "app.kubernetes.io/instance=tea-x7k2m" in selector
        assert command == ("php", "/etc/store/schema/state.php")
        if isinstance(self._said, ClusterUnreachableError):
            raise self._said
        return self._said


@pytest.mark.parametrize("said", [None, "", ClusterUnreachableError("cluster", "no", "do")])
def test_a_shop_that_cannot_be_asked_is_not_known(said: Any) -> None:
    assert schemas.ask(LiveCluster(said), "tea-x7k2m") is None


def test_a_shop_is_asked_in_its_own_pod() -> None:
    assert schemas.ask(LiveCluster(json.dumps(SAID)), "tea-x7k2m") is not None


UPDATED = Schema(
    image="7.1.4", wordpress=61833, code_wordpress=61833, woocommerce="11.0.1",
    images={"6.8.3": 60421, "7.1.3": 61833, "7.1.4": 61833},
    woocommerce_of={"6.8.3": "11.0.1", "7.1.3": "11.0.1", "7.1.4": "11.0.1"},
)  # fmt: skip


def test_an_image_of_the_same_database_can_be_gone_back_to() -> None:
    assert schemas.crossing(UPDATED, "7.1.3") is None


def test_an_image_of_an_older_database_cannot() -> None:
    why = schemas.crossing(UPDATED, "6.8.3")
    assert why == "the database was updated since, from WordPress 60421 to 61833"


def test_an_image_of_an_older_database_can_as_long_as_the_update_has_not_run() -> None:
    assert schemas.crossing(replace(UPDATED, wordpress=60421, pending=("WordPress",)), "6.8.3") is None


def test_an_image_with_an_older_woocommerce_cannot() -> None:
    older = replace(UPDATED, woocommerce_of={**UPDATED.woocommerce_of, "7.1.3": "10.9.0"})
    assert schemas.crossing(older, "7.1.3") == "the database was updated since, from WooCommerce 10.9.0 to 11.0.1"


@pytest.mark.parametrize(("schema", "tag"), [(None, "7.1.3"), (UPDATED, "5.0")])
def test_what_is_not_known_is_not_risked(schema: Schema | None, tag: str) -> None:
    assert schemas.crossing(schema, tag) is not None


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [("11.0.1", "11.0.1-standin", False), ("11.0.10", "11.0.9", True), ("11.0", "11.0.1", False)],
)
def test_versions_are_compared_by_their_numbers(new: str, old: str, *, expected: bool) -> None:
    schema = replace(UPDATED, woocommerce=new, woocommerce_of={"7.1.3": old})
    assert (schemas.crossing(schema, "7.1.3") is not None) is expected


SEEN = {"images": {"7.1": 1, "7.2": 2, "7.2-b": 2}, "woocommerce_of": {"7.1": "10.9", "7.2": "11.0.1", "7.2-b": None}}


@pytest.mark.parametrize(
    ("made_with", "tag", "told"),
    [
        ("7.2", "7.2", None),
        ("7.2", "7.1", "WordPress 2, and image 7.1 needs 1"),
        ("7.1", "7.2", None),
        ("7.2-b", "7.2", None),
        ("7.3", "7.2", "made with image 7.3, which is newer than 7.2"),
        ("7.0", "7.2", None),
        ("7.10.0-php8.4-apache", "7.9.9-php8.5-apache", "which is newer than"),
        ("7.1.5-php8.4-apache", "7.1.5-php8.5-apache", None),
        ("nightly", "7.2", None),
        ("7.2", "nightly", None),
    ],
)
def test_data_is_too_new_for_code_that_needs_an_older_database(made_with: str, tag: str, told: str | None) -> None:
    known = Schema("7.2", 2, 2, "11.0.1", **SEEN)  # type: ignore[arg-type]
    why = schemas.too_new(known, made_with, tag)
    assert (why is None) == (told is None)
    assert told is None or told in str(why)


def test_data_of_a_newer_woocommerce_is_too_new_though_wordpress_is_the_same() -> None:
    of = {"images": {"a": 1, "b": 1}, "woocommerce_of": {"a": "10.9.0", "b": "11.0.1"}}
    known = Schema("b", 1, 1, "11.0.1", **of)  # type: ignore[arg-type]
    assert "WooCommerce 11.0.1" in str(schemas.too_new(known, "b", "a"))
    assert schemas.too_new(known, "a", "b") is None
