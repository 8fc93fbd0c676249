"""The one process of an instance: how it is started, entered and ended.

`unshare` is its parent on the machine's side. When it is killed the kernel ends the supervisor, which is process 1 of
the namespaces, and with that everything that ever started there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from sandbox import cgroups, configuration, machine, node, process, supervisor
from sandbox.components import components
from stacks.errors import ClusterUnreachableError, UsageError

HOST: Final = "127.0.0.1"
# The node is nobody's child: neither a terminal that closes nor a caller that ends reaches it.
_DETACH: Final = 'log="$1"; shift; setsid "$@" </dev/null >>"$log" 2>&1 & echo $!'
_END_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.05
_CHECKOUT: Final = Path(__file__).parent.parent


def cgroup_name(root: Path, name: str) -> str:
    """Return the control group of an instance; two checkouts never share one."""
    return f"stores-{name}-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"


def listen(port: int, *, purpose: str, setting: str = "stores:urlPort") -> socket.socket:
    """Return a socket that listens on 127.0.0.1:`port`; port 0 is any free one. Raises UsageError when it is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
        raise UsageError(
            "sandbox",
            f"port {port} of {HOST}, where {purpose} would answer, is in use by another program",
            f"stop that program, or choose another port: {setting} in Pulumi.local.yaml",
        ) from error
    listener.listen(512)
    return listener


def start(
    layout: node.Layout,
    found: node.Machine,
    sockets: Mapping[int, socket.socket],
    *,
    name: str,
) -> process.Identity:
    """Start the node of an instance and return its process. `sockets` maps ports of the node to listening sockets."""
    api_port = sockets[node.API_PORT].getsockname()[1]
    cluster_name = f"stores-sandbox-{name}"
    admin = configuration.write(layout, found, cluster=cluster_name, server=f"https://{HOST}:{api_port}")
    kubeconfig = layout.folder / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(admin)
    forwards = [node.Forward(listener.fileno(), port) for port, listener in sockets.items()]
    layout.plan.write_text(node.plan(components(layout, found, forwards)))
    cgroups.make(found.cgroup)
    command = [
        str(shutil.which("unshare")), *machine.NAMESPACES,
        str(found.python), "-m", "sandbox.supervisor", str(layout.folder),
    ]  # fmt: skip
    detached = ["/bin/sh", "-c", _DETACH, "sh", str(layout.logs / "supervisor.log"), *command]
    result = subprocess.run(
        cgroups.entering(found.cgroup, detached),
        cwd=_CHECKOUT,
        env={
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": str(layout.node),
        },
        capture_output=True,
        text=True,
        pass_fds=[listener.fileno() for listener in sockets.values()],
        check=False,
    )
    identity = process.identify(int(result.stdout)) if result.returncode == 0 else None
    if identity is None:
        raise _died(layout)
    return identity


def check(layout: node.Layout, identity: process.Identity) -> None:
    """Raise ClusterUnreachableError when the node has ended, or gave one of its programs up."""
    if not process.is_alive(identity):
        raise _died(layout)
    for component, state in supervisor.read(layout.state).items():
        if state.gave_up:
            raise ClusterUnreachableError(
                "sandbox",
                f"{component} was started {supervisor.RESTARTS + 1} times in a minute, and ended with {state.last_end}",
                _see(layout, component),
            )


def enter(identity: process.Identity, command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a command inside the instance's namespaces, and return what it printed."""
    inside = next(iter(process.descendants(identity.pid)), None)
    if inside is None:
        raise ClusterUnreachableError("sandbox", "the node's process has ended", "run `stores sandbox up` again")
    result = subprocess.run(
        [str(shutil.which("nsenter")), "--target", str(inside.pid), "--mount", "--net", "--pid", *command],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        raise ClusterUnreachableError(
            "sandbox",
            f"{Path(command[0]).name} failed inside of the sandbox with exit code {result.returncode}: "
            f"{result.stderr.strip()[-500:]}",
            "run `stores sandbox down` and start again",
        )
    return result.stdout


def end(cgroup: str, identity: process.Identity | None) -> int:
    """Make every process of an instance end, and return how many there were.

    The control group knows them all, even where the instance's record, and with it `identity`, is lost.
    """
    ended: set[process.Identity] = set()
    deadline = time.monotonic() + _END_TIMEOUT_S
    while left := _processes(cgroup, identity):
        ended |= left
        for found in left:
            process.kill(found)
        if time.monotonic() > deadline:
            raise ClusterUnreachableError(
                "sandbox",
                f"{len(left)} processes do not end, one of them is {min(found.pid for found in left)}",
                "they wait for the kernel; run `stores sandbox down` again in a while",
            )
        time.sleep(_POLL_S)
    return len(ended)


def _processes(cgroup: str, identity: process.Identity | None) -> frozenset[process.Identity]:
    pids = set(cgroups.processes(cgroup))
    if identity is not None and process.is_alive(identity):
        pids |= {identity.pid, *(found.pid for found in process.descendants(identity.pid))}
    return frozenset(found for pid in pids if (found := process.identify(pid)) is not None)


def _died(layout: node.Layout) -> ClusterUnreachableError:
    log = layout.logs / "supervisor.log"
    said = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
    return ClusterUnreachableError(
        "sandbox", f"the node's process has ended; it said: {' / '.join(said) or 'nothing'}", _see(layout, "supervisor")
    )


def _see(layout: node.Layout, component: str) -> str:
    return f"see {layout.logs / component}.log; `stores sandbox down` and another start begin anew"
