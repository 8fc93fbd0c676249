from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from .reference import End, World, types

Connection = tuple[End, End, str, int]


@pytest.fixture(scope="session")
def ask_cyclonus(
    programs: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[World, Sequence[Connection]], Sequence[bool]]:
    """Return a way to ask cyclonus, a program that others wrote, which connections the world's policies allow."""
    folder = tmp_path_factory.mktemp("cyclonus")

    def ask(world: World, connections: Sequence[Connection]) -> Sequence[bool]:
        (folder / "traffic.json").write_text(json.dumps([_traffic(world, *found) for found in connections]))
        # It takes no policy whose types the API server has not filled in.
        filled = [{**body, "spec": {**body["spec"], "policyTypes": types(body)}} for body in world.policies]
        (folder / "policies.yaml").write_text(json.dumps({"kind": "NetworkPolicyList", "items": filled}))
        done = subprocess.run(
            [
                str(programs["cyclonus"]), "analyze", "--mode", "query-traffic",
                "--policy-path", str(folder / "policies.yaml"), "--traffic-path", str(folder / "traffic.json"),
            ],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        lines = [line for line in done.stdout.splitlines() if "IS ALLOWED?" in line]
        verdicts = {"TRUE": True, "FALSE": False}
        return [verdicts[line.split("|")[2].strip()] for line in lines]

    return ask


def _traffic(world: World, source: End, target: End, protocol: str, port: int) -> Mapping[str, object]:
    names = [name for name, found in target.ports.items() if found == (protocol, port)]
    return {
        "Source": _end(world, source),
        "Destination": _end(world, target),
        "Protocol": protocol,
        "ResolvedPort": port,
        "ResolvedPortName": names[0] if names else "",
    }


def _end(world: World, end: End) -> Mapping[str, object]:
    if end.namespace is None:
        return {"IP": end.address}
    inside = {
        "Namespace": end.namespace,
        "NamespaceLabels": dict(world.namespaces[end.namespace]),
        "PodLabels": dict(end.labels),
    }
    return {"IP": end.address, "Internal": inside}
