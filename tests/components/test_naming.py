from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import desired, naming

names = st.from_regex(naming.NAME_PATTERN, fullmatch=True).filter(lambda name: len(name) <= naming.MAX_NAME_LENGTH)


@given(names)
def test_a_new_id_is_the_name_and_five_characters(name: str) -> None:
    store_id = naming.new_store_id(name)
    match = naming.ID_PATTERN.fullmatch(store_id)
    assert match is not None
    assert match["name"] == name


@given(names)
def test_every_derived_name_fits_a_dns_label(name: str) -> None:
    store_id = naming.new_store_id(name)
    derived = [
        naming.namespace(store_id),
        naming.release(store_id),
        naming.credentials_secret(store_id),
        f"{store_id}-wordpress-0123456789-abcde",
    ]
    assert all(len(text) <= 63 for text in derived)
    assert len(naming.release(store_id)) <= 53


@given(st.sets(names, min_size=2, max_size=6))
def test_no_two_stores_share_a_logical_name(some: set[str]) -> None:
    ids = [naming.new_store_id(name) for name in some]
    logical = [naming.logical_name(store_id, part) for store_id in ids for part in desired.PARTS]
    assert len(set(logical)) == len(logical)


@pytest.mark.parametrize(
    ("scheme", "port", "expected"),
    [
        ("http", 80, "http://tea-x7k2m.example.com"),
        ("https", 443, "https://tea-x7k2m.example.com"),
        ("http", 8080, "http://tea-x7k2m.example.com:8080"),
        ("https", 80, "https://tea-x7k2m.example.com:80"),
    ],
)
def test_an_address_leaves_out_its_schemes_own_port(scheme: str, port: int, expected: str) -> None:
    assert naming.url("tea-x7k2m", scheme=scheme, domain="example.com", port=port) == expected


@pytest.mark.parametrize(("cell", "stack"), [("01", "prod"), ("02", "prod-02"), ("10", "prod-10")])
def test_the_first_cell_is_the_environments_own_stack(cell: str, stack: str) -> None:
    assert naming.stack("prod", cell) == stack


def test_the_name_scheme_is_state_and_does_not_change() -> None:
    assert naming.logical_name("tea-x7k2m", "release") == "tea-x7k2m-release"
    assert naming.namespace("tea-x7k2m") == "store-tea-x7k2m"
    assert naming.COMPONENT_TYPE == "stores:index:StoreTenant"
    assert sorted(desired.PARTS) == [
        "credentials", "limits", "mariadb-password", "mariadb-root-password", "namespace", "policy-acme-solver",
        "policy-backup", "policy-default-deny", "policy-dns", "policy-mariadb", "policy-wordpress", "quota", "release",
        "service-account", "wordpress-password", "wordpress-salts",
    ]  # fmt: skip
