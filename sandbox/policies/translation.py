"""From the cluster's policies, pods and namespaces to the node's rules. Pure: the same cluster gives the same rules.

A pod that a policy selects is closed in that policy's directions; each rule of each policy that selects it opens one
door. What no policy selects stays open. A connection needs the sender's leave to go out and the receiver's to come in.
Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sandbox.policies.objects import DIRECTIONS, Block, Cluster, Direction, Labels, Pod, PodPeer, Policy, Port, Rule
from sandbox.policies.ruleset import Allow, Ports, Ruleset, chain_name


def translate(cluster: Cluster) -> Ruleset:
    """Return the rules that enforce every policy of the cluster on the pods that are given."""
    peers = _Peers(cluster.namespaces, cluster.pods)
    chains: dict[str, tuple[Allow, ...]] = {}
    guards: Mapping[Direction, dict[str, str]] = {direction: {} for direction in DIRECTIONS}
    for direction in DIRECTIONS:
        for policies, pods in _guarded(cluster, peers, direction).items():
            rules = _rules([cluster.policies[number] for number in policies], pods, peers, direction)
            name = chain_name(direction, rules)
            chains[name] = rules
            guards[direction].update({pod.address: name for pod in pods})
    return Ruleset(frozenset(pod.address for pod in cluster.pods), chains, guards)


def _guarded(cluster: Cluster, peers: _Peers, direction: Direction) -> Mapping[tuple[int, ...], Sequence[Pod]]:
    """Return the pods that are closed in a direction, by the policies (their numbers) that do it together."""
    selecting: defaultdict[str, list[int]] = defaultdict(list)
    for number, policy in enumerate(cluster.policies):
        if direction in policy.rules:
            for pod in peers.within(policy.namespace):
                if policy.pods.matches(pod.labels):
                    selecting[pod.address].append(number)
    groups: defaultdict[tuple[int, ...], list[Pod]] = defaultdict(list)
    for pod in cluster.pods:
        if pod.address in selecting:
            groups[tuple(selecting[pod.address])].append(pod)
    return groups


def _rules(policies: Sequence[Policy], pods: Sequence[Pod], peers: _Peers, direction: Direction) -> tuple[Allow, ...]:
    found = (
        allow
        for policy in policies
        for rule in policy.rules[direction]
        for allow in _allows(policy.namespace, rule, pods, peers, direction)
    )
    return tuple(dict.fromkeys(found))


def _allows(namespace: str, rule: Rule, pods: Sequence[Pod], peers: _Peers, direction: Direction) -> Iterator[Allow]:
    """Yield what one rule of a policy opens for the pods that it selects."""
    for peer in _others(namespace, rule, peers):
        if rule.ports is None:
            yield Allow(peer)
            continue
        for protocol, ports in _numbered(rule.ports):
            yield Allow(peer, protocol, ports)
        for port in rule.ports:
            if isinstance(port.port, str):
                # The name is one of the receiver's: of these pods on the way in, of the others on the way out.
                receivers = pods if direction == "ingress" else peers.among(peer)
                key = (port.port, port.protocol)
                targets = frozenset((pod.address, number) for pod in receivers for number in pod.ports.get(key, ()))
                if targets:
                    yield Allow(peer if direction == "ingress" else None, port.protocol, targets=targets)


def _others(namespace: str, rule: Rule, peers: _Peers) -> Iterator[frozenset[str] | Block | None]:
    """Yield whom a rule admits: anybody, each of its ranges, and all its pods together."""
    if rule.peers is None:
        yield None
        return
    yield from (peer for peer in rule.peers if isinstance(peer, Block))
    chosen = (peers.selected(namespace, peer) for peer in rule.peers if isinstance(peer, PodPeer))
    pods = frozenset[str]().union(*chosen)
    if pods:
        yield pods


def _numbered(ports: Iterable[Port]) -> Iterator[tuple[str, Ports | None]]:
    """Yield each protocol with its ranges, merged: the kernel takes no overlapping ones. None is every port."""
    whole: set[str] = set()
    ranges: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for port in ports:
        if port.port is None:
            whole.add(port.protocol)
        elif isinstance(port.port, int):
            ranges[port.protocol].append((port.port, port.end or port.port))
    yield from ((protocol, None) for protocol in sorted(whole))
    yield from ((protocol, _merged(found)) for protocol, found in sorted(ranges.items()) if protocol not in whole)


def _merged(ranges: Iterable[tuple[int, int]]) -> Ports:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


class _Peers:
    """Finds pods by namespace and label."""

    def __init__(self, namespaces: Mapping[str, Labels], pods: Sequence[Pod]) -> None:
        self._namespaces = namespaces
        self._pods = pods
        self._by_namespace: defaultdict[str, list[Pod]] = defaultdict(list)
        for pod in pods:
            self._by_namespace[pod.namespace].append(pod)
        # Many policies mean the same pods, such as the name server's.
        self._selected: dict[tuple[str, PodPeer], frozenset[str]] = {}

    def within(self, namespace: str) -> Sequence[Pod]:
        """Return the pods of a namespace."""
        return self._by_namespace.get(namespace, ())

    def selected(self, namespace: str, peer: PodPeer) -> frozenset[str]:
        """Return the addresses of the pods that a policy of `namespace` means."""
        if peer.namespaces is not None:
            namespace = ""  # it means the same everywhere
        key = (namespace, peer)
        if key not in self._selected:
            self._selected[key] = frozenset(
                pod.address
                for name in self._names(namespace, peer)
                for pod in self.within(name)
                if peer.pods.matches(pod.labels)
            )
        return self._selected[key]

    def _names(self, namespace: str, peer: PodPeer) -> Iterable[str]:
        if peer.namespaces is None:
            return (namespace,)
        return (name for name, labels in self._namespaces.items() if peer.namespaces.matches(labels))

    def among(self, peer: frozenset[str] | Block | None) -> Iterator[Pod]:
        """Yield the pods that a rule admits."""
        yield from (pod for pod in self._pods if peer is None or pod.address in peer)
