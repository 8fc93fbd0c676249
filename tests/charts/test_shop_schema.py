"""When a shop's database is updated, by whom, and what it says of itself: in a whole shop with its real scripts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.containers.image import Done
from tests.containers.serving import ServingShop

from .test_shop_events import plugin

DUE = 10
OLDER = "older-pod"


def beat(shop: ServingShop) -> int:
    return shop.run("cron", "php /etc/store/schema/heartbeat.php").code


def update(shop: ServingShop) -> Done:
    return shop.run("cron", "php /etc/store/schema/update.php", timeout_s=300)


def state(shop: ServingShop) -> dict[str, Any]:
    done = shop.run("cron", "php /etc/store/schema/state.php")
    assert done.code == 0, done
    return dict(json.loads(done.out.strip().splitlines()[-1]))


def option(shop: ServingShop, name: str) -> str:
    (row,) = shop.rows("SELECT option_value FROM wp_options WHERE option_name = %s", name)
    return str(row["option_value"])


def set_option(shop: ServingShop, name: str, value: str) -> None:
    shop.query("UPDATE wp_options SET option_value = %s WHERE option_name = %s", value, name)


def environment(shop: ServingShop) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in shop.pod.rendered.container("cron")["env"]}


def other_pod(shop: ServingShop, *, seen_s_ago: int, wordpress_db: int = 60421) -> None:
    shop.query(
        "REPLACE INTO wp_store_pods VALUES (%s, 'old', '6.8.3', %s, NULL, UNIX_TIMESTAMP() - %s)",
        OLDER, wordpress_db, seen_s_ago,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def as_new(shop: ServingShop) -> Iterator[None]:
    """Leave the shop's database at the version of its code, with no other pod."""
    assert beat(shop) == 0
    names = ("db_version", "woocommerce_version", "woocommerce_db_version")
    before = {name: option(shop, name) for name in names}
    yield
    for name, value in before.items():
        set_option(shop, name, value)
    shop.query("DELETE FROM wp_store_pods WHERE pod = %s", OLDER)
    shop.query("UPDATE wp_store_images SET failure = NULL")


def test_a_heartbeat_says_what_the_pod_is_and_what_database_its_image_needs(shop: ServingShop) -> None:
    (pod,) = shop.rows("SELECT *, UNIX_TIMESTAMP() - seen_at AS ago FROM wp_store_pods")
    (image,) = shop.rows("SELECT * FROM wp_store_images")
    assert str(pod["wordpress_db"]) == option(shop, "db_version")
    assert pod["woocommerce"] == option(shop, "woocommerce_version")
    assert 0 <= pod["ago"] < 60
    assert (image["image"], image["wordpress_db"]) == (environment(shop)["STORE_IMAGE"], pod["wordpress_db"])
    told = state(shop)
    assert (told["pending"], told["waits_for"], told["failure"]) == ([], [], None)
    assert told["code"]["wordpress_db"] == told["database"]["wordpress_db"]


def test_an_older_database_is_brought_up_to_date_by_wordpress_own_updater(shop: ServingShop) -> None:
    now = option(shop, "db_version")
    set_option(shop, "db_version", "60421")
    assert state(shop)["pending"] == [f"WordPress 60421 -> {now}"]
    assert beat(shop) == DUE
    done = update(shop)
    assert done.code == 0, done
    assert option(shop, "db_version") == now
    assert beat(shop) == 0


def test_nothing_is_updated_while_a_pod_of_another_version_may_still_serve(shop: ServingShop) -> None:
    gone_s = int(environment(shop)["STORE_POD_GONE_SECONDS"])
    set_option(shop, "db_version", "60421")
    other_pod(shop, seen_s_ago=gone_s - 10)
    assert beat(shop) == 0
    assert state(shop)["waits_for"][0]["pod"] == OLDER
    assert update(shop).code == 0
    assert option(shop, "db_version") == "60421"
    other_pod(shop, seen_s_ago=gone_s + 1)
    assert beat(shop) == DUE


def test_a_pod_whose_pages_fail_never_updates_the_database(shop: ServingShop) -> None:
    set_option(shop, "db_version", "60421")
    file = shop.place("/var/www/html/wp-content/mu-plugins/zz-test.php")
    file.write_text("<?php if (PHP_SAPI === 'apache2handler') { http_response_code(500); exit; }")
    try:
        assert beat(shop) == 0
    finally:
        file.unlink()
    assert beat(shop) == DUE


def test_pods_of_the_same_version_wait_for_nobody(shop: ServingShop) -> None:
    (pod,) = shop.rows("SELECT * FROM wp_store_pods")
    set_option(shop, "db_version", "60421")
    shop.query(
        "REPLACE INTO wp_store_pods SELECT %s, image, wordpress, wordpress_db, woocommerce, seen_at FROM wp_store_pods"
        " WHERE pod = %s", OLDER, pod["pod"],
    )  # fmt: skip
    assert beat(shop) == DUE


def test_a_database_that_is_newer_than_the_code_is_left_alone(shop: ServingShop) -> None:
    set_option(shop, "db_version", "99999")
    assert beat(shop) == 0
    assert update(shop).code == 0
    assert option(shop, "db_version") == "99999"


def test_no_page_view_updates_woocommerce_but_the_pod_does(shop: ServingShop) -> None:
    now = option(shop, "woocommerce_version")
    for name in ("woocommerce_version", "woocommerce_db_version"):
        set_option(shop, name, "10.9.0")
    assert shop.ask("GET", "/")[0] == 200
    assert option(shop, "woocommerce_version") == "10.9.0"
    assert beat(shop) == DUE
    done = update(shop)
    assert done.code == 0, done
    assert (option(shop, "woocommerce_version"), option(shop, "woocommerce_db_version")) == (now, now)
    assert state(shop)["pending"] == []


def test_an_update_that_fails_is_told_and_the_shop_serves(shop: ServingShop) -> None:
    set_option(shop, "db_version", "60421")
    file = shop.place("/var/www/html/wp-content/mu-plugins/zz-test.php")
    file.write_text("<?php if (defined('WP_INSTALLING')) { fwrite(STDERR, \"no such table\\n\"); exit(1); }")
    try:
        done = update(shop)
    finally:
        file.unlink()
    assert done.code == 1, done
    assert option(shop, "db_version") == "60421"
    assert "ended before its last line" in state(shop)["failure"]
    assert shop.ask("GET", "/")[0] == 200
    assert update(shop).code == 0
    assert state(shop)["failure"] is None


def test_a_program_that_an_update_leaves_running_ends_with_it(shop: ServingShop) -> None:
    """Else the container's turn would be that program's, and neither tasks nor another update would ever run."""
    set_option(shop, "db_version", "60421")
    beats = """
        bash /etc/store/schema/run.sh > /tmp/said 2>&1 &
        until grep 'the database is updated' /tmp/said; do sleep 0.1; done
        timeout 30 php -r 'flock(fopen("/tmp/wordpress.lock", "c"), LOCK_EX) && print("its turn is over");'
    """
    with plugin(shop, "if (defined('WP_INSTALLING')) { exec('sleep 1000 > /dev/null 2>&1 &'); }"):
        done = shop.run("cron", beats, SCHEMA_HEARTBEAT_SECONDS="1")
    assert "the database is updated" in done.out
    assert "its turn is over" in done.out


def test_an_update_waits_for_a_pod_that_sets_itself_up(shop: ServingShop) -> None:
    set_option(shop, "db_version", "60421")
    with contextlib.closing(shop.connection()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('store-install', 0)")
        assert cursor.fetchone()[0] == 1
        done = update(shop)
        assert "another pod sets itself up" in done.out
        assert option(shop, "db_version") == "60421"
    assert update(shop).code == 0
    assert option(shop, "db_version") != "60421"
