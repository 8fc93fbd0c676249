from __future__ import annotations

import csv
import ipaddress
import json
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest

from sandbox import cache, configuration, node, packages
from sandbox.components import components
from sandbox.node import Forward, Layout, Machine
from sandbox.progress import silent

NAMES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine(
        programs={name: Path("/programs", name) for name in NAMES},
        packages=packages.build(cache.root(), silent),
        python=Path("/usr/bin/python3"),
        snapshotter="overlayfs",
        cgroup="stores-test-1234",
    )


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory, machine: Machine) -> Layout:
    found = Layout(tmp_path_factory.mktemp("instance"))
    text = configuration.write(found, machine, cluster="stores-sandbox-test", server="https://127.0.0.1:40000")
    (found.folder / "kubeconfig").write_text(text)
    return found


def test_a_plan_is_read_as_it_was_written(layout: Layout, machine: Machine) -> None:
    written = components(layout, machine, [Forward(5, 80)])

    read = node.read_plan(json.dumps(json.loads(node.plan(written))))

    assert [component.name for component in read] == [component.name for component in written]
    assert [list(component.command) for component in read] == [list(component.command) for component in written]
    assert list(read[-1].descriptors) == [5]


def test_every_component_starts_after_what_it_asks_first(layout: Layout, machine: Machine) -> None:
    needs = {component.name: tuple(component.needs_ports) for component in components(layout, machine, [])}

    assert needs["etcd"] == ()
    assert needs["kube-apiserver"] == (node.ETCD_PORT,)
    assert all(needs[name] == (node.API_PORT,) for name in NAMES if name != "kube-apiserver")


def test_no_socket_lies_below_the_checkout_whose_path_may_be_too_long_for_one(layout: Layout, machine: Machine) -> None:
    kubelet = next(found for found in components(layout, machine, []) if found.name == "kubelet")

    assert "--root-dir=/var/lib/kubelet" in kubelet.command
    assert len(node.CONTAINERD_SOCKET) < 108
    assert str(layout.folder) not in node.CONTAINERD_SOCKET


def test_no_secret_is_on_a_command_line(layout: Layout, machine: Machine) -> None:
    tokens = [row[0] for row in csv.reader((layout.keys / "tokens.csv").read_text().splitlines())]
    plan = node.plan(components(layout, machine, []))

    assert len(set(tokens)) == 7
    assert not any(token in plan for token in tokens)


def test_secrets_can_be_read_by_their_owner_only(layout: Layout) -> None:
    secret = [*layout.keys.glob("*.key"), layout.keys / "tokens.csv", *layout.config.glob("*.kubeconfig")]

    assert len(secret) == 5 + 1 + 7
    assert {stat.S_IMODE(file.stat().st_mode) for file in secret} == {0o600}
    assert stat.S_IMODE(layout.node.stat().st_mode) == 0o700


def test_tokens_name_the_users_and_groups_that_kubernetes_knows() -> None:
    rows = list(csv.reader(configuration.token_file({"admin": "a", "kubelet": "b", "kube-proxy": "c"}).splitlines()))

    assert rows == [
        ["a", "sandbox-admin", "sandbox-admin", "system:masters"],
        ["b", "system:node:node0", "system:node:node0", "system:nodes"],
        ["c", "system:kube-proxy", "system:kube-proxy"],
    ]


def test_the_kubeconfig_for_people_goes_through_the_machines_own_address(layout: Layout) -> None:
    content = json.loads((layout.folder / "kubeconfig").read_text())

    assert content["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:40000"
    assert content["current-context"] == "stores-sandbox-test"


@pytest.mark.parametrize("name", ["kube-apiserver", "kubelet", "kubelet-client"])
def test_certificates_are_signed_by_the_instances_own_authority(layout: Layout, machine: Machine, name: str) -> None:
    subprocess.run(
        [
            machine.packages.program("openssl"), "verify",
            "-CAfile", layout.keys / "ca.crt", layout.keys / f"{name}.crt",
        ],
        env=machine.packages.environment(), check=True, capture_output=True,
    )  # fmt: skip


def test_the_api_server_is_trusted_under_every_name_it_is_called_by(layout: Layout, machine: Machine) -> None:
    for option, name in (
        ("-checkip", "127.0.0.1"),
        ("-checkip", node.API_SERVICE),
        ("-checkip", node.ADDRESS),
        ("-checkhost", "kubernetes.default.svc.cluster.local"),
        ("-checkhost", "kubernetes.default"),
    ):
        said = subprocess.run(
            [machine.packages.program("openssl"), "x509", "-noout", option, name,
             "-in", layout.keys / "kube-apiserver.crt"],
            env=machine.packages.environment(), check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert "does match" in said.stdout, name


def test_the_addresses_do_not_overlap_and_hold_all_pods() -> None:
    ranges = [ipaddress.ip_network(text) for text in (node.POD_RANGE, node.SERVICE_RANGE, f"{node.ADDRESS}/32")]
    pods = ipaddress.ip_network(node.NODE_POD_RANGE)

    assert not any(one.overlaps(other) for one in ranges for other in ranges if one is not other)
    assert pods.subnet_of(ranges[0])
    assert pods.prefixlen == node.NODE_MASK
    assert pods.num_addresses > node.MAX_PODS
    assert ipaddress.ip_address(node.DNS_SERVICE) in ranges[1]


def test_containerd_is_configured_for_this_instance_alone(layout: Layout, machine: Machine) -> None:
    content = tomllib.loads(configuration.containerd_configuration(layout, machine))
    pods = content["plugins"]["io.containerd.grpc.v1.cri"]

    assert content["root"].startswith(str(layout.folder))
    assert pods["containerd"]["snapshotter"] == "overlayfs"
    assert pods["sandbox_image"] == node.PAUSE_IMAGE


def test_what_others_use_of_the_machine_evicts_no_shop(layout: Layout, machine: Machine) -> None:
    content = configuration.kubelet_configuration(layout, machine)

    assert content["imageGCHighThresholdPercent"] == 100
    assert set(content["evictionHard"].values()) == {"0%"}
