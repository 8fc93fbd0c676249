"""The translator's rules in the real kernel, judged by real packets between bare network namespaces."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from sandbox import cache, packages
from sandbox.policies.ruleset import Ruleset
from sandbox.progress import silent

from .cases import CASES
from .judge import rules_of
from .reference import World
from .worlds import ENDS, NODE, OUTSIDE, PODS, PORTS, connections, policy, worlds
from .worlds import world as world_of

Packets = Callable[[str, World], tuple[frozenset[tuple[object, ...]], frozenset[tuple[object, ...]]]]
# Those of the usual cluster; the lab has its pods.
_HERE = [name for name, found in CASES.items() if found.ends == ENDS]


@pytest.fixture(scope="module")
def send() -> Iterator[Packets]:
    """Return a way to send packets under rules: it returns what got through and what should have, both as sets."""
    found = packages.build(cache.root(), silent)
    lab = subprocess.Popen(
        [
            "unshare", "--net", "--mount", "--kill-child", "--fork",
            sys.executable, str(Path(__file__).with_name("packet_lab.py")),
            str(found.program("nft")), str(found.program("ip")), found.environment()["LD_LIBRARY_PATH"],
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    assert lab.stdin is not None
    assert lab.stdout is not None
    outside = [end.address for end in OUTSIDE if end != NODE]
    place = {"node": NODE.address, "pods": [end.address for end in PODS], "outside": outside, "ports": PORTS}
    lab.stdin.write(json.dumps(place) + "\n")
    assert lab.stdout.readline() == "ready\n"

    def ask(rules: str, world: World) -> tuple[frozenset[tuple[object, ...]], frozenset[tuple[object, ...]]]:
        assert lab.stdin is not None
        assert lab.stdout is not None
        # What the node itself sends is always allowed, so nothing is learned from it.
        tried = [found for found in connections(world) if found[0] != NODE]
        split: dict[bool, list[tuple[object, ...]]] = {True: [], False: []}
        for source, target, protocol, port in tried:
            split[world.allows(source, target, protocol, port)].append((source.address, target.address, protocol, port))
        lab.stdin.write(json.dumps({"rules": rules, "allowed": split[True], "denied": split[False]}) + "\n")
        through = frozenset(tuple(connection) for connection in json.loads(lab.stdout.readline()))
        return through, frozenset(split[True])

    yield ask
    with lab:
        lab.stdin.close()
        assert lab.wait(60) == 0


@pytest.mark.parametrize("name", _HERE)
def test_the_kernel_lets_through_what_the_documentation_allows(send: Packets, name: str) -> None:
    through, allowed = send(rules_of(CASES[name]).text(), CASES[name])
    assert through == allowed


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=worlds)
def test_the_kernel_lets_through_what_the_documentation_allows_at_random(send: Packets, found: World) -> None:
    through, allowed = send(rules_of(found).text(), found)
    assert through == allowed


def test_pods_that_are_not_known_send_and_get_nothing(send: Packets) -> None:
    # A world in which every pod is closed is what an enforcer that knows nobody must make of any world.
    closed = world_of(*(policy(name, "deny", policyTypes=["Ingress", "Egress"]) for name in ("x", "y", "z")))
    through, allowed = send(Ruleset().text(), closed)
    assert through == allowed == frozenset()


def test_every_case_is_text_that_the_kernel_takes(send: Packets) -> None:
    found = packages.build(cache.root(), silent)
    texts = "\n".join(rules_of(world).text() for world in CASES.values())
    done = subprocess.run(
        ["unshare", "--net", str(found.program("nft")), "--check", "-f", "-"], input=texts, text=True, check=False,
        capture_output=True, env={"LD_LIBRARY_PATH": found.environment()["LD_LIBRARY_PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
