"""A shop that gets another address finds it in all that it has written down: the install, on a real MariaDB."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.containers.image import Image
from tests.containers.serving import ServingShop, whole_shop

from .rendering import RELEASE, Chart

OLD = f"http://{RELEASE}.127.0.0.1.nip.io"
NEW = "https://tea.example.org"
PLAIN = {"scheme": "http", "port": 80, "domains": []}
OWN = {"scheme": "https", "port": 443, "domains": ["tea.example.org"]}
WEB = {"trustedProxies": ["127.0.0.1"], "externalRequests": False}


@pytest.fixture(scope="module")
def moving(
    chart: Chart, wordpress: Image, mariadb: Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServingShop]:
    """Return an installed shop at its platform host, with an address in every kind of place."""
    values, folder = {"ingress": PLAIN, "web": WEB}, tmp_path_factory.mktemp("moving")
    with whole_shop(wordpress, mariadb, chart, values, folder) as shop:
        shop.install()
        shop.php(
            "$id = wp_insert_post(['post_title' => 'A', 'post_name' => 'moved', 'post_status' => 'publish',"
            f" 'post_content' => '<img src=\"{OLD}/wp-content/uploads/a.png\"> {OLD}:8080/ {OLD}.evil.example/']);"
            f"add_post_meta($id, 'nested', ['é' => ['{OLD}/x', serialize(['{OLD}'])]]);"
            f"add_post_meta($id, 'json', wp_slash(json_encode(['u' => '{OLD}/y'])));"
            f"update_option('some_plugin', (object) ['home' => '{OLD}']); return $id;"
        )
        yield shop


def facts(shop: ServingShop) -> dict[str, Any]:
    (post,) = shop.rows("SELECT ID, post_content, guid FROM wp_posts WHERE post_name = 'moved'")
    nested, plugin, home, site = shop.php(
        f"return [get_post_meta({post['ID']}, 'nested', true), get_option('some_plugin'), home_url(), site_url()];"
    )
    (stored,) = shop.rows("SELECT option_value FROM wp_options WHERE option_name = 'home'")
    (text,) = shop.rows("SELECT meta_value FROM wp_postmeta WHERE meta_key = 'json'")
    return {
        "content": post["post_content"], "guid": post["guid"], "nested": nested, "plugin": plugin, "home": home,
        "site": site, "stored": stored["option_value"], "json": json.loads(text["meta_value"]),
    }  # fmt: skip


def expected(address: str, guid: str) -> dict[str, Any]:
    # The serialized text inside of the serialized array has the address' length of its own.
    inner = f'a:1:{{i:0;s:{len(address)}:"{address}";}}'
    return {
        "content": f'<img src="{address}/wp-content/uploads/a.png"> {OLD}:8080/ {OLD}.evil.example/',
        "guid": guid,
        "nested": {"é": [f"{address}/x", inner]},
        "plugin": {"home": address},
        "home": address,
        "site": address,
        "stored": address,
        "json": {"u": f"{address}/y"},
    }


def test_a_new_domain_is_in_everything_and_back_again(moving: ServingShop) -> None:
    before = facts(moving)
    assert before == expected(OLD, before["guid"])
    assert "values rewritten" not in moving.install()
    moving.configure(ingress=OWN)
    assert f"the address was {OLD} and is now {NEW}: " in moving.install()
    assert facts(moving) == expected(NEW, before["guid"])
    assert "values rewritten" not in moving.install()
    moving.configure(ingress=PLAIN)
    assert f"the address was {NEW} and is now {OLD}: " in moving.install()
    assert facts(moving) == before


def test_a_pod_that_is_killed_while_it_rewrites_is_followed_by_one_that_goes_on(moving: ServingShop) -> None:
    before = facts(moving)
    moving.configure(ingress=OWN)
    # As after a kill between two tables: WordPress' own options are new, nothing else is, nobody said it is done.
    moving.query("UPDATE wp_options SET option_value = %s WHERE option_name IN ('siteurl', 'home')", NEW)
    assert f"the address was {OLD} and is now {NEW}: " in moving.install()
    assert facts(moving) == expected(NEW, before["guid"])
    moving.configure(ingress=PLAIN)
    moving.install()


def test_an_install_that_is_older_than_this_step_moves_too(moving: ServingShop) -> None:
    before = facts(moving)
    moving.query("DELETE FROM wp_options WHERE option_name = 'store_address'")
    moving.configure(ingress=OWN)
    assert f"the address was {OLD} and is now {NEW}: " in moving.install()
    assert facts(moving) == expected(NEW, before["guid"])


def test_a_link_that_leaves_no_room_for_the_new_address_stays_and_the_shop_comes_up(moving: ServingShop) -> None:
    """Any visitor can leave one: with a comment, for example."""
    moving.configure(ingress=OWN)
    moving.install()
    full = {"wp_users.user_url": 100, "wp_comments.comment_author_url": 200}
    links = {column: f"{NEW}/".ljust(width, "x") for column, width in full.items()}
    moving.query("UPDATE wp_users SET user_url = %s LIMIT 1", links["wp_users.user_url"])
    moving.query(
        "INSERT INTO wp_comments (comment_author, comment_author_url, comment_content) VALUES ('A', %s, %s)",
        links["wp_comments.comment_author_url"],
        NEW,
    )
    moving.configure(ingress=PLAIN)
    said = moving.install()
    assert f"the address was {NEW} and is now {OLD}: " in said
    kept = "the old address stays where its column cannot take the new one: wp_comments.comment_author_url 1, "
    assert f"{kept}wp_users.user_url 1" in said
    assert moving.rows("SELECT comment_author_url, comment_content FROM wp_comments WHERE comment_author = 'A'") == [
        {"comment_author_url": links["wp_comments.comment_author_url"], "comment_content": OLD}
    ]
    (address,) = moving.rows("SELECT option_value FROM wp_options WHERE option_name = 'store_address'")
    assert address["option_value"] == OLD
    assert "stays where" not in moving.install()


def test_a_row_that_cannot_be_written_stops_the_step_and_says_so(moving: ServingShop) -> None:
    moving.configure(ingress=OWN)
    moving.install()
    moving.query(
        "CREATE TRIGGER no_change BEFORE UPDATE ON wp_postmeta FOR EACH ROW"
        " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this row'"
    )
    moving.configure(ingress=PLAIN)
    done = moving.run("install")
    assert done.code != 0
    assert "MariaDB refuses: not this row; nothing is lost, the next start goes on" in done.out
    (address,) = moving.rows("SELECT option_value FROM wp_options WHERE option_name = 'store_address'")
    assert address["option_value"] == NEW
    moving.query("DROP TRIGGER no_change")
    assert f"is now {OLD}: " in moving.install()
