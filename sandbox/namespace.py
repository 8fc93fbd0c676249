"""What the node sees of the machine: mounts and network of its own. Runs inside the namespaces only.

Everything here ends with the namespaces, so nothing is ever undone by hand.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from sandbox import node

# Programs of the node write below these fixed paths of the machine; each instance gets its own view of them.
HIDDEN: Final = (Path("/run"),)
OVERLAID: Final = (Path("/var/lib"), Path("/var/log"))
# Kept in the instance's folder: too large for memory.
_OWN: Final = ("/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers")


def prepare(layout: node.Layout, environment: Mapping[str, str]) -> None:
    """Make the mounts and the network of the node exist."""
    _mounts(layout)
    _network(environment)


def _mounts(layout: node.Layout) -> None:
    for target in HIDDEN:
        _run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(target)])
    for folder in ("containerd", "netns", "lock", "overlays"):
        Path("/run", folder).mkdir()
    for target in OVERLAID:
        # An overlay adds the folders that the node needs without making them on the machine.
        upper, work = (Path("/run/overlays", target.name, part) for part in ("upper", "work"))
        upper.mkdir(parents=True)
        work.mkdir()
        options = f"lowerdir={target},upperdir={upper},workdir={work}"
        _run(["mount", "-t", "overlay", "-o", options, "overlay", str(target)])
    for target_name in _OWN:
        target = Path(target_name)
        source = layout.node / "system" / target.relative_to("/var")
        source.mkdir(parents=True, exist_ok=True)
        target.mkdir(exist_ok=True)
        _run(["mount", "--bind", str(source), str(target)])
    # Volumes that pods mount for each other must be seen by containers that run already.
    _run(["mount", "--make-rshared", "/"])


def _network(environment: Mapping[str, str]) -> None:
    def ip(*arguments: str) -> None:
        _run(["ip", *arguments], environment)

    ip("link", "set", "lo", "up")
    # An empty bridge is the node's interface: not every kernel has the dummy device.
    ip("link", "add", "node0", "type", "bridge")
    ip("address", "add", f"{node.ADDRESS}/24", "dev", "node0")
    ip("link", "set", "node0", "up")
    # There is no way out. Said at once, that is better than a connection that waits for an answer.
    ip("route", "add", "unreachable", "default")
    for name, value in (("net/ipv4/ip_forward", "1"), ("net/ipv4/conf/all/rp_filter", "0")):
        Path("/proc/sys", name).write_text(value)


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    subprocess.run(command, check=True, env={**os.environ, **(environment or {})})
