"""The one node of an instance: its addresses, its folders, and the plan of what runs on it.

All addresses below exist in the instance's own network namespace only. From the machine they are reached through
127.0.0.1 and the instance's ports, never directly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from sandbox.packages import Packages

NAME: Final = "node0"
ADDRESS: Final = "10.99.0.1"
POD_RANGE: Final = "10.42.0.0/16"
# One node holds the hundred stores of an environment, so it gets far more addresses than the usual 254.
NODE_POD_RANGE: Final = "10.42.0.0/22"
NODE_MASK: Final = 22
MAX_PODS: Final = 500
SERVICE_RANGE: Final = "10.43.0.0/16"
API_SERVICE: Final = "10.43.0.1"
DNS_SERVICE: Final = "10.43.0.10"
CLUSTER_DOMAIN: Final = "cluster.local"
API_PORT: Final = 6443
ETCD_PORT: Final = 2379
CONTAINERD_SOCKET: Final = "/run/containerd/containerd.sock"
# Which pod has which address, and the enforcer's socket; only the node's own programs see this folder.
POLICIES_FOLDER: Final = "/run/policies"
SYSTEM_NAMESPACE: Final = "kube-system"
PAUSE_IMAGE: Final = "registry.k8s.io/pause:sandbox"


@dataclass(frozen=True)
class Component:
    """One program that the supervisor keeps running.

    It starts when every path of `needs_files` exists and every port of `needs_ports` accepts connections.
    `descriptors` are open sockets that it alone inherits.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    needs_files: Sequence[str] = ()
    needs_ports: Sequence[int] = ()
    descriptors: Sequence[int] = ()


@dataclass(frozen=True)
class Forward:
    """Connections that are accepted on a listening socket of the machine go to `port` of the node."""

    descriptor: int
    port: int


@dataclass(frozen=True)
class Layout:
    """Where the files of one instance's node are. `folder` is the instance's own."""

    folder: Path

    @property
    def node(self) -> Path:
        """Everything that the node's programs keep."""
        return self.folder / "node"

    @property
    def keys(self) -> Path:
        """Certificates, keys and tokens."""
        return self.node / "keys"

    @property
    def config(self) -> Path:
        """The configuration files of the node's programs."""
        return self.node / "config"

    @property
    def logs(self) -> Path:
        """One log a component."""
        return self.folder / "logs"

    @property
    def volumes(self) -> Path:
        """The persistent volumes."""
        return self.node / "volumes"

    @property
    def plan(self) -> Path:
        """What the supervisor is to run."""
        return self.config / "plan.json"

    @property
    def state(self) -> Path:
        """What the supervisor says about its components."""
        return self.node / "components.json"

    @property
    def cni_plugins(self) -> Path:
        """The CNI plugins that containerd calls: Debian's and ours."""
        return self.node / "cni-plugins"

    def kubeconfig(self, user: str) -> Path:
        """The kubeconfig of one of the node's own programs."""
        return self.config / f"{user}.kubeconfig"


@dataclass(frozen=True)
class Machine:
    """What an instance takes from the machine it runs on."""

    programs: Mapping[str, Path]
    packages: Packages
    python: Path
    snapshotter: str
    cgroup: str


def plan(components: Sequence[Component]) -> str:
    """Return the components as the supervisor reads them."""
    return json.dumps([asdict(component) for component in components], indent=1)


def read_plan(text: str) -> Sequence[Component]:
    """Return the components of a plan that `plan` wrote."""
    return [Component(**entry) for entry in json.loads(text)]
