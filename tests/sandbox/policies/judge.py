"""What the kernel would do with a packet under a ruleset: the rules are read as data, in the order of their text."""

from __future__ import annotations

from sandbox.policies.objects import Block, Cluster, Direction, Pod, policy_of
from sandbox.policies.ruleset import Allow, Ruleset
from sandbox.policies.translation import translate

from .reference import World


def passes(rules: Ruleset, source: str, target: str, protocol: str, port: int) -> bool:
    """Return whether the first packet of a connection between two addresses gets through."""
    if source == target:
        return True
    return _side(rules, "egress", source, target, (target, protocol, port)) and _side(
        rules, "ingress", target, source, (target, protocol, port)
    )


def _side(rules: Ruleset, direction: Direction, subject: str, peer: str, to: tuple[str, str, int]) -> bool:
    guard = rules.guards[direction].get(subject)
    return guard is None or any(_matches(rule, peer, *to) for rule in rules.chains[guard])


def _matches(rule: Allow, peer: str, target: str, protocol: str, port: int) -> bool:
    if rule.peer is not None and peer not in rule.peer:
        return False
    if rule.protocol is None:
        return True
    if rule.protocol != protocol:
        return False
    if rule.targets is not None:
        return (target, port) in rule.targets
    return rule.ports is None or any(first <= port <= last for first, last in rule.ports)


def rules_of(world: World) -> Ruleset:
    """Return the translator's rules for the world."""
    pods = tuple(
        Pod(
            namespace=end.namespace,
            name=end.address,
            address=end.address,
            labels=end.labels,
            ports={(name, protocol): frozenset({number}) for name, (protocol, number) in end.ports.items()},
        )
        for end in world.ends
        if end.namespace is not None
    )
    return translate(Cluster(world.namespaces, pods, tuple(policy_of(policy) for policy in world.policies)))


def is_block(rule: Allow) -> bool:
    """Return whether the rule admits a range of addresses."""
    return isinstance(rule.peer, Block)
