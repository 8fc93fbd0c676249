"""The objects around a store: what they allow is stated here once more, by hand."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from components import naming, objects
from components.objects import Quota, Surroundings

STORE = "tea-house-x7k2m"
LABELS = naming.labels(STORE, "alice", "local")


@pytest.fixture
def policies() -> dict[str, Any]:
    return objects.network_policies(STORE, Surroundings(), LABELS)


def test_the_namespace_admits_only_restricted_pods() -> None:
    labels = objects.namespace(STORE, LABELS)["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}


def test_the_quota_is_two_cpus_and_four_gibibytes_and_opens_no_port() -> None:
    hard = objects.resource_quota(STORE, Quota(), LABELS)["spec"]["hard"]
    assert (hard["limits.cpu"], hard["limits.memory"]) == ("2", "4Gi")
    assert (hard["services.nodeports"], hard["services.loadbalancers"]) == ("0", "0")
    assert {"persistentvolumeclaims", "requests.storage", "pods", "services"} <= set(hard)


def test_a_container_without_resources_gets_small_ones() -> None:
    container, claim = objects.limit_range(STORE, Quota(), LABELS)["spec"]["limits"]
    assert container["default"] == {"cpu": "100m", "memory": "128Mi"}
    assert container["max"] == {"cpu": "2", "memory": "4Gi"}
    assert claim["max"]["storage"] == "20Gi"


def test_the_service_account_carries_no_token() -> None:
    assert objects.service_account(STORE, LABELS)["automountServiceAccountToken"] is False


def test_nothing_goes_in_or_out_by_default(policies: dict[str, Any]) -> None:
    spec = policies["default-deny"]["spec"]
    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_only_the_ingress_controllers_namespace_reaches_wordpress(policies: dict[str, Any]) -> None:
    (rule,) = policies["wordpress"]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8080}]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}]


def test_only_wordpress_and_backups_of_the_same_store_reach_mariadb(policies: dict[str, Any]) -> None:
    (rule,) = policies["mariadb"]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 3306}]
    # No namespaceSelector: a pod selector alone means pods of this very namespace.
    assert rule["from"] == [
        {"podSelector": {"matchLabels": {"app.kubernetes.io/component": component}}}
        for component in ("wordpress", "backup")
    ]
    assert policies["mariadb"]["spec"]["policyTypes"] == ["Ingress"]


def test_dns_is_the_only_way_out_for_every_pod(policies: dict[str, Any]) -> None:
    every = [
        name
        for name, policy in policies.items()
        if policy["spec"]["podSelector"] == {} and "Egress" in policy["spec"]["policyTypes"]
    ]
    assert sorted(every) == ["default-deny", "dns"]
    (rule,) = policies["dns"]["spec"]["egress"]
    assert {(port["protocol"], port["port"]) for port in rule["ports"]} == {("UDP", 53), ("TCP", 53)}


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "127.0.0.1",
     "169.254.169.254", "0.0.0.1", "224.0.0.1", "255.255.255.255", "192.0.0.192", "168.63.129.16"],
)  # fmt: skip
def test_a_shop_cannot_call_private_addresses(policies: dict[str, Any], address: str) -> None:
    assert not _is_open(policies, address)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "198.20.0.1",
        "192.0.1.1",
        "168.63.129.15",
        "168.63.129.17",
    ],
)
def test_a_shop_can_call_public_addresses_by_https(policies: dict[str, Any], address: str) -> None:
    assert _is_open(policies, address)


def test_the_clusters_own_ranges_are_closed_too() -> None:
    policies = objects.network_policies(STORE, Surroundings(cluster_cidrs=("203.0.113.0/24",)), LABELS)
    assert not _is_open(policies, "203.0.113.7")
    assert _is_open(policies, "203.0.114.7")


def test_only_the_ingress_controller_reaches_a_solver_of_certificate_challenges(policies: dict[str, Any]) -> None:
    spec = policies["acme-solver"]["spec"]
    assert spec["podSelector"] == {}
    (rule,) = spec["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8089}]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}]


def test_an_ingress_controller_on_the_nodes_network_is_admitted_by_its_addresses() -> None:
    policies = objects.network_policies(STORE, Surroundings(ingress_cidrs=("10.0.0.0/24",)), LABELS)
    for name in ("wordpress", "acme-solver"):
        (rule,) = policies[name]["spec"]["ingress"]
        assert rule["from"][1:] == [{"ipBlock": {"cidr": "10.0.0.0/24"}}]
    assert "ipBlock" not in str(policies["mariadb"])


def test_only_the_controllers_own_pods_are_admitted_where_the_settings_name_their_labels() -> None:
    surroundings = Surroundings(ingress_namespace="kube-system", ingress_labels={"app": "traefik"})
    policies = objects.network_policies(STORE, surroundings, LABELS)
    for name in ("wordpress", "acme-solver"):
        (rule,) = policies[name]["spec"]["ingress"]
        # One peer with both selectors.
        assert rule["from"] == [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"app": "traefik"}},
            }
        ]


def test_where_stores_share_a_server_wordpress_and_backups_reach_that_instead_of_a_mariadb_of_their_own() -> None:
    server = objects.Destination(3307, "databases", {"app": "mariadb"})
    plain = objects.network_policies(STORE, Surroundings(), LABELS)
    found = objects.network_policies(STORE, Surroundings(database=server), LABELS)
    assert {name for name in found if found[name] != plain[name]} == {"wordpress", "backup"}
    for name in ("wordpress", "backup"):
        before, after = plain[name]["spec"]["egress"], found[name]["spec"]["egress"]
        assert after[1:] == before[1:]
        assert after[0] == {
            "to": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "databases"}},
                    "podSelector": {"matchLabels": {"app": "mariadb"}},
                }
            ],
            "ports": [{"protocol": "TCP", "port": 3307}],
        }


def test_a_name_server_elsewhere_is_reached_where_the_settings_say() -> None:
    surroundings = Surroundings(dns_ports=(53, 5353), dns_cidrs=("169.254.20.10/32",))
    (rule,) = objects.network_policies(STORE, surroundings, LABELS)["dns"]["spec"]["egress"]
    assert rule["to"][1:] == [{"ipBlock": {"cidr": "169.254.20.10/32"}}]
    assert {port["port"] for port in rule["ports"]} == {53, 5353}


def test_a_shop_reaches_its_receiver_and_its_mail_server_and_nothing_beside_them() -> None:
    receiver = objects.Destination(9000, "platform", {"app": "receiver"})
    relay = objects.Destination(25, cidrs=("10.9.0.4/32",))
    public = objects.Destination(587)
    plain = objects.network_policies(STORE, Surroundings(), LABELS)
    found = objects.network_policies(STORE, Surroundings(destinations=(receiver, relay, public)), LABELS)
    assert {name for name in found if found[name] != plain[name]} == {"wordpress"}
    doors = found["wordpress"]["spec"]["egress"]
    https = doors[1]["to"]
    assert doors[:2] == plain["wordpress"]["spec"]["egress"]
    assert doors[2:] == [
        {
            # One peer with both selectors: pods with the label in that namespace. Two peers would open all of either.
            "to": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "platform"}},
                    "podSelector": {"matchLabels": {"app": "receiver"}},
                }
            ],
            "ports": [{"protocol": "TCP", "port": 9000}],
        },
        {"to": [{"ipBlock": {"cidr": "10.9.0.4/32"}}], "ports": [{"protocol": "TCP", "port": 25}]},
        {"to": https, "ports": [{"protocol": "TCP", "port": 587}]},
    ]


def _is_open(policies: dict[str, Any], address: str) -> bool:
    (rule,) = [rule for rule in policies["wordpress"]["spec"]["egress"] if "ipBlock" in rule["to"][0]]
    assert rule["ports"] == [{"protocol": "TCP", "port": 443}]
    block = rule["to"][0]["ipBlock"]
    target = ipaddress.ip_address(address)
    inside = target in ipaddress.ip_network(block["cidr"])
    return inside and not any(target in ipaddress.ip_network(cidr) for cidr in block["except"])
