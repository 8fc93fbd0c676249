"""What Kubernetes' documentation says about a connection, decided on the objects themselves, one sentence at a time.

It shares nothing with the translator, on purpose: it walks from a connection to the policies, where the translator
walks from the policies to rules. Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True)
class End:
    """One end of a connection; `namespace` None is somebody outside of the cluster."""

    address: str
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Called:
    """What a connection asks for."""

    target: End
    protocol: str
    port: int

    def is_in(self, ports: Sequence[Object] | None) -> bool:
        """Return whether a rule's ports have it; no list is every port."""
        return not ports or any(self._is(wanted) for wanted in ports)

    def _is(self, wanted: Object) -> bool:
        if wanted.get("protocol", "TCP") != self.protocol:
            return False
        number = wanted.get("port")
        if number is None:
            return True
        if isinstance(number, str):
            return self.target.ports.get(number) == (self.protocol, self.port)
        return bool(number <= self.port <= wanted.get("endPort", number))


@dataclass(frozen=True)
class World:
    """The objects, as people write them. `ports` are the protocols and numbers that are tried."""

    namespaces: Mapping[str, Mapping[str, str]]
    ends: Sequence[End]
    policies: Sequence[Object]
    ports: Sequence[tuple[str, int]]

    def allows(self, source: End, target: End, protocol: str, port: int) -> bool:
        """Return whether a connection may be made."""
        if source == target:
            return True  # a pod cannot block access to itself
        called = Called(target, protocol, port)
        return self._passes("Egress", source, target, called) and self._passes("Ingress", target, source, called)

    def _passes(self, kind: str, subject: End, other: End, called: Called) -> bool:
        mine = [policy for policy in self.policies if kind in types(policy) and self._selects(policy, subject)]
        if not mine:
            return True
        return any(
            self._knows(policy, rule.get("to" if kind == "Egress" else "from"), other)
            and called.is_in(rule.get("ports"))
            for policy in mine
            for rule in policy["spec"].get(kind.lower()) or []
        )

    def _selects(self, policy: Object, subject: End) -> bool:
        return subject.namespace == policy["metadata"]["namespace"] and fits(
            policy["spec"].get("podSelector"), subject.labels
        )

    def _knows(self, policy: Object, peers: Sequence[Object] | None, other: End) -> bool:
        return not peers or any(self._is(policy, peer, other) for peer in peers)

    def _is(self, policy: Object, peer: Object, other: End) -> bool:
        if "ipBlock" in peer:
            address = ipaddress.ip_address(other.address)
            block = peer["ipBlock"]
            return address in ipaddress.ip_network(block["cidr"]) and not any(
                address in ipaddress.ip_network(hole) for hole in block.get("except") or []
            )
        if other.namespace is None:
            return False
        if "namespaceSelector" in peer:
            right_namespace = fits(peer["namespaceSelector"], self.namespaces[other.namespace])
        else:
            right_namespace = other.namespace == policy["metadata"]["namespace"]
        return right_namespace and fits(peer.get("podSelector"), other.labels)


def types(policy: Object) -> Sequence[str]:
    """Return the directions that a policy closes."""
    spec = policy["spec"]
    if spec.get("policyTypes"):
        return list(spec["policyTypes"])
    return ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def fits(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Return whether a label selector matches."""
    selector = selector or {}
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for line in selector.get("matchExpressions") or []:
        there, operator = line["key"] in labels, line["operator"]
        among = there and labels[line["key"]] in line.get("values", [])
        if not {"In": among, "NotIn": not among, "Exists": there, "DoesNotExist": not there}[operator]:
            return False
    return True
