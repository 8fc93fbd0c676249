"""Buys something in a store, as a visitor does: a product, a cart, an order that is paid on delivery.

For any cluster of the current kubeconfig: `python tests/kind/order.py [NAMESPACE/RELEASE] [PORT]`. Without a name it
takes the first store that it finds. Ends with code 1 and what was answered where the shop does not sell.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

from kubernetes import client, config
from kubernetes.stream import stream

PORT: Final = 8080
PRODUCT: Final = r"""
$_SERVER['HTTP_HOST'] = parse_url(getenv('STORE_URL') ?: 'http://localhost', PHP_URL_HOST);
require '/var/www/html/wp-load.php';
$product = new WC_Product_Simple();
$product->set_name('Tried by hand');
$product->set_regular_price('12.50');
$product->set_virtual(true);
$product->save();
echo json_encode([
    'id' => $product->get_id(), 'home' => home_url(), 'version' => WC()->version,
    'hpos' => get_option('woocommerce_custom_orders_table_enabled'),
    'comingSoon' => get_option('woocommerce_coming_soon'),
    'theme' => wp_get_theme()->get('Name') . ' ' . wp_get_theme()->get('Version'),
    'peakMib' => round(memory_get_peak_usage(true) / 1048576),
]);
"""


def first_store(core: Any) -> tuple[str, str]:
    """Return namespace and release of the first store."""
    for pod in core.list_pod_for_all_namespaces(label_selector="app.kubernetes.io/component=wordpress").items:
        return pod.metadata.namespace, pod.metadata.labels["app.kubernetes.io/instance"]
    raise SystemExit("there is no store")


def php(core: Any, namespace: str, release: str, code: str) -> Any:
    """Return what the code prints, as data; it runs in the store's web container."""
    selector = f"app.kubernetes.io/instance={release},app.kubernetes.io/component=wordpress"
    pods = core.list_namespaced_pod(namespace, label_selector=selector, field_selector="status.phase=Running").items
    said = stream(
        core.connect_get_namespaced_pod_exec, pods[-1].metadata.name, namespace, container="wordpress",
        command=["php", "-r", code], stdout=True, stderr=False, stdin=False, tty=False, _preload_content=False,
    )  # fmt: skip
    said.run_forever(timeout=120)
    text = said.read_stdout() or ""
    return json.loads(text[text.index("{") :])


def ask(
    port: int, host: str, method: str, path: str, body: Any = None, **headers: str
) -> tuple[Mapping[str, str], Any]:
    """Return headers and data of an answer; ends the program unless it is a success."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    sent = {"Host": host, "Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    connection.request(method, path, None if body is None else json.dumps(body), sent)
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    if answer.status >= 300:
        raise SystemExit(f"{method} {path}: {answer.status} {text[:1000]}")
    return dict(answer.getheaders()), json.loads(text)


def main() -> None:
    """Buy it, and say what was bought."""
    config.load_kube_config()
    core = client.CoreV1Api()
    namespace, release = sys.argv[1].split("/") if len(sys.argv) > 1 else first_store(core)
    port = int(sys.argv[2]) if len(sys.argv) > 2 else PORT
    shop = php(core, namespace, release, PRODUCT)
    host = shop["home"].split("://")[1]
    headers, _ = ask(port, host, "GET", "/wp-json/wc/store/v1/cart")
    token = {name.lower(): value for name, value in headers.items()}["cart-token"]
    ask(port, host, "POST", "/wp-json/wc/store/v1/cart/add-item", {"id": shop["id"], "quantity": 2}, Cart_Token=token)
    address = {
        "first_name": "Ada", "last_name": "Buyer", "address_1": "Street 1", "city": "Berlin", "postcode": "10115",
        "state": "DE-BE", "country": "DE", "email": "ada@example.com", "phone": "030",
    }  # fmt: skip
    order = {"billing_address": address, "payment_method": "cod"}
    _, bought = ask(port, host, "POST", "/wp-json/wc/store/v1/checkout", order, Cart_Token=token)
    if bought["status"] != "processing":
        raise SystemExit(f"the order is {bought['status']}, not processing")
    print(json.dumps({"order": bought["order_id"], "status": bought["status"], **shop}))


if __name__ == "__main__":
    main()
