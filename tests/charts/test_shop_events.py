"""From a changed product to the platform's receiver, in a whole shop: who, from where, what, and nothing is lost."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

from tests.containers.receiver import Receiver, urls
from tests.containers.serving import OTHER_IP, RECEIVER_IP, ServingShop

from .rendering import RELEASE

CHANGE = "action.store_product_change"
VISITOR = "203.0.113.7"


def product(shop: ServingShop, **fields: Any) -> int:
    return int(shop.rest("POST", "/products", {"name": "Tea", "regular_price": "10", **fields})["id"])


def told(shop: ServingShop, after: int) -> list[tuple[str, dict[str, Any]]]:
    """Return action and changes of each event since."""
    return [(event["payload"]["action"], event["payload"]["changes"]) for event in shop.events(after)]


@contextlib.contextmanager
def plugin(shop: ServingShop, code: str) -> Iterator[None]:
    """Load a piece of PHP with every request, as somebody's plugin would be."""
    # A name that was never used: the web server's cache takes a file for what it was when it was first read.
    file = shop.place(f"/var/www/html/wp-content/mu-plugins/zz-test-{uuid.uuid4().hex}.php")
    file.write_text(f"<?php {code}")
    try:
        yield
    finally:
        file.unlink()


def test_each_change_by_rest_says_who_from_where_and_what(shop: ServingShop) -> None:
    before = shop.last_event()
    tea = product(shop, manage_stock=True, stock_quantity=5)
    shop.rest("PUT", f"/products/{tea}", {"regular_price": "12"})
    shop.rest("PUT", f"/products/{tea}", {"regular_price": "12"})
    shop.rest("DELETE", f"/products/{tea}")
    shop.rest("DELETE", f"/products/{tea}?force=true")

    events = shop.events(before)
    # The third request changed nothing, so there is nothing to tell.
    assert [event["payload"]["action"] for event in events] == [
        "product.created", "product.updated", "product.trashed", "product.deleted",
    ]  # fmt: skip
    assert events[0]["payload"]["changes"]["regular_price"]["to"] == "10"
    changes = events[1]["payload"]["changes"]
    assert changes["regular_price"] == {"from": "10", "to": "12"}
    assert set(changes) <= {"regular_price", "price"}
    for event in events:
        payload = event["payload"]
        assert payload["outcome"] == "success"
        assert (payload["object"]["id"], payload["object"]["name"]) == (tea, "Tea")
        actor = payload["actor"]
        assert (actor["user_id"], actor["login"], actor["ip"], actor["via"]) == (1, "admin", VISITOR, "rest")
        assert actor["application_password"]["name"] == "tests"
        assert actor["user_agent"] == "tests/1"
        # The path without its query, which can hold keys.
        assert actor["path"].startswith("/wp-json/wc/v3/products")
        assert "force" not in str(payload)


def test_an_address_that_no_trusted_proxy_told_is_not_believed(shop: ServingShop) -> None:
    before = shop.last_event()
    # The last address is the one that the trusted proxy added; what stands before it, the visitor made up.
    tea = shop.rest("POST", "/products", {"name": "Tea"}, visitor=f"198.51.100.1, {VISITOR}")["id"]
    assert shop.events(before)[0]["payload"]["actor"]["ip"] == VISITOR
    shop.rest("DELETE", f"/products/{tea}?force=true")


def test_changes_by_wordpress_own_functions_are_seen_too(shop: ServingShop) -> None:
    """What the admin page does besides WooCommerce: titles, categories, pictures, trash, deleting for good."""
    tea = product(shop)
    before = shop.last_event()
    shop.php(
        f"$id = {tea};"
        "wp_update_post(['ID' => $id, 'post_title' => 'Black tea', 'post_password' => 'hidden']);"
        "wp_set_object_terms($id, ['teas'], 'product_cat');"
        "update_post_meta($id, '_regular_price', '11'); update_post_meta($id, '_regular_price', '11');"
        "update_post_meta($id, '_other_plugins_key', 'a secret of theirs'); update_post_meta($id, '_edit_lock', '1:1');"
        "wp_trash_post($id); wp_untrash_post($id); wp_delete_post($id, true);",
        user="admin",
    )
    events = told(shop, before)
    assert events[0] == (
        "product.updated",
        {"name": {"from": "Tea", "to": "Black tea"}, "post_password": {"changed": True}},
    )
    assert events[1][1]["product_cat"]["to"] == ["teas"]
    assert events[2][1] == {"regular_price": {"from": "10", "to": "11"}}
    assert events[3][1] == {"meta:_other_plugins_key": {"changed": True}}
    assert [action for action, _ in events[4:]] == ["product.trashed", "product.restored", "product.deleted"]
    assert "hidden" not in str(shop.events(before))
    assert "secret of theirs" not in str(shop.events(before))
    actor = shop.events(before)[0]["payload"]["actor"]
    assert (actor["login"], actor["via"], actor["ip"], actor["path"]) == ("admin", "cli", None, None)


def test_pages_and_posts_are_nobodys_business(shop: ServingShop) -> None:
    before = shop.last_event()
    shop.php(
        "$id = wp_insert_post(['post_type' => 'page', 'post_title' => 'About', 'post_status' => 'publish']);"
        "update_post_meta($id, '_price', '1'); wp_trash_post($id); wp_delete_post($id, true);"
        "$id = wp_insert_post(['post_type' => 'product', 'post_status' => 'auto-draft']); wp_delete_post($id, true);"
    )
    assert told(shop, before) == []


def test_an_order_takes_stock_in_the_visitors_name_and_says_which_order(shop: ServingShop) -> None:
    tea = product(shop, manage_stock=True, stock_quantity=5)
    before = shop.last_event()
    order = buy(shop, tea, 2, visitor="203.0.113.9")
    events = [event["payload"] for event in shop.events(before)]
    stock = [event for event in events if "stock_quantity" in event["changes"]]
    assert [stock_change(event) for event in stock] == [(5, 3)]
    assert stock[0]["order_id"] == order["order_id"]
    actor = stock[0]["actor"]
    assert (actor["user_id"], actor["login"], actor["ip"], actor["via"]) == (0, "", "203.0.113.9", "store-api")
    assert shop.rest("GET", f"/products/{tea}")["stock_quantity"] == 3

    shop.rest("PUT", f"/orders/{order['order_id']}", {"status": "cancelled"})
    assert shop.rest("GET", f"/products/{tea}")["stock_quantity"] == 5
    last = [event["payload"] for event in shop.events(before) if "stock_quantity" in event["payload"]["changes"]][-1]
    assert (int(last["changes"]["stock_quantity"]["to"]), last["order_id"], last["actor"]["login"]) == (
        5, order["order_id"], "admin",
    )  # fmt: skip


def stock_change(event: dict[str, Any]) -> tuple[int, int]:
    change = event["changes"]["stock_quantity"]
    return int(change["from"]), int(change["to"])


def buy(shop: ServingShop, product_id: int, quantity: int, *, visitor: str = VISITOR) -> dict[str, Any]:
    """Place an order as a visitor's browser does; return its answer."""
    _, _, headers = shop.ask("GET", "/wp-json/wc/store/v1/cart")
    token = {"Cart-Token": {name.lower(): value for name, value in headers.items()}["cart-token"]}
    line = {"id": product_id, "quantity": quantity}
    status, data, _ = shop.ask("POST", "/wp-json/wc/store/v1/cart/add-item", line, headers=token)
    assert status == 201, data
    address = {
        "first_name": "Ann", "last_name": "Buyer", "address_1": "Street 1", "city": "Berlin", "postcode": "10115",
        "country": "DE", "state": "DE-BE", "email": "ann@example.com", "phone": "030",
    }  # fmt: skip
    order = {"billing_address": address, "payment_method": "cod"}
    status, data, _ = shop.ask("POST", "/wp-json/wc/store/v1/checkout", order, headers=token, visitor=visitor)
    assert status == 200, data
    return dict(data)


def test_quick_changes_arrive_one_by_one_signed_and_in_order(shop: ServingShop, receiver: Receiver) -> None:
    tea = product(shop)
    for price in ("11", "12", "13"):
        shop.rest("PUT", f"/products/{tea}", {"regular_price": price})
    shop.cron()
    shop.cron()

    changes = receiver.of(CHANGE)
    assert [change.data["changes"]["regular_price"]["to"] for change in changes] == ["10", "11", "12", "13"]
    sequences = [change.data["sequence"] for change in changes]
    assert sequences == list(range(sequences[0], sequences[0] + 4))
    assert len({change.data["event_id"] for change in changes}) == 4
    for change in changes:
        assert change.data["store"] == RELEASE
        assert change.data["actor"]["ip"] == VISITOR
        assert change.headers["X-WC-Webhook-Delivery-ID"] == change.data["event_id"]
    # WooCommerce's own: the three changes are one, with the last price.
    assert urls(receiver.of("product.created")) == ["product.created"]
    assert [delivery.data["regular_price"] for delivery in receiver.of("product.updated")] == ["13"]
    assert all(delivery.is_signed(shop.secrets["webhook-secret"]) for delivery in receiver.deliveries)
    assert not any(delivery.is_signed("another secret") for delivery in receiver.deliveries)
    # No request that is neither JSON nor signed: no test request of WooCommerce.
    assert all(delivery.topic for delivery in receiver.deliveries), urls(receiver.deliveries)
    headers = receiver.of("product.updated")[0].headers
    assert headers["X-WC-Webhook-Source"] == f"https://{RELEASE}.127.0.0.1.nip.io/"
    assert (headers["X-WC-Webhook-Resource"], headers["X-WC-Webhook-Event"]) == ("product", "updated")


def test_a_product_that_is_deleted_for_good_is_told_by_every_way(shop: ServingShop, receiver: Receiver) -> None:
    by_rest, by_wordpress = product(shop), product(shop)
    shop.cron()
    receiver.deliveries.clear()
    shop.rest("DELETE", f"/products/{by_rest}?force=true")
    shop.php(f"wp_delete_post({by_wordpress}, true);")
    shop.cron()
    shop.cron()
    assert sorted(delivery.data["id"] for delivery in receiver.of("product.deleted")) == [by_rest, by_wordpress]
    assert [change.data["action"] for change in receiver.of(CHANGE)] == ["product.deleted", "product.deleted"]


def test_nothing_is_lost_while_the_receiver_is_down_or_answers_nonsense(shop: ServingShop) -> None:
    shop.settle()
    before = shop.last_event()
    tea = product(shop)
    log = shop.cron()
    assert "events: the receiver" in log
    shop.rest("PUT", f"/products/{tea}", {"regular_price": "11"})
    shop.rest("DELETE", f"/products/{tea}?force=true")
    # It is not asked again at once.
    assert shop.events(before)[0]["next_attempt_at"] is not None
    assert shop.events(before)[0]["attempts"] == 1
    shop.query("UPDATE wp_store_outbox SET next_attempt_at = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR WHERE attempts = 1")
    shop.cron()
    assert shop.events(before)[0]["attempts"] == 1

    receiver = Receiver(shop.network)
    try:
        for status in (500, 302, 404, 401):
            receiver.answers = [status]
            shop.query("UPDATE wp_store_outbox SET next_attempt_at = NULL WHERE state = 'ready'")
            shop.cron()
            assert [event["state"] for event in shop.events(before)] == ["ready"] * 3, status
        receiver.deliveries.clear()
        shop.query("UPDATE wp_store_outbox SET next_attempt_at = NULL WHERE state = 'ready'")
        shop.cron()
        actions = [change.data["action"] for change in receiver.of(CHANGE)]
        assert actions == ["product.created", "product.updated", "product.deleted"]
        sequences = [change.data["sequence"] for change in receiver.of(CHANGE)]
        assert sequences == list(range(sequences[0], sequences[0] + 3))
        assert {event["state"] for event in shop.events(before)} == {"delivered"}
        receiver.deliveries.clear()
        shop.cron()
        assert receiver.of(CHANGE) == []
    finally:
        receiver.close()


def test_an_event_that_the_receiver_will_never_take_is_put_aside_after_eight_tries(
    shop: ServingShop, receiver: Receiver
) -> None:
    before = shop.last_event()
    tea = product(shop)
    shop.rest("PUT", f"/products/{tea}", {"regular_price": "11"})
    for attempt in range(1, 9):
        assert shop.events(before)[0]["state"] == "ready", attempt
        receiver.answers = [422]
        shop.query("UPDATE wp_store_outbox SET next_attempt_at = NULL WHERE state = 'ready'")
        log = shop.cron()
    assert "is put aside after 8 tries: status 422" in log
    assert [event["state"] for event in shop.events(before)] == ["refused", "delivered"]


def test_a_process_that_is_killed_in_a_save_leaves_an_event_of_unknown_outcome(
    shop: ServingShop, receiver: Receiver
) -> None:
    tea = product(shop)
    shop.settle()
    receiver.deliveries.clear()
    before = shop.last_event()
    with plugin(shop, "add_action('woocommerce_update_product', fn () => posix_kill(getmypid(), 9), 0);"):
        shop.php_dies(f"$p = wc_get_product({tea}); $p->set_regular_price('99'); $p->save();")
    assert [event["state"] for event in shop.events(before)] == ["open"]
    shop.cron()
    assert receiver.of(CHANGE) == []
    shop.query("UPDATE wp_store_outbox SET occurred_at = occurred_at - INTERVAL 11 MINUTE WHERE state = 'open'")
    shop.cron()
    (change,) = receiver.of(CHANGE)
    assert change.data["outcome"] == "unknown"
    assert change.data["changes"]["regular_price"] == {"from": "10", "to": "99"}


def test_a_save_that_ends_in_an_error_is_told_at_once_as_unknown(shop: ServingShop) -> None:
    tea = product(shop)
    before = shop.last_event()
    with plugin(shop, "add_action('woocommerce_update_product', fn () => throw new Exception('broken'), 0);"):
        status, _, _ = shop.ask(
            "PUT", f"/wp-json/wc/v3/products/{tea}", {"regular_price": "99"}, password=shop.application_password
        )
    # WooCommerce catches what its REST interface meets, and answers 400; the stand-in does not, so it is 500 there.
    assert status >= 400
    (event,) = shop.events(before)
    assert (event["state"], event["payload"]["outcome"]) == ("ready", "unknown")


def test_the_outbox_makes_itself_where_a_restored_database_has_none(shop: ServingShop) -> None:
    shop.settle()
    shop.query("DROP TABLE wp_store_outbox")
    tea = product(shop)
    assert [event["payload"]["object"]["id"] for event in shop.events()] == [tea]


def test_events_of_another_store_in_a_restored_database_stay_where_they_are(
    shop: ServingShop, receiver: Receiver
) -> None:
    before = shop.last_event()
    product(shop)
    shop.query("UPDATE wp_store_outbox SET store = 'coffee-bar-p4n9d' WHERE id > %s", before)
    shop.cron()
    assert receiver.of(CHANGE) == []


def test_two_senders_at_once_send_nothing_twice(shop: ServingShop, receiver: Receiver) -> None:
    """The lock's name is that of every chart before: old and new pods send side by side while they are replaced."""
    product(shop)
    with contextlib.closing(shop.connection()) as other, other.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('store-outbox', 0)")
        shop.cron()
        assert receiver.of(CHANGE) == []
    shop.cron()
    assert len(receiver.of(CHANGE)) == 1


GALERA = """php <<'PHP'
<?php
foreach (['problems', 'sender', 'child', 'turn'] as $part) {
    require "/etc/store/cron/$part.php";
}
require '/etc/store/install/lib.php';
final class Galera extends mysqli
{
    public function query(string $sql, int $mode = MYSQLI_STORE_RESULT): mysqli_result|bool
    {
        $refusal = "SIGNAL SQLSTATE '42000' SET MYSQL_ERRNO = 1235, MESSAGE_TEXT = 'no GET_LOCK in cluster'";
        return parent::query(str_contains($sql, 'GET_LOCK') ? $refusal : $sql, $mode);
    }
}
mysqli_report(MYSQLI_REPORT_OFF);
$names = array_map(getenv(...), ['WORDPRESS_DB_HOST', 'WORDPRESS_DB_USER', 'WORDPRESS_DB_NAME']);
$db = new Galera($names[0], $names[1], secret(CREDENTIALS_DIR . '/mariadb-password'), $names[2]);
$settings = json_decode(file_get_contents('/etc/store/platform/settings.json'), true);
$problems = new Problems(static fn (string $line) => print("$line\\n"));
$sender = new Sender($settings, '/etc/store/webhook/webhook-secret', 'wp_', $problems);
$sender->send_due($db, static fn () => null, static fn () => false);
done();
PHP
exit $?
"""


def test_a_server_that_takes_no_locks_is_told_and_nothing_is_sent(shop: ServingShop, receiver: Receiver) -> None:
    """As Galera of some versions, whose answer to GET_LOCK the real server gives here."""
    product(shop)
    done = shop.run("cron", GALERA)
    assert done.code == 0, done
    assert "events: MariaDB gives no lock: no GET_LOCK in cluster; docs/database.md says which" in done.out
    assert receiver.of(CHANGE) == []
    shop.cron()
    assert len(receiver.of(CHANGE)) == 1


def test_old_events_are_removed_and_numbers_go_on(shop: ServingShop, receiver: Receiver) -> None:
    product(shop)
    shop.cron()
    shop.query("UPDATE wp_store_outbox SET occurred_at = occurred_at - INTERVAL 31 DAY")
    waiting = shop.last_event()
    receiver.answers = [500] * 9
    product(shop)
    shop.query("UPDATE wp_store_outbox SET occurred_at = occurred_at - INTERVAL 31 DAY WHERE id > %s", waiting)
    shop.cron()
    left = shop.events()
    # What waits is never removed, and of the sent ones the newest keeps the count.
    assert [event["state"] for event in left][-1] == "ready"
    assert len(left) == 1 + len([event for event in left if event["state"] == "delivered"]) <= 2
    receiver.answers = []
    last = receiver.of(CHANGE)[-1].data["sequence"]
    shop.query("UPDATE wp_store_outbox SET next_attempt_at = NULL")
    product(shop)
    shop.cron()
    assert receiver.of(CHANGE)[-1].data["sequence"] == last + 1


def test_wordpress_reaches_the_receiver_and_no_other_private_address(shop: ServingShop, receiver: Receiver) -> None:
    strangers = [Receiver(shop.network, 9001), Receiver(shop.network, 9000, host=OTHER_IP), Receiver(shop.network, 80)]
    addresses = [
        f"http://{RECEIVER_IP}:9000/x", f"http://{RECEIVER_IP}:9001/x", f"http://{OTHER_IP}:9000/x",
        f"http://{RECEIVER_IP}/x", f"https://{RECEIVER_IP}:9000/x", f"http://user@{RECEIVER_IP}:9000/x",
    ]  # fmt: skip
    listed = ", ".join(f"'{address}'" for address in addresses)
    answers = shop.php(
        f"return array_map(fn ($url) => is_wp_error(wp_safe_remote_post($url)) ? 'refused' : 'reached', [{listed}]);"
    )
    assert answers == ["reached", *["refused"] * 5]
    assert len(receiver.deliveries) == 1
    assert [stranger.deliveries for stranger in strangers] == [[], [], []]
    for stranger in strangers:
        stranger.close()


def webhooks(shop: ServingShop) -> list[tuple[str, str, int]]:
    found = shop.rows("SELECT topic, status, failure_count FROM wp_wc_webhooks ORDER BY topic")
    return [(row["topic"], row["status"], row["failure_count"]) for row in found]


ACTIVE = [("product.created", "active", 0), ("product.deleted", "active", 0), ("product.updated", "active", 0)]


def test_a_webhook_survives_more_failures_than_woocommerce_allows(shop: ServingShop, receiver: Receiver) -> None:
    tea = product(shop)
    shop.settle()
    for price in range(20, 29):
        receiver.answers = [500] * 9
        shop.rest("PUT", f"/products/{tea}", {"regular_price": str(price)})
        shop.run("cron", "php /etc/store/cron/queue.php")
    assert ("product.updated", "active", 9) in webhooks(shop)
    receiver.answers = []
    shop.settle()
    receiver.deliveries.clear()
    shop.rest("PUT", f"/products/{tea}", {"regular_price": "30"})
    shop.cron()
    assert [delivery.data["regular_price"] for delivery in receiver.of("product.updated")] == ["30"]


def test_the_next_install_puts_right_what_was_switched_off_and_changes_nothing_else(
    shop: ServingShop, receiver: Receiver
) -> None:
    shop.query("UPDATE wp_wc_webhooks SET failure_count = 0")
    before = shop.rows("SELECT * FROM wp_wc_webhooks ORDER BY webhook_id")
    assert "step-50-webhooks:" not in shop.install()
    assert shop.rows("SELECT * FROM wp_wc_webhooks ORDER BY webhook_id") == before

    shop.query(
        "UPDATE wp_wc_webhooks SET status = 'disabled', failure_count = 6, secret = 'old'"
        " WHERE topic = 'product.updated'"
    )
    shop.php("WC_Data_Store::load('webhook'); delete_transient('woocommerce_webhook_ids_status_active');")
    log = shop.install()
    assert "product.updated is sent to" in log
    assert "secret, status, failure_count put right" in log
    assert shop.secrets["webhook-secret"] not in log
    assert webhooks(shop) == ACTIVE
    assert {row["secret"] for row in shop.rows("SELECT secret FROM wp_wc_webhooks")} == {shop.secrets["webhook-secret"]}
    # Registering asks nobody anything.
    assert receiver.deliveries == []


def test_without_a_receiver_nothing_is_registered_and_nothing_leaves(shop: ServingShop, receiver: Receiver) -> None:
    url = shop.values["webhooks"]["receiverUrl"]
    try:
        shop.configure(webhooks={"receiverUrl": ""})
        assert "is no longer sent: webhooks.receiverUrl is empty" in shop.install()
        assert webhooks(shop) == []
        before = shop.last_event()
        product(shop)
        shop.cron()
        assert [event["state"] for event in shop.events(before)] == ["ready"]
        assert receiver.deliveries == []
    finally:
        shop.configure(webhooks={"receiverUrl": url})
        shop.install()
    assert webhooks(shop) == ACTIVE
    shop.cron()
    # What happened meanwhile is told late, not never.
    assert len(receiver.of(CHANGE)) == 1


def test_who_may_manage_the_shop_sees_what_waits_and_nobody_else(shop: ServingShop) -> None:
    shop.settle()
    product(shop)
    path = "/wp-json/store-platform/v1/health"
    status, data, _ = shop.ask("GET", path, password=shop.application_password)
    assert (status, data["events"]["pending"], data["events"]["receiver"]) == (200, 1, True)
    shop.query("UPDATE wp_store_outbox SET occurred_at = occurred_at - INTERVAL 1 HOUR WHERE state = 'ready'")
    _, data, _ = shop.ask("GET", path, password=shop.application_password)
    assert any("1 events of products wait" in problem for problem in data["problems"])
    assert shop.ask("GET", path)[0] == 401


def test_no_secret_stands_in_the_log_or_in_what_is_sent(shop: ServingShop, receiver: Receiver) -> None:
    product(shop)
    log = shop.install() + shop.cron() + shop.web_log()
    assert receiver.deliveries != []
    for name, secret in shop.secrets.items():
        assert secret not in log, name
        assert all(secret.encode() not in delivery.body for delivery in receiver.deliveries), name
