"""Every program of the node, with its arguments, in the order in which they start."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.node import (
    ADDRESS,
    API_PORT,
    CONTAINERD_SOCKET,
    ETCD_PORT,
    NAME,
    NODE_MASK,
    POD_RANGE,
    POLICIES_FOLDER,
    SERVICE_RANGE,
    Component,
    Forward,
    Layout,
    Machine,
)


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
            "policies",
            [str(machine.python), "-m", "sandbox.policies.enforcer", *_policies(layout, machine)],
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


def _policies(layout: Layout, machine: Machine) -> Sequence[str]:
    found = machine.packages
    libraries = found.environment()["LD_LIBRARY_PATH"]  # for nft alone: Python has its own
    return (str(layout.kubeconfig("policies")), POLICIES_FOLDER, str(found.program("nft")), libraries)


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
        # It listens on sockets below, whose paths the kernel limits to 107 characters; a checkout's may be longer.
        "--root-dir=/var/lib/kubelet",
        f"--cert-dir={layout.keys}",
        f"--node-ip={ADDRESS}",
        f"--hostname-override={NAME}",
        "--housekeeping-interval=30s",
    )
