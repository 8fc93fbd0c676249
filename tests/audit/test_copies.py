"""What of a store's block its copy has: every key is decided, and the values of a backup say the same as the block."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import copies
from stacks import manifest_model as model
from stacks.desired import environment_values, merge, store_values
from stacks.manifest import Store

ROOT = Path(__file__).parents[2]
VALUES = environment_values(ROOT, "local")
CONTACT = "alice@example.com"
PACKAGE = model.Package(slug="wishes", version="1.4", url="https://example.com/wishes.zip", sha256="a" * 64)
WHOLE = Store(
    id="tea-house-x7k2m",
    name="tea-house",
    owner="alice",
    cell="03",
    title="Tee & Kräuter: das Haus",
    admin_email="shop@example.com",
    web=model.Web(cpu="610m", memory="640Mi"),
    database=model.Database(cpu="350m", memory="700Mi", storage="3Gi"),
    uploads=model.Uploads(storage="3Gi"),
    image=model.Image(tag="7.0.0-php8.4-apache"),
    domains=("tea.example.com",),
    https=True,
    country="DE",
    currency="EUR",
    locale="de_DE",
    timezone="Europe/Berlin",
    plugins=(PACKAGE,),
    themes=(PACKAGE.model_copy(update={"slug": "leaves"}),),
    wp_content="persistent",
)


def test_every_key_of_a_block_is_either_copied_or_the_new_stores_own() -> None:
    keys = {field.alias or name for name, field in model.StoreBlock.model_fields.items()}
    assert keys == copies.COPIED | copies.OWN
    assert not copies.COPIED & copies.OWN


def test_a_copy_has_all_that_makes_the_shop_and_nothing_that_is_the_old_ones_own() -> None:
    found = copies.of_store(WHOLE, CONTACT, same_owner=True)
    assert set(found) == copies.COPIED
    spec = WHOLE.spec()
    assert found == {key: spec[key] for key in copies.COPIED}


@pytest.mark.parametrize(("mail", "same_owner"), [(CONTACT, True), ("shop@example.com", False), (CONTACT, False)])
def test_the_owners_own_address_and_that_of_another_owner_are_not_written(mail: str, *, same_owner: bool) -> None:
    store = Store("tea-house-x7k2m", "tea-house", "alice", "01", "Tea House", mail)
    assert copies.of_store(store, CONTACT, same_owner=same_owner) == {"title": "Tea House"}


def test_the_values_in_a_backup_tell_the_same_as_the_block_did() -> None:
    values = merge(VALUES, store_values(WHOLE))
    values["ingress"]["scheme"] = "https"
    assert copies.of_backup(values, VALUES, CONTACT, same_owner=True) == copies.of_store(
        WHOLE, CONTACT, same_owner=True
    )


_sizes = st.builds(
    model.Database,
    cpu=st.none() | st.sampled_from(["350m", "360m"]),
    memory=st.none() | st.sampled_from(["700Mi", "710Mi"]),
    storage=st.none() | st.sampled_from(["3Gi", "4Gi"]),
)


@given(
    database=st.none() | _sizes, currency=st.none() | st.just("JPY"), packages=st.lists(st.just(PACKAGE), max_size=1)
)
def test_what_a_block_left_to_the_environment_is_left_to_it_again(
    database: model.Database | None, currency: str | None, packages: list[model.Package]
) -> None:
    plain = Store("tea-house-x7k2m", "tea-house", "alice", "01", "Tea House", CONTACT)
    store = Store(
        *("tea-house-x7k2m", "tea-house", "alice", "01", "Tea House", CONTACT),
        database=database,
        currency=currency,
        plugins=tuple(packages),
    )
    values = merge(VALUES, store_values(store))
    found = copies.of_backup(values, VALUES, CONTACT, same_owner=True)
    assert found == copies.of_store(store, CONTACT, same_owner=True)
    assert ("database" in found) == bool(database is not None and database != model.Database())
    assert copies.of_backup(merge(VALUES, store_values(plain)), VALUES, CONTACT, same_owner=True) == {
        "title": "Tea House"
    }


def test_a_copy_where_stores_share_a_database_server_has_no_size_of_one() -> None:
    shared = merge(VALUES, {"database": {"external": {"host": "db.example.com"}}})
    found = copies.of_backup(merge(VALUES, store_values(WHOLE)), shared, CONTACT, same_owner=True)
    assert "database" not in found
    assert "web" in found


def test_a_default_that_has_moved_on_since_is_what_it_was_for_the_copy() -> None:
    values = merge(VALUES, store_values(WHOLE))
    now = merge(VALUES, {"image": {"tag": "8.0.0-php8.5-apache"}, "uploads": {"size": "9Gi"}})
    found = copies.of_backup({**values, "image": VALUES["image"]}, now, CONTACT, same_owner=True)
    assert found["image"] == {"tag": VALUES["image"]["tag"]}
    assert found["uploads"] == {"storage": "3Gi"}


@pytest.mark.parametrize("values", [{}, {"store": None}, {"plugins": None, "unknown": 1}])
def test_a_backup_that_tells_little_gives_little(values: dict[str, object]) -> None:
    assert copies.of_backup(values, VALUES, CONTACT, same_owner=True) == {}
