from __future__ import annotations

import pytest
from hypothesis import given, settings

from sandbox.policies.objects import Cluster, Pod, policy_of, ports_of
from sandbox.policies.ruleset import Ruleset
from sandbox.policies.translation import translate

from .judge import passes, rules_of
from .reference import Object, World
from .worlds import PODS, connections, policy, world, worlds

XA, XB, YA, YB, ZA, ZB = PODS
OUTSIDE = "192.0.2.7"


def allowed(*policies: Object, source: str = XB.address, target: str = XA.address, port: int = 80) -> bool:
    """Return whether the rules for these policies let TCP through."""
    return passes(rules_of(world(*policies)), source, target, "TCP", port)


@settings(max_examples=300, deadline=None)
@given(worlds)
def test_the_rules_decide_as_the_documentation_says(found: World) -> None:
    rules = rules_of(found)
    for source, target, protocol, port in connections(found):
        decided = passes(rules, source.address, target.address, protocol, port)
        assert decided == found.allows(source, target, protocol, port), (source, target, protocol, port)


def test_a_pod_that_no_policy_selects_is_open() -> None:
    assert allowed()
    assert allowed(policy("y", "deny", policyTypes=["Ingress", "Egress"]))


def test_a_policy_without_types_closes_the_way_in_and_the_way_out_only_if_it_has_rules_for_it() -> None:
    assert not allowed(policy("x", "in"), source=YA.address)
    assert allowed(policy("x", "in"), source=XA.address, target=YA.address)
    out = policy("x", "out", egress=[{"to": [{"podSelector": {"matchLabels": {"app": "nobody"}}}]}])
    assert not allowed(out, source=XA.address, target=YA.address)


def test_policies_add_up() -> None:
    closed = policy("x", "deny", policyTypes=["Ingress"])
    door = policy("x", "door", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "b"}}}]}])
    assert not allowed(closed)
    assert allowed(closed, door)
    assert not allowed(closed, door, source=YB.address)


def test_both_sides_must_agree() -> None:
    out = policy("x", "out", policyTypes=["Egress"])
    into = policy("y", "in", policyTypes=["Ingress"])
    to_y = policy("x", "to-y", policyTypes=["Egress"], egress=[{"to": [{"namespaceSelector": {}}]}])
    from_x = policy("y", "from-x", ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"team": "blue"}}}]}])
    for policies, expected in (
        ((out, into), False),
        ((out, into, to_y), False),
        ((out, into, from_x), False),
        ((out, into, to_y, from_x), True),
    ):
        assert allowed(*policies, source=XA.address, target=YA.address) is expected


def test_two_selectors_in_one_entry_both_count_and_two_entries_are_alternatives() -> None:
    names, pods = (
        {"namespaceSelector": {"matchLabels": {"tier": "gold"}}},
        {"podSelector": {"matchLabels": {"app": "b"}}},
    )
    together = policy("x", "and", ingress=[{"from": [{**names, **pods}]}])
    apart = policy("x", "or", ingress=[{"from": [names, pods]}])
    for source, both, either in ((YA, False, True), (YB, True, True), (XB, False, True), (ZB, False, False)):
        assert allowed(together, source=source.address) is both
        assert allowed(apart, source=source.address) is either


def test_an_empty_selector_is_everything_and_an_empty_list_of_rules_is_nothing() -> None:
    assert allowed(policy("x", "all", ingress=[{}]), source=OUTSIDE)
    assert allowed(policy("x", "pods", ingress=[{"from": [{"namespaceSelector": {}}]}]), source=ZA.address)
    assert not allowed(policy("x", "pods", ingress=[{"from": [{"namespaceSelector": {}}]}]), source=OUTSIDE)
    assert not allowed(policy("x", "none", ingress=[]))
    assert not allowed(policy("x", "own", ingress=[{"from": [{"podSelector": {}}]}]), source=YA.address)


@pytest.mark.parametrize(("port", "expected"), [(79, False), (80, True), (81, True), (82, False)])
def test_a_range_of_ports_ends_with_its_last(port: int, expected: bool) -> None:  # noqa: FBT001
    ranged = policy("x", "range", ingress=[{"ports": [{"port": 80, "endPort": 81}]}])
    assert allowed(ranged, port=port) is expected


def test_overlapping_ranges_become_one() -> None:
    entries = [{"port": 80, "endPort": 90}, {"port": 85, "endPort": 100}, {"port": 101}, {"port": 443}]
    (chain,) = rules_of(world(policy("x", "many", ingress=[{"ports": entries}]))).chains.values()
    assert [rule.ports for rule in chain] == [((80, 101), (443, 443))]


def test_a_named_port_is_the_one_of_the_pod_that_is_called() -> None:
    named = policy("x", "named", ingress=[{"ports": [{"port": "web"}]}])
    assert allowed(named, source=YA.address, target=XA.address, port=80)
    assert not allowed(named, source=YA.address, target=XA.address, port=8080)
    assert allowed(named, source=YA.address, target=XB.address, port=8080)
    out = policy("y", "out", policyTypes=["Egress"], egress=[{"ports": [{"port": "web"}]}])
    assert allowed(out, source=YA.address, target=XB.address, port=8080)
    assert not allowed(out, source=YA.address, target=XB.address, port=80)
    assert not allowed(out, source=YA.address, target=OUTSIDE, port=80)


def test_a_side_cars_port_has_a_name_too_and_an_init_containers_has_not() -> None:
    port = {"name": "web", "containerPort": 8080}
    spec = {
        "containers": [{"ports": [{"name": "web", "containerPort": 80}, {"containerPort": 1}]}, {}],
        "initContainers": [{"restartPolicy": "Always", "ports": [port]}, {"ports": [{**port, "containerPort": 9}]}],
    }
    assert ports_of(spec) == {("web", "TCP"): frozenset({80, 8080})}


def test_the_holes_of_a_range_are_closed() -> None:
    block = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "10.42.0.0/16", "192.0.2.0/24"]}}
    out = policy("x", "out", policyTypes=["Egress"], egress=[{"to": [block]}])
    assert allowed(out, source=XA.address, target="198.51.100.1")
    for target in ("192.0.2.7", YA.address, "10.99.0.1"):
        assert not allowed(out, source=XA.address, target=target)


def test_a_range_of_ipv6_admits_nobody_and_does_not_open_the_rest() -> None:
    for peers in ([{"ipBlock": {"cidr": "::/0"}}], [{"ipBlock": {"cidr": "::/0"}}, {"podSelector": {}}]):
        assert not allowed(policy("x", "six", ingress=[{"from": peers}]), source=YA.address)


def test_a_pod_reaches_itself() -> None:
    deny = policy("x", "deny", policyTypes=["Ingress", "Egress"])
    assert f"{XA.address} . {XA.address}" in rules_of(world(deny)).text()
    assert allowed(deny, source=XA.address, target=XA.address)


def test_pods_with_the_same_policies_share_their_rules() -> None:
    rules = rules_of(world(policy("x", "deny", policyTypes=["Ingress", "Egress"])))
    assert len(rules.chains) == 2
    assert set(rules.guards["ingress"]) == {XA.address, XB.address}


def test_the_same_cluster_gives_the_same_text_whatever_the_order() -> None:
    policies = [policy("x", "a", ingress=[{"from": [{"podSelector": {}}]}]), policy("y", "b")]
    pods = [Pod(end.namespace or "", end.address, end.address, end.labels, {}) for end in PODS]
    texts = {
        translate(Cluster(world().namespaces, tuple(order), tuple(policy_of(body) for body in policies))).text()
        for order in (pods, pods[::-1])
    }
    assert len(texts) == 1


def test_nobody_is_known_at_first() -> None:
    text = Ruleset().text()
    assert text.count("ip saddr != @known drop") == 2
    assert "elements" not in text
