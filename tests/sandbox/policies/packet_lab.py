"""A node and its pods as bare network namespaces, with the translator's rules in the real kernel and real packets.

Run inside a network namespace of its own: `python packet_lab.py NFT IP LIBRARIES`. It reads one JSON line, `pods` and
`outside` (addresses) and `ports` (protocol and number), says `ready`, and then answers each line
`{rules: text, allowed: [connection, ...], denied: [connection, ...]}` with the connections that got through, where a
connection is [source, target, protocol, port]. How long it waits does not depend on the clock: it knows how many of
the packets must arrive and how many the kernel must have dropped.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from typing import Any

CLONE_NEWNET = 0x40000000
GIVE_UP_S = 30.0
QUIET_S = 0.2
KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}
libc = ctypes.CDLL(None, use_errno=True)
nft, ip_program, libraries = sys.argv[1:]
environment = {**os.environ, "LD_LIBRARY_PATH": libraries}


def run(*command: str, text: str | None = None) -> str:
    done = subprocess.run(command, input=text, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command}: {done.stderr}")
    return done.stdout


def ip(*arguments: str) -> None:
    run(ip_program, *arguments)


class Place:
    """A namespace that can be entered."""

    def __init__(self) -> None:
        self.descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def enter(self) -> None:
        if libc.setns(self.descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def make(node: Place, number: int, address: str, link: str) -> Place:
    """Make a namespace with a routed link, as the CNI plugin ptp does."""
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    place = Place()
    ip("link", "set", "lo", "up")
    node.enter()
    ip("link", "add", link, "type", "veth", "peer", "name", f"in{number}")
    ip("link", "set", f"in{number}", "netns", f"/proc/{os.getpid()}/fd/{place.descriptor}")
    ip("address", "add", "10.42.0.1/32", "dev", link)
    ip("link", "set", link, "up")
    ip("route", "add", f"{address}/32", "dev", link, "src", "10.42.0.1")
    place.enter()
    ip("link", "set", f"in{number}", "name", "eth0")
    ip("address", "add", f"{address}/32", "dev", "eth0")
    ip("link", "set", "eth0", "up")
    ip("route", "add", "10.42.0.1/32", "dev", "eth0", "scope", "link")
    ip("route", "add", "default", "via", "10.42.0.1")
    node.enter()
    return place


def dropped() -> int:
    """Return how many packets the rules have dropped."""
    found = json.loads(run(nft, "--json", "list", "table", "inet", "stores_policies"))["nftables"]
    expressions = (item["rule"]["expr"] for item in found if "rule" in item)
    return sum(
        expression["counter"]["packets"] for rule in expressions for expression in rule if "counter" in expression
    )


def attempt(places: dict[str, Place], listeners: dict[int, tuple[str, str, int]], question: Any) -> list[Any]:
    """Try every connection at once and return those that got through."""
    run(nft, "-f", "-", text=question["rules"].replace(" drop", " counter drop"))
    wanted = [tuple(connection) for connection in (*question["allowed"], *question["denied"])]
    through: set[tuple[str, str, str, int]] = set()
    with selectors.DefaultSelector() as selector:
        for descriptor in listeners:
            selector.register(descriptor, selectors.EVENT_READ)
        clients = []
        for source, target, protocol, port in wanted:
            places[source].enter()
            client = socket.socket(socket.AF_INET, KINDS[protocol])
            client.settimeout(0)
            clients.append(client)
            if protocol == "UDP":
                client.sendto(json.dumps([source, target, protocol, port]).encode(), (target, port))
            else:
                client.connect_ex((target, port))
                selector.register(client, selectors.EVENT_WRITE, (source, target, protocol, port))
        places[""].enter()
        started = time.monotonic()
        quiet_since = None
        while time.monotonic() - started < GIVE_UP_S:
            for key, _ in selector.select(0.05):
                if key.data is not None:
                    selector.unregister(key.fileobj)
                    if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:  # type: ignore[union-attr]
                        through.add(key.data)
                    quiet_since = None
                elif listeners[key.fd][1] == "UDP":
                    through.add(tuple(json.loads(os.read(key.fd, 1000))))
                    quiet_since = None
            complete = len(through) >= len(question["allowed"]) and dropped() >= len(question["denied"])
            if complete and quiet_since is None:
                quiet_since = time.monotonic()
            elif complete and time.monotonic() - (quiet_since or 0) > QUIET_S:
                break
        for client in clients:
            client.close()
    return sorted(through)


def main() -> None:
    setting = json.loads(sys.stdin.readline())
    ip("link", "set", "lo", "up")
    for name, value in (("ipv4/ip_forward", "1"), ("ipv4/conf/all/rp_filter", "0"), ("ipv6/conf/all/forwarding", "1")):
        with open(f"/proc/sys/net/{name}", "w") as file:  # noqa: PTH123
            file.write(value)
    ip("link", "add", "node0", "type", "bridge")
    ip("address", "add", f"{setting['node']}/24", "dev", "node0")
    ip("link", "set", "node0", "up")
    places = {"": Place()}
    places[setting["node"]] = places[""]
    for number, address in enumerate((*setting["pods"], *setting["outside"])):
        link = f"veth{number}" if address in setting["pods"] else f"out{number}"
        places[address] = make(places[""], number, address, link)
    listeners: dict[int, tuple[str, str, int]] = {}
    kept = []
    for address, place in places.items():
        if not address:
            continue
        place.enter()
        for protocol, port in setting["ports"]:
            server = socket.socket(socket.AF_INET, KINDS[protocol])
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((address, port))
            if protocol == "TCP":
                server.listen(1024)
            else:
                server.settimeout(0)
                listeners[server.fileno()] = (address, protocol, port)
            kept.append(server)
    places[""].enter()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(attempt(places, listeners, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
