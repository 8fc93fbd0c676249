"""What the translator needs of Kubernetes' objects, and nothing else of them.

Objects are taken as the API server sends them, already defaulted and validated there. IPv4 only, as the node's pods.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

Object: TypeAlias = Mapping[str, Any]
Labels: TypeAlias = Mapping[str, str]
Direction: TypeAlias = Literal["ingress", "egress"]

DIRECTIONS: Final[tuple[Direction, ...]] = ("ingress", "egress")


@dataclass(frozen=True)
class Requirement:
    """One line of a label selector. `operator` is In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Labels) -> bool:
        """Return whether the labels meet it; a missing key meets NotIn and DoesNotExist."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        raise ValueError(f"{self.operator!r} is no operator of a label selector")


@dataclass(frozen=True)
class Selector:
    """A label selector; one without requirements matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Return whether every requirement holds."""
        return all(requirement.holds(labels) for requirement in self.requirements)

    @classmethod
    def of(cls, body: Object | None) -> Selector:
        """Return the selector of an object's field; an absent field selects everything too."""
        found = body or {}
        equal = (Requirement(key, "In", frozenset({value})) for key, value in (found.get("matchLabels") or {}).items())
        others = (
            Requirement(item["key"], item["operator"], frozenset(item.get("values") or ()))
            for item in found.get("matchExpressions") or ()
        )
        return cls((*equal, *others))


@dataclass(frozen=True)
class Block:
    """An address range without the exceptions inside of it."""

    network: ipaddress.IPv4Network
    exceptions: tuple[ipaddress.IPv4Network, ...] = ()

    def __contains__(self, address: str) -> bool:
        found = ipaddress.IPv4Address(address)
        return found in self.network and not any(found in exception for exception in self.exceptions)


@dataclass(frozen=True)
class PodPeer:
    """Pods that match `pods`, in the namespaces that match; `namespaces` None is the policy's own namespace."""

    namespaces: Selector | None
    pods: Selector


Peer: TypeAlias = Block | PodPeer


@dataclass(frozen=True)
class Port:
    """What a rule lets through: `port` None is every port, a text is a container's port by its name."""

    protocol: str = "TCP"
    port: int | str | None = None
    end: int | None = None


@dataclass(frozen=True)
class Rule:
    """One door: `peers` None is everybody, `ports` None is every port of every protocol."""

    peers: tuple[Peer, ...] | None = None
    ports: tuple[Port, ...] | None = None


@dataclass(frozen=True)
class Policy:
    """A NetworkPolicy. `rules` has an entry for each direction that it closes."""

    namespace: str
    name: str
    pods: Selector
    rules: Mapping[Direction, tuple[Rule, ...]]


@dataclass(frozen=True)
class Pod:
    """A pod and its address. `ports` maps (name, protocol) to the numbers of its containers' ports."""

    namespace: str
    name: str
    address: str
    labels: Labels
    ports: Mapping[tuple[str, str], frozenset[int]]


@dataclass(frozen=True)
class Cluster:
    """Everything that verdicts depend on. `namespaces` maps names to labels."""

    namespaces: Mapping[str, Labels]
    pods: tuple[Pod, ...]
    policies: tuple[Policy, ...]


def policy_of(body: Object) -> Policy:
    """Return a NetworkPolicy as the API server sends it."""
    metadata, spec = body["metadata"], body["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    sides: Mapping[Direction, str] = {"ingress": "from", "egress": "to"}
    return Policy(
        namespace=metadata["namespace"],
        name=metadata["name"],
        pods=Selector.of(spec.get("podSelector")),
        rules={
            direction: tuple(_rule(rule, side) for rule in spec.get(direction) or ())
            for direction, side in sides.items()
            if direction.capitalize() in types
        },
    )


def ports_of(spec: Object) -> Mapping[tuple[str, str], frozenset[int]]:
    """Return the named ports of a pod's containers, those of its side cars included."""
    sidecars = [found for found in spec.get("initContainers") or () if found.get("restartPolicy") == "Always"]
    found: dict[tuple[str, str], frozenset[int]] = {}
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            if port.get("name"):
                key = (port["name"], port.get("protocol") or "TCP")
                found[key] = found.get(key, frozenset()) | {port["containerPort"]}
    return found


def _rule(body: Object, side: str) -> Rule:
    # An empty list says the same as none: everybody, or every port.
    peers, ports = body.get(side) or None, body.get("ports") or None
    return Rule(
        peers=None if peers is None else tuple(found for peer in peers for found in _peer(peer)),
        ports=None if ports is None else tuple(_port(port) for port in ports),
    )


def _peer(body: Object) -> Iterator[Peer]:
    block = body.get("ipBlock")
    if block is not None:
        network = ipaddress.ip_network(block["cidr"], strict=False)
        # A range of IPv6 addresses matches nobody here; the rule stays, and lets nothing through.
        if isinstance(network, ipaddress.IPv4Network):
            yield Block(network, tuple(_networks(block.get("except") or ())))
        return
    namespaces = body.get("namespaceSelector")
    yield PodPeer(
        namespaces=None if namespaces is None else Selector.of(namespaces),
        pods=Selector.of(body.get("podSelector")),
    )


def _networks(texts: Sequence[str]) -> Iterator[ipaddress.IPv4Network]:
    for text in texts:
        network = ipaddress.ip_network(text, strict=False)
        if isinstance(network, ipaddress.IPv4Network):
            yield network


def _port(body: Object) -> Port:
    return Port(protocol=body.get("protocol") or "TCP", port=body.get("port"), end=body.get("endPort"))
