"""The rules of the node as data, and as the text that `nft` reads.

One table of our own, which is replaced as a whole: the kernel takes all of it or, on any error, leaves the old one.
Verdicts are given where the kernel has translated a Service's address already (forward and input hooks, after
kube-proxy's prerouting) and has not yet hidden the sender (before postrouting), so rules see pods and pods' ports.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from sandbox.policies.objects import Block, Direction

TABLE: Final = "stores_policies"
# The pods' ends of their links, as the CNI plugin `ptp` names them.
LINKS: Final = "veth*"
_PROTOCOLS: Final[Mapping[str, str]] = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}

Ports: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Allow:
    """One packet rule: lets a packet through when all that is given matches.

    `peer` is the other side's address: one of these, or in a range; None is any. `protocol` None is any protocol.
    `ports` are inclusive ranges of the destination's port; None is any. `targets` are destinations by address and port.
    """

    peer: frozenset[str] | Block | None = None
    protocol: str | None = None
    ports: Ports | None = None
    targets: frozenset[tuple[str, int]] | None = None


@dataclass(frozen=True)
class Ruleset:
    """What the kernel is told. Pods that are not `known` get and send nothing.

    `chains` maps a chain's name to its rules, and `guards` a pod's address to the chain that judges it; a pod without
    one is open in that direction.
    """

    known: frozenset[str] = frozenset()
    chains: Mapping[str, tuple[Allow, ...]] = field(default_factory=dict)
    guards: Mapping[Direction, Mapping[str, str]] = field(default_factory=lambda: {"ingress": {}, "egress": {}})

    def text(self) -> str:
        """Return the table for `nft -f`; it replaces what was there, in one step."""
        return "\n".join([
            f"add table inet {TABLE}",
            f"delete table inet {TABLE}",
            f"table inet {TABLE} {{",
            *_set("known", "ipv4_addr", [_by_value(self.known)]),
            # A pod's own Service can lead back to it, and nothing may keep a pod from itself.
            *_set("itself", "ipv4_addr . ipv4_addr", [[f"{address} . {address}" for address in _by_value(self.known)]]),
            *self._guards("egress"),
            *self._guards("ingress"),
            *(line for name in sorted(self.chains) for line in _chain(name, self.chains[name])),
            *_hook("forward", [
                f'oifname "{LINKS}" ip daddr != @known drop',
                "ip saddr . ip daddr @itself accept",
                "ip saddr vmap @egress",
                "ip daddr vmap @ingress",
            ]),
            # To the node itself. What comes from it, such as the kubelet's probes, passes neither of the two hooks.
            *_hook("input", ["ip saddr vmap @egress"]),
            "}",
            "",
        ])  # fmt: skip

    def _guards(self, direction: Direction) -> Sequence[str]:
        guards = self.guards[direction]
        elements = [f"{address} : jump {guards[address]}" for address in _by_value(guards)]
        return _set(direction, "ipv4_addr : verdict", [elements], kind="map")


def chain_name(direction: Direction, rules: Sequence[Allow]) -> str:
    """Return the name of the chain that holds just these rules."""
    return (
        f"{direction}-{hashlib.sha256(repr(tuple(_rule(direction, rule) for rule in rules)).encode()).hexdigest()[:16]}"
    )


def _by_value(addresses: Iterator[str] | frozenset[str] | Mapping[str, str]) -> list[str]:
    return sorted(addresses, key=ipaddress.IPv4Address)


def _set(name: str, kind_of_element: str, elements: Sequence[Sequence[str]], *, kind: str = "set") -> Sequence[str]:
    (found,) = elements
    inside = [f"    elements = {{ {', '.join(found)} }}"] if found else []
    return [f"  {kind} {name} {{", f"    type {kind_of_element}", *inside, "  }"]


def _hook(name: str, rules: Sequence[str]) -> Sequence[str]:
    return [
        f"  chain {name} {{",
        f"    type filter hook {name} priority filter + 10; policy accept;",
        # Pods have IPv4 alone; the link-local addresses that every link has must be no way around the rules.
        f'    iifname "{LINKS}" meta nfproto ipv6 drop',
        "    ct state established,related accept",
        f'    iifname "{LINKS}" ip saddr != @known drop',
        *(f"    {rule}" for rule in rules),
        "  }",
    ]


def _chain(name: str, rules: Sequence[Allow]) -> Sequence[str]:
    direction: Direction = "ingress" if name.startswith("ingress-") else "egress"
    return [f"  chain {name} {{", *(f"    {_rule(direction, rule)}" for rule in rules), "    drop", "  }"]


def _rule(direction: Direction, rule: Allow) -> str:
    side = "saddr" if direction == "ingress" else "daddr"
    return " ".join([*_peer(side, rule.peer), *_destination(rule), "return"])


def _peer(side: str, peer: frozenset[str] | Block | None) -> Iterator[str]:
    match peer:
        case None:
            return
        case Block():
            if peer.network.prefixlen:
                yield f"ip {side} {peer.network}"
            exceptions = list(ipaddress.collapse_addresses(peer.exceptions))
            if exceptions:
                yield f"ip {side} != {{ {', '.join(str(network) for network in exceptions)} }}"
        case _:
            yield f"ip {side} {{ {', '.join(_by_value(peer))} }}"


def _destination(rule: Allow) -> Iterator[str]:
    if rule.protocol is None:
        return
    protocol = _PROTOCOLS[rule.protocol]
    if rule.targets is not None:
        pairs = sorted(rule.targets, key=lambda pair: (ipaddress.IPv4Address(pair[0]), pair[1]))
        yield f"ip daddr . {protocol} dport {{ {', '.join(f'{address} . {port}' for address, port in pairs)} }}"
    elif rule.ports is None:
        yield f"meta l4proto {protocol}"
    else:
        ranges = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in rule.ports)
        yield f"{protocol} dport {{ {ranges} }}"
