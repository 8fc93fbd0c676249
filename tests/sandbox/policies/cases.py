"""Policies as people write them: those of the documentation, those that are often got wrong, and the platform's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from components.objects import Destination, Surroundings, network_policies

from .reference import End, Object, World
from .worlds import NAMESPACES, policy, world

_BOTH = ["Ingress", "Egress"]
_A, _B = ({"podSelector": {"matchLabels": {"app": app}}} for app in ("a", "b"))
_BLUE = {"namespaceSelector": {"matchLabels": {"team": "blue"}}}
_GOLD = {"namespaceSelector": {"matchLabels": {"tier": "gold"}}}
_EVERYWHERE: Mapping[str, Any] = {"namespaceSelector": {}}
_NOT_A = {"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}}
_LED = {"podSelector": {"matchExpressions": [{"key": "role", "operator": "Exists"}]}}
_UNLED = {"podSelector": {"matchExpressions": [{"key": "role", "operator": "DoesNotExist"}]}}


def _block(cidr: str, *holes: str) -> Object:
    return {"ipBlock": {"cidr": cidr, **({"except": list(holes)} if holes else {})}}


def _in(*rules: Object, pods: Object | None = None) -> Object:
    return policy("x", "in", policyTypes=["Ingress"], ingress=list(rules), **({"podSelector": pods} if pods else {}))


def _out(*rules: Object) -> Object:
    return policy("x", "out", policyTypes=["Egress"], egress=list(rules))


_CASES: Mapping[str, Sequence[Object]] = {
    "nothing": (),
    "deny all in": (_in(),),
    "deny all out": (_out(),),
    "deny all": (policy("x", "deny", policyTypes=_BOTH),),
    "deny all everywhere": tuple(policy(name, "deny", policyTypes=_BOTH) for name in NAMESPACES),
    "allow all in": (_in({}),),
    "allow all out": (_out({}),),
    "allow all beside deny all": (_in(), policy("x", "allow", policyTypes=["Ingress"], ingress=[{}])),
    "one pod only": (_in(pods={"matchLabels": {"app": "a"}}),),
    "no such pod": (_in(pods={"matchLabels": {"app": "nobody"}}),),
    "from own pods": (_in({"from": [{"podSelector": {}}]}),),
    "from one app": (_in({"from": [_B]}),),
    "from a namespace": (
        _in({"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "y"}}}]}),
    ),
    "from namespaces by label": (_in({"from": [_BLUE]}),),
    "from every namespace": (_in({"from": [_EVERYWHERE]}),),
    "from an app of a namespace": (_in({"from": [{**_GOLD, **_B}]}),),
    "from an app or a namespace": (_in({"from": [_GOLD, _B]}),),
    "from an app of every namespace": (_in({"from": [{**_EVERYWHERE, **_A}]}),),
    "from all but one app": (_in({"from": [_NOT_A]}),),
    "from pods with a label": (_in({"from": [{**_EVERYWHERE, **_LED}]}),),
    "from pods without a label": (_in({"from": [{**_EVERYWHERE, **_UNLED}]}),),
    "to one app": (_out({"to": [_B]}),),
    "to a namespace": (_out({"to": [_GOLD]}),),
    "one port": (_in({"ports": [{"port": 80}]}),),
    "one port over UDP": (_in({"ports": [{"port": 80, "protocol": "UDP"}]}),),
    "every port of a protocol": (_in({"ports": [{"protocol": "UDP"}]}),),
    "several ports": (_in({"ports": [{"port": 80}, {"port": 81, "protocol": "UDP"}, {"port": 8080}]}),),
    "a range of ports": (_in({"ports": [{"port": 79, "endPort": 81}]}),),
    "a port by name": (_in({"ports": [{"port": "web"}]}),),
    "a port by name over UDP": (_in({"ports": [{"port": "dns", "protocol": "UDP"}]}),),
    "a port by a name with another protocol": (_in({"ports": [{"port": "dns"}]}),),
    "a port by name on the way out": (_out({"ports": [{"port": "web"}]}),),
    "a port of an app": (_in({"from": [_B], "ports": [{"port": 81}]}),),
    "two doors with ports of their own": (
        _in({"from": [_B], "ports": [{"port": 80}]}, {"from": [_GOLD], "ports": [{"port": 81}]}),
    ),
    "from an address range": (_in({"from": [_block("192.0.2.0/24")]}),),
    "from everywhere but a range": (_in({"from": [_block("0.0.0.0/0", "10.0.0.0/8")]}),),
    "from everywhere but overlapping ranges": (_in({"from": [_block("0.0.0.0/0", "10.0.0.0/8", "10.42.0.0/16")]}),),
    "to the internet": (_out({"to": [_block("0.0.0.0/0", "10.0.0.0/8", "192.0.2.0/24")], "ports": [{"port": 80}]}),),
    "to a range of pods": (_out({"to": [_block("10.42.1.0/24")]}),),
    "name service only": (_out({"to": [_EVERYWHERE], "ports": [{"port": 81, "protocol": "UDP"}]}),),
    "both sides": (_out({"to": [_BLUE]}), policy("y", "in", policyTypes=["Ingress"], ingress=[{"from": [_BLUE]}])),
    "one policy per side of a pod": (_in({"from": [_B]}), _out({"to": [_GOLD]})),
    "two policies with a door each": (
        _in({"from": [_B]}),
        policy("x", "second", policyTypes=["Ingress"], ingress=[{"from": [_GOLD]}]),
    ),
    "another protocol only": (_in({"ports": [{"port": 80, "protocol": "SCTP"}]}),),
}


def _platform(surroundings: Surroundings) -> World:
    """Return two stores, the ingress controller, the name server, and who has no business with either."""
    stores = ("tea-a1b2c", "bar-d3e4f")
    labels = {"stores.platform/environment": "local"}
    policies = [
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", **body}
        for store in stores
        for body in network_policies(store, surroundings, labels).values()
    ]
    inside = {**{f"store-{store}": labels for store in stores}, "ingress-nginx": {}, "kube-system": {}, "platform": {}}
    ends = [
        End(f"10.42.{row}.{column + 2}", f"store-{store}", {"app.kubernetes.io/component": component})
        for (row, store), (column, component) in product(
            enumerate(stores), enumerate(("wordpress", "mariadb", "something-else"))
        )
    ]
    ends += [
        End("10.42.3.2", "ingress-nginx", {"app": "ingress"}),
        End("10.42.3.3", "kube-system", {"k8s-app": "kube-dns"}),
        End("10.42.3.4", "kube-system", {"k8s-app": "other"}),
        End("10.42.3.5", "platform", {"app": "mariadb"}),
        *(End(address) for address in ("10.99.0.1", "169.254.169.254", "192.0.2.7", "203.0.113.9")),
    ]
    named = {name: {"kubernetes.io/metadata.name": name, **found} for name, found in inside.items()}
    ports = [*(("TCP", port) for port in (53, 80, 443, 3306, 6443, 8080, 8089)), ("UDP", 53)]
    return World(named, ends, policies, ports)


CASES: Mapping[str, World] = {
    **{name: world(*policies) for name, policies in _CASES.items()},
    "the platform's own": _platform(Surroundings()),
    "the platform's own, with all that settings can open": _platform(
        Surroundings(
            ingress_cidrs=("10.99.0.0/24",),
            dns_ports=(53, 5353),
            dns_cidrs=("169.254.169.254/32",),
            cluster_cidrs=("203.0.113.0/24",),
            destinations=(
                Destination(8080, namespace="platform", labels={"app": "mariadb"}),
                Destination(3306, cidrs=("10.99.0.1/32",)),
                Destination(80),
            ),
        )
    ),
}
