"""The files that the node's programs read: certificates, tokens, kubeconfigs and configurations."""

from __future__ import annotations

import base64
import json
import secrets
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from sandbox import certificates
from sandbox.node import (
    ADDRESS,
    API_PORT,
    API_SERVICE,
    CLUSTER_DOMAIN,
    CONTAINERD_SOCKET,
    DNS_SERVICE,
    MAX_PODS,
    NAME,
    NODE_POD_RANGE,
    PAUSE_IMAGE,
    POD_RANGE,
    POLICIES_FOLDER,
    Layout,
    Machine,
)
from sandbox.policies import cni_plugin

# Who may do what: a static token names a user and its groups. Kubernetes binds its own roles to all but our own.
_USERS: Final[Mapping[str, tuple[str, str]]] = {
    "admin": ("sandbox-admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{NAME}", "system:nodes"),
    "volumes": ("sandbox:volumes", ""),
    "policies": ("sandbox:policies", ""),
}


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
    _collect_plugins(layout, machine)
    # Pods with dnsPolicy Default get this one: nothing outside of the cluster can be reached from here.
    (layout.config / "resolv.conf").write_text(f"nameserver {DNS_SERVICE}\n")
    return kubeconfig(server, authority, tokens["admin"], cluster=cluster, user="admin")


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
    The second plugin holds a pod back until the network policies that mean it are in force.
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
            },
            {"type": cni_plugin.TYPE, "folder": POLICIES_FOLDER},
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
            f'bin_dir = "{layout.cni_plugins}"',
            f'conf_dir = "{layout.config / "cni"}"',
            "",
        ]
    )


def _collect_plugins(layout: Layout, machine: Machine) -> None:
    """Make one folder hold all plugins: containerd looks in one alone."""
    layout.cni_plugins.mkdir(exist_ok=True)
    for plugin in machine.packages.cni_plugins.iterdir():
        link = layout.cni_plugins / plugin.name
        link.unlink(missing_ok=True)
        link.symlink_to(plugin)
    ours = layout.cni_plugins / cni_plugin.TYPE
    # containerd's libraries are Debian's; Python has its own.
    program = f"exec {shlex.quote(str(machine.python))} -IS {shlex.quote(str(Path(cni_plugin.__file__)))}"
    ours.write_text(f"#!/bin/sh\nunset LD_LIBRARY_PATH\n{program}\n")
    ours.chmod(0o755)


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


def _write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)
