"""The shop's own domains: each leads to one store alone, and what the store is then."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacks import settings
from stacks.desired import Plans, caps
from stacks.manifest import Caps, Store, load
from tests.stacks.test_desired import store
from tests.stacks.test_manifest import GI, good, problem_of, problems

FILE = "stacks/local/stores.yaml"
ROOT = Path(__file__).parents[2]
CAPS = Caps(cpu_millis=2000, memory_bytes=4 * GI, storage_bytes=20 * GI, host_domain="example.net")

TWO = """\
version: 1
stores:
  - id: tea-house-x7k2m
    name: tea-house
    owner: alice
    cell: "01"
    domains: [{first}]
  - id: coffee-bar-p4n9d
    name: coffee-bar
    owner: bob
    cell: "01"
    {more}
"""


def two(first: str, more: str) -> str:
    return TWO.format(first=first, more=more)


def test_domains_are_listed_in_order(write) -> None:
    root = write(two("tea.example.com, www.tea.example.com", "https: true"))
    tea, coffee = load(root, "local", CAPS).stores
    assert (tea.domains, tea.https) == (("tea.example.com", "www.tea.example.com"), False)
    assert (coffee.domains, coffee.https) == ((), True)
    assert tea.spec()["domains"] == ["tea.example.com", "www.tea.example.com"]
    assert coffee.spec()["https"] is True
    assert not {"domains", "https"} & set(store().spec())


@pytest.mark.parametrize(
    ("first", "more", "told"),
    [
        (
            "tea.example.com",
            "domains: [www.example.com, tea.example.com]",
            (
                f"{FILE}:12: store 'coffee-bar-p4n9d': the domain 'tea.example.com' stands in line 7 too; "
                "remove one of the two"
            ),
        ),
        (
            "tea.example.com, tea.example.com",
            "",
            (
                f"{FILE}:7: store 'tea-house-x7k2m': the domain 'tea.example.com' stands in line 7 too; "
                "remove one of the two"
            ),
        ),
        (
            "coffee-bar-p4n9d.example.net",
            "",
            (
                f"{FILE}:7: store 'tea-house-x7k2m': the domain 'coffee-bar-p4n9d.example.net' is the "
                "host that the platform gives to store 'coffee-bar-p4n9d' (line 8); use a domain of the shop's own"
            ),
        ),
        (
            "tea-house-x7k2m.example.net",
            "",
            (
                f"{FILE}:7: store 'tea-house-x7k2m': the domain 'tea-house-x7k2m.example.net' is the "
                "store's own host already; remove it"
            ),
        ),
        (
            "tea.example.net",
            "",
            (
                f"{FILE}:7: store 'tea-house-x7k2m': the domain 'tea.example.net' lies in example.net, "
                "where the platform itself gives out hosts; use a domain of the shop's own"
            ),
        ),
        (
            "example.net",
            "",
            (
                f"{FILE}:7: store 'tea-house-x7k2m': the domain 'example.net' lies in example.net, "
                "where the platform itself gives out hosts; use a domain of the shop's own"
            ),
        ),
    ],
)
def test_a_domain_that_would_not_lead_to_one_store_alone_is_refused(write, first: str, more: str, told: str) -> None:
    assert problems(write(two(first, more)), CAPS) == [told]


def test_a_domain_near_the_platforms_own_is_taken(write) -> None:
    root = write(two("notexample.net, shop.example.net.example.com", ""))
    assert len(load(root, "local", CAPS).stores[0].domains) == 2


def test_a_store_that_is_being_removed_keeps_its_domain_and_the_cure_says_so(write) -> None:
    text = two("tea.example.com", "domains: [tea.example.com]").replace(
        "owner: alice\n", "owner: alice\n    state: deleted\n"
    )
    assert problems(write(text), CAPS) == [
        (
            f"{FILE}:13: store 'coffee-bar-p4n9d': the domain 'tea.example.com' stands in line 8 too; "
            "take it out of that block: store 'tea-house-x7k2m' keeps it until it is gone"
        )
    ]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("Tea.Example.com", "'Tea.Example.com' is not in its plain form; write tea.example.com"),
        ("tea.example.com.", "'tea.example.com.' is not in its plain form; write tea.example.com"),
        ("café.example.com", "'café.example.com' is not in its plain form; write xn--caf-dma.example.com"),
        ("https://tea.example.com", "is an address, not a host; write the host alone, e.g. shop.example.com"),
        ("tea.example.com/shop", "is an address, not a host; write the host alone, e.g. shop.example.com"),
        ('"tea.example.com:8080"', "has a port; write the host alone, e.g. shop.example.com"),
        ('"*.example.com"', "is a wildcard; name each host of the shop"),
        ('"203.0.113.9"', "is an IP address, which nobody gives a certificate for"),
        ("localhost", "is not a host name"),
        ("tea_house.example.com", "is not a host name"),
        ("-tea.example.com", "is not a host name"),
        (f"{'a' * 64}.example.com", "is not a host name"),
        (".".join(["a" * 60] * 4 + ["com"]), "has 247 characters, at most 240; use a shorter one"),
    ],
)
def test_what_is_no_plain_host_is_refused_with_its_cure(write, written: str, told: str) -> None:
    assert told in problem_of(write(two(written, "")))


def test_domains_that_differ_in_notation_alone_collide(write) -> None:
    found = problems(write(two("tea.example.com", "domains: [TEA.example.com.]")), CAPS)
    assert len(found) == 2
    assert "stands in line 7 too" in found[1]


@pytest.mark.parametrize(("count", "refused"), [(10, False), (11, True)])
def test_a_store_has_at_most_ten_domains(write, count: int, *, refused: bool) -> None:
    root = write(two(", ".join(f"shop{number}.example.com" for number in range(count)), ""))
    if refused:
        assert "domains has 11 entries, at most 10; remove some" in problem_of(root)
    else:
        assert len(good(root).stores[0].domains) == 10


def test_no_block_takes_https_away(write) -> None:
    told = "https is false; remove the line: the environment decides, and no block takes its https away"
    assert told in problem_of(write(two("tea.example.com", "https: false")))


def test_the_environments_domain_is_the_one_that_is_kept(write) -> None:
    found = caps(ROOT, settings.load(ROOT, "local"))
    assert found.host_domain == "127.0.0.1.nip.io"
    assert "lies in 127.0.0.1.nip.io" in problems(write(two("a.127.0.0.1.nip.io", "")), found)[0]


@pytest.mark.parametrize(
    ("environment", "more", "url"),
    [
        ("local", {}, "http://tea-house-x7k2m.127.0.0.1.nip.io:8080"),
        ("local", {"https": True}, "https://tea-house-x7k2m.127.0.0.1.nip.io:8443"),
        ("local", {"domains": ("tea.example.com", "b.example.com")}, "http://tea.example.com:8080"),
        ("local", {"domains": ("tea.example.com",), "https": True}, "https://tea.example.com:8443"),
        ("prod", {}, "https://tea-house-x7k2m.example.com"),
        ("prod", {"https": True}, "https://tea-house-x7k2m.example.com"),
        ("prod", {"domains": ("tea.example.org",)}, "https://tea.example.org"),
    ],
)
def test_the_first_domain_is_the_shops_address(environment: str, more: dict[str, object], url: str) -> None:
    found = Plans(ROOT, settings.load(ROOT, environment)).desired(store(**more))
    ingress = found.release.values["ingress"]
    assert found.url == url
    assert found.host == ingress["host"]
    assert ingress["host"].startswith("tea-house-x7k2m.")
    assert ingress["domains"] == list(more.get("domains", ()))
    assert ingress["tls"]["enabled"] is url.startswith("https")


def test_https_without_a_port_of_its_own_takes_the_schemes() -> None:
    plain = settings.load(ROOT, "local").model_copy(update={"https_port": None})
    assert Plans(ROOT, plain).desired(store(https=True)).url == "https://tea-house-x7k2m.127.0.0.1.nip.io"


def test_a_stores_block_without_domains_says_nothing_new() -> None:
    """Else every store would look changed to a program that knows domains."""
    assert isinstance(store(), Store)
    assert set(store().spec()) == {"id", "name", "owner", "cell", "title", "adminEmail", "state"}
