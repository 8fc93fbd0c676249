"""What runs on the one node of an instance: every program with its arguments, and the files that they read.

All addresses below exist in the instance's own network namespace only. From the machine they are reached through
127.0.0.1 and the instance's ports, never directly.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from sandbox import certificates
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
SYSTEM_NAMESPACE: Final = "kube-system"
PAUSE_IMAGE: Final = "registry.k8s.io/pause:sandbox"

# Who may do what: a static token names a user and its groups. Kubernetes binds its own roles to all but the last.
_USERS: Final[Mapping[str, tuple[str, str]]] = {
    "admin": ("sandbox-admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{NAME}", "system:nodes"),
    "volumes": ("sandbox:volumes", ""),
}


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


def write(layout: Layout, machine: Machine, *, cluster: str, server: str) -> str:
    """Make every file of the node exist, and return a kubeconfig for people that reaches the cluster at `server`."""
    for folder in (layout.node, layout.keys, layout.config, layout.logs, layout.volumes, layout.config / "cni"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificates.issue(
        layout.keys,
        _leaves(),
        openssl=machine.packages.program("openssl"),
        environment=machine.packages.environment(),
    )
    tokens = {user: secrets.token_hex(24) for user in _USERS}
    _write_private(layout.keys / "tokens.csv", token_file(tokens))
    authority = (layout.keys / "ca.crt").read_bytes()
    for user, token in tokens.items():
        inside = kubeconfig(f"https://{ADDRESS}:{API_PORT}", authority, token, cluster=cluster, user=user)
        _write_private(layout.kubeconfig(user), inside)
    (layout.config / "kubelet.json").write_text(json.dumps(kubelet_configuration(layout, machine), indent=1))
    (layout.config / "kube-proxy.json").write_text(json.dumps(proxy_configuration(layout), indent=1))
    (layout.config / "containerd.toml").write_text(containerd_configuration(layout, machine))
    (layout.config / "cni" / "10-pods.conflist").write_text(json.dumps(network_configuration(layout), indent=1))
    # Pods with dnsPolicy Default get this one: nothing outside of the cluster can be reached from here.
    (layout.config / "resolv.conf").write_text(f"nameserver {DNS_SERVICE}\n")
    return kubeconfig(server, authority, tokens["admin"], cluster=cluster, user="admin")


def components(layout: Layout, machine: Machine, forwards: Sequence[Forward]) -> Sequence[Component]:
    """Return everything that runs on the node, in the order in which it starts."""
    found = machine.packages
    environment = found.environment()
    programs = machine.programs
    api = (API_PORT,)
    return (
        Component("etcd", [str(found.program("etcd")), *_etcd(layout)], environment),
        Component("kube-apiserver", [str(programs["kube-apiserver"]), *_api_server(layout)], needs_ports=(ETCD_PORT,)),
        Component(
            "containerd",
            [str(found.program("containerd")), "--config", str(layout.config / "containerd.toml")],
            environment,
        ),
        Component(
            "kube-controller-manager",
            [str(programs["kube-controller-manager"]), *_controller_manager(layout)],
            needs_ports=api,
        ),
        Component("kube-scheduler", [str(programs["kube-scheduler"]), *_scheduler(layout)], needs_ports=api),
        Component(
            "kubelet",
            [str(programs["kubelet"]), *_kubelet(layout)],
            environment,
            needs_files=(CONTAINERD_SOCKET,),
            needs_ports=api,
        ),
        Component(
            "kube-proxy",
            [str(programs["kube-proxy"]), f"--config={layout.config / 'kube-proxy.json'}"],
            environment,
            needs_ports=api,
        ),
        Component(
            "volumes",
            [str(machine.python), "-m", "sandbox.volumes", str(layout.kubeconfig("volumes")), str(layout.volumes)],
            needs_ports=api,
        ),
        Component(
            "forwarder",
            [
                str(machine.python),
                "-m",
                "sandbox.forwarder",
                *(f"{forward.descriptor}={ADDRESS}:{forward.port}" for forward in forwards),
            ],
            descriptors=[forward.descriptor for forward in forwards],
        ),
    )


def plan(components: Sequence[Component]) -> str:
    """Return the components as the supervisor reads them."""
    return json.dumps([asdict(component) for component in components], indent=1)


def read_plan(text: str) -> Sequence[Component]:
    """Return the components of a plan that `plan` wrote."""
    return [Component(**entry) for entry in json.loads(text)]


def token_file(tokens: Mapping[str, str]) -> str:
    """Return the API server's table of static tokens."""
    lines = []
    for user, token in tokens.items():
        name, groups = _USERS[user]
        lines.append(f'{token},{name},{name},"{groups}"' if groups else f"{token},{name},{name}")
    return "\n".join(lines) + "\n"


def kubeconfig(server: str, authority: bytes, token: str, *, cluster: str, user: str) -> str:
    """Return a kubeconfig with one context, as JSON, which every reader of YAML reads."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": cluster,
                    "cluster": {
                        "server": server,
                        "certificate-authority-data": base64.b64encode(authority).decode(),
                    },
                }
            ],
            "users": [{"name": f"{cluster}-{user}", "user": {"token": token}}],
            "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": f"{cluster}-{user}"}}],
            "current-context": cluster,
        },
        indent=1,
    )


def kubelet_configuration(layout: Layout, machine: Machine) -> Mapping[str, object]:
    """Return the kubelet's configuration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.keys / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(layout.keys / "kubelet.crt"),
        "tlsPrivateKeyFile": str(layout.keys / "kubelet.key"),
        "address": ADDRESS,
        "clusterDomain": CLUSTER_DOMAIN,
        "clusterDNS": [DNS_SERVICE],
        "resolvConf": str(layout.config / "resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": machine.cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": False,
        # The machine's disk and memory are not the sandbox's own: what others use must not evict shops or their images.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "maxPods": MAX_PODS,
        "serializeImagePulls": False,
        "podLogsDir": "/var/log/pods",
        "containerLogMaxSize": "5Mi",
        "containerLogMaxFiles": 2,
        # Many stores start at once in tests; the defaults (50, 100) make the kubelet wait for itself.
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "eventRecordQPS": 0,
        "shutdownGracePeriod": "0s",
    }


def proxy_configuration(layout: Layout) -> Mapping[str, object]:
    """Return kube-proxy's configuration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": NAME,
        "clientConnection": {"kubeconfig": str(layout.kubeconfig("kube-proxy"))},
        # Zero leaves the kernel's values alone: they belong to the whole machine, not to the namespace.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "nftables": {"minSyncPeriod": "1s"},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    }


def network_configuration(layout: Layout) -> Mapping[str, object]:
    """Return the pods' network: each pod has a routed link of its own.

    With a bridge, traffic between two pods would pass Service translation only with a kernel module that many machines
    have not loaded; routed traffic always passes it. Ports of the node for pods (hostPort) are not part of it.
    """
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "mtu": 1500,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(layout.node / "cni"),
                    "ranges": [[{"subnet": NODE_POD_RANGE}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }


def containerd_configuration(layout: Layout, machine: Machine) -> str:
    """Return containerd's configuration."""
    shim = 'plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc'
    return "\n".join(
        [
            "version = 2",
            f'root = "{layout.node / "containerd"}"',
            'state = "/run/containerd"',
            "oom_score = 0",
            "disabled_plugins = [",
            '  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",',
            '  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",',
            "]",
            "[grpc]",
            f'address = "{CONTAINERD_SOCKET}"',
            '[plugins."io.containerd.grpc.v1.cri"]',
            f'sandbox_image = "{PAUSE_IMAGE}"',
            "restrict_oom_score_adj = true",
            "disable_apparmor = true",
            "max_container_log_line_size = 65536",
            '[plugins."io.containerd.grpc.v1.cri".containerd]',
            f'snapshotter = "{machine.snapshotter}"',
            'default_runtime_name = "runc"',
            "discard_unpacked_layers = true",
            f"[{shim}]",
            'runtime_type = "io.containerd.runc.v2"',
            f"[{shim}.options]",
            f'BinaryName = "{machine.packages.program("runc")}"',
            "SystemdCgroup = false",
            '[plugins."io.containerd.grpc.v1.cri".cni]',
            f'bin_dir = "{machine.packages.cni_plugins}"',
            f'conf_dir = "{layout.config / "cni"}"',
            "",
        ]
    )


def _leaves() -> Sequence[certificates.Leaf]:
    service = f"kubernetes.default.svc.{CLUSTER_DOMAIN}".split(".")
    names = [".".join(service[:length]) for length in (1, 2, 3, 5)]
    return (
        certificates.Leaf(
            "kube-apiserver",
            "/CN=kube-apiserver",
            "serverAuth",
            [*(f"DNS:{name}" for name in [*names, "localhost"]), f"IP:{ADDRESS}", f"IP:{API_SERVICE}", "IP:127.0.0.1"],
        ),
        certificates.Leaf("kubelet", f"/CN=system:node:{NAME}", "serverAuth", [f"DNS:{NAME}", f"IP:{ADDRESS}"]),
        certificates.Leaf("kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client", "clientAuth"),
    )


def _etcd(layout: Layout) -> Sequence[str]:
    client = f"http://127.0.0.1:{ETCD_PORT}"
    return (
        "--name=node0",
        f"--data-dir={layout.node / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=node0=http://127.0.0.1:2380",
        "--unsafe-no-fsync",  # the data is thrown away with the instance, and a crash of the machine ends the instance
        "--snapshot-count=10000",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=10m",
        "--logger=zap",
        "--log-level=warn",
    )


def _api_server(layout: Layout) -> Sequence[str]:
    keys = layout.keys
    return (
        f"--etcd-servers=http://127.0.0.1:{ETCD_PORT}",
        f"--secure-port={API_PORT}",
        f"--advertise-address={ADDRESS}",
        f"--cert-dir={keys}",
        f"--tls-cert-file={keys / 'kube-apiserver.crt'}",
        f"--tls-private-key-file={keys / 'kube-apiserver.key'}",
        f"--client-ca-file={keys / 'ca.crt'}",
        f"--token-auth-file={keys / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={keys / 'service-account.pub'}",
        f"--service-account-signing-key-file={keys / 'service-account.key'}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--kubelet-certificate-authority={keys / 'ca.crt'}",
        f"--kubelet-client-certificate={keys / 'kubelet-client.crt'}",
        f"--kubelet-client-key={keys / 'kubelet-client.key'}",
        # Else `kubectl logs` looks the node's name up, and no name server knows it.
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
        "--profiling=false",
    )


def _controller_manager(layout: Layout) -> Sequence[str]:
    keys = layout.keys
    return (
        f"--kubeconfig={layout.kubeconfig('kube-controller-manager')}",
        "--bind-address=127.0.0.1",
        f"--cert-dir={keys}",
        "--leader-elect=false",
        "--use-service-account-credentials",
        "--allocate-node-cidrs",
        f"--cluster-cidr={POD_RANGE}",
        f"--node-cidr-mask-size={NODE_MASK}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--root-ca-file={keys / 'ca.crt'}",
        f"--service-account-private-key-file={keys / 'service-account.key'}",
        f"--cluster-signing-cert-file={keys / 'ca.crt'}",
        f"--cluster-signing-key-file={keys / 'ca.key'}",
        # Many stores come and go at once in tests, and nobody else uses this API server.
        "--concurrent-namespace-syncs=20",
        "--concurrent-gc-syncs=20",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--profiling=false",
    )


def _scheduler(layout: Layout) -> Sequence[str]:
    return (
        f"--kubeconfig={layout.kubeconfig('kube-scheduler')}",
        "--bind-address=127.0.0.1",
        f"--cert-dir={layout.keys}",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--profiling=false",
    )


def _kubelet(layout: Layout) -> Sequence[str]:
    return (
        f"--config={layout.config / 'kubelet.json'}",
        f"--kubeconfig={layout.kubeconfig('kubelet')}",
        f"--root-dir={layout.node / 'kubelet'}",
        f"--cert-dir={layout.keys}",
        f"--node-ip={ADDRESS}",
        f"--hostname-override={NAME}",
        "--housekeeping-interval=30s",
    )


def _write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)
