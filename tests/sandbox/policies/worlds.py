"""A small cluster with every kind of neighbour, and policies at random for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from hypothesis import strategies as st

from .reference import End, Object, World

NAMESPACES = {
    "x": {"kubernetes.io/metadata.name": "x", "team": "blue"},
    "y": {"kubernetes.io/metadata.name": "y", "team": "blue", "tier": "gold"},
    "z": {"kubernetes.io/metadata.name": "z"},
}
PROTOCOLS = ("TCP", "UDP")
# The same name is another port in another pod, and one pod has none of that name.
_NAMED = ({"web": ("TCP", 80), "dns": ("UDP", 81)}, {"web": ("TCP", 8080)}, {})
PODS = tuple(
    End(f"10.42.{row}.{column + 2}", namespace, {"app": app, **({"role": "web"} if column else {})}, _NAMED[column])
    for (row, namespace), (column, app) in product(enumerate(NAMESPACES), enumerate(("a", "b")))
)
NODE = End("10.99.0.1")
OUTSIDE = (NODE, End("192.0.2.7"), End("198.51.100.130"))
ENDS = (*PODS, *OUTSIDE)
PORTS = tuple(product(PROTOCOLS, (80, 81, 8080)))
BLOCKS = (
    "0.0.0.0/0",
    "10.42.0.0/16",
    "10.42.1.0/24",
    "10.42.0.2/32",
    "192.0.2.0/24",
    "198.51.100.128/25",
    "10.0.0.0/8",
)


def policy(namespace: str, name: str, **spec: Any) -> Object:
    """Return a NetworkPolicy."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"podSelector": {}, **spec},
    }


def world(*policies: Object) -> World:
    """Return the cluster with these policies."""
    return World(NAMESPACES, ENDS, policies, PORTS)


def connections(found: World) -> Sequence[tuple[End, End, str, int]]:
    """Return every connection that can be tried between two of a world's ends, of which one is a pod."""
    return [
        (source, target, protocol, port)
        for source, target, (protocol, port) in product(found.ends, found.ends, found.ports)
        if source != target and (source.namespace or target.namespace)
    ]


def _selectors(keys: dict[str, list[str]]) -> st.SearchStrategy[Any]:
    key = st.sampled_from(sorted(keys))
    equal = key.flatmap(lambda name: st.sampled_from(keys[name]).map(lambda value: {"matchLabels": {name: value}}))
    many = st.tuples(key, st.sampled_from(["In", "NotIn"])).flatmap(
        lambda pair: st.lists(st.sampled_from(keys[pair[0]]), min_size=1, max_size=2, unique=True).map(
            lambda values: {"matchExpressions": [{"key": pair[0], "operator": pair[1], "values": values}]}
        )
    )
    there = st.tuples(key, st.sampled_from(["Exists", "DoesNotExist"])).map(
        lambda pair: {"matchExpressions": [{"key": pair[0], "operator": pair[1]}]}
    )
    return st.one_of(st.just({}), equal, many, there, st.tuples(equal, there).map(lambda two: {**two[0], **two[1]}))


pod_selectors = _selectors({"app": ["a", "b", "nobody"], "role": ["web"]})
namespace_selectors = _selectors(
    {"team": ["blue", "red"], "kubernetes.io/metadata.name": ["x", "y", "z"], "tier": ["gold"]}
)
ip_blocks = st.sampled_from(BLOCKS).flatmap(
    lambda cidr: st.lists(
        st.sampled_from([other for other in BLOCKS if _inside(other, cidr)] or [cidr]), max_size=3
    ).map(lambda holes: {"ipBlock": {"cidr": cidr, **({"except": holes} if holes else {})}})
)


def _inside(inner: str, outer: str) -> bool:
    from ipaddress import ip_network  # noqa: PLC0415

    return inner != outer and ip_network(inner).subnet_of(ip_network(outer))


peers = st.one_of(
    ip_blocks,
    pod_selectors.map(lambda pods: {"podSelector": pods}),
    namespace_selectors.map(lambda names: {"namespaceSelector": names}),
    st.tuples(namespace_selectors, pod_selectors).map(
        lambda both: {"namespaceSelector": both[0], "podSelector": both[1]}
    ),
)
ports = st.one_of(
    st.fixed_dictionaries({}, optional={"protocol": st.sampled_from([*PROTOCOLS, "SCTP"])}),
    st.fixed_dictionaries(
        {"port": st.one_of(st.sampled_from([80, 81, 8080]), st.sampled_from(["web", "dns", "absent"]))},
        optional={"protocol": st.sampled_from(PROTOCOLS)},
    ),
    st.fixed_dictionaries(
        {"port": st.sampled_from([79, 80, 81]), "endPort": st.sampled_from([81, 82, 9000])},
        optional={"protocol": st.sampled_from(PROTOCOLS)},
    ),
)


def _rules(side: str) -> st.SearchStrategy[Any]:
    rule = st.fixed_dictionaries({}, optional={side: st.lists(peers, max_size=3), "ports": st.lists(ports, max_size=3)})
    return st.lists(rule, max_size=2)


specs = st.fixed_dictionaries(
    {"podSelector": pod_selectors},
    optional={
        "policyTypes": st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]]),
        "ingress": _rules("from"),
        "egress": _rules("to"),
    },
)
worlds = st.lists(st.tuples(st.sampled_from(sorted(NAMESPACES)), specs), min_size=1, max_size=4).map(
    lambda found: world(*(policy(namespace, f"p{number}", **spec) for number, (namespace, spec) in enumerate(found)))
)
