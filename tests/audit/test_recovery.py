from __future__ import annotations

import json

from audit import recovery
from components import desired

VALUES = {key: f"live-{key}" for key in (*desired.PASSWORD_KEYS, *desired.SALT_KEYS)}


def test_the_generators_values_come_whole_from_the_live_secret() -> None:
    found = recovery.generated_values(VALUES)
    assert found is not None
    assert set(found) == set(desired.RANDOM_PARTS)
    assert found["mariadb-password"] == "live-mariadb-password"
    assert found[desired.SALTS] == "".join(VALUES[key] for key in desired.SALT_KEYS)


def test_a_secret_without_one_key_is_not_good_enough() -> None:
    assert recovery.generated_values({key: value for key, value in VALUES.items() if key != "mariadb-password"}) is None


def test_every_planted_value_is_marked_as_a_secret() -> None:
    resources = recovery.planted("local", {"tea-x7k2m": recovery.generated_values(VALUES) or {}})
    generators = [resource for resource in resources if resource["type"].startswith("random:")]
    assert len(generators) == len(desired.RANDOM_PARTS)
    for resource in generators:
        assert json.loads(resource["outputs"]["result"]["plaintext"])
        assert "live-" not in json.dumps({**resource, "outputs": {**resource["outputs"], "result": None}})


def test_parents_stand_before_their_children() -> None:
    seen: set[str] = set()
    for resource in recovery.planted("local", {"tea-x7k2m": recovery.generated_values(VALUES) or {}}):
        assert resource.get("parent") is None or resource["parent"] in seen
        assert "provider" not in resource or resource["provider"].rsplit("::", 1)[0] in seen
        seen.add(resource["urn"])


def test_what_the_state_holds_already_stays_as_it_is() -> None:
    first = recovery.with_planted({}, recovery.planted("local", {"tea-x7k2m": {"mariadb-password": "a"}}))
    both = recovery.planted("local", {"tea-x7k2m": {"mariadb-password": "b"}, "bar-x7k2m": {"mariadb-password": "c"}})
    second = recovery.with_planted(first, both)
    assert second["resources"][: len(first["resources"])] == first["resources"]
    urns = [resource["urn"] for resource in second["resources"]]
    assert len(set(urns)) == len(urns)
    providers = [resource for resource in second["resources"] if resource["type"] == "pulumi:providers:random"]
    assert len(providers) == 1
    reference = f"{providers[0]['urn']}::{providers[0]['id']}"
    assert {resource["provider"] for resource in second["resources"] if "provider" in resource} == {reference}
