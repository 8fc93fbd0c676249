from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sandbox.api import ApiError
from sandbox.policies.enforcer import Address, Enforcer, Nft, NftError, PodFacts, addresses, cluster_of
from sandbox.policies.mirror import Mirror
from sandbox.policies.objects import policy_of
from tests.charts.live import eventually

from .worlds import policy

DENY = policy("x", "deny", policyTypes=["Ingress", "Egress"])


def versioned(body: Mapping[str, Any], version: int) -> Mapping[str, Any]:
    return {**body, "metadata": {**body["metadata"], "resourceVersion": str(version)}}


def pod(name: str, version: int = 1, *, uid: str = "u1", **labels: str) -> Mapping[str, Any]:
    return versioned({"metadata": {"namespace": "x", "name": name, "uid": uid, "labels": labels}, "spec": {}}, version)


NAMESPACE = versioned({"metadata": {"name": "x", "labels": {}}}, 1)


class FakeApi:
    """An API server whose watches say nothing: whatever is known was listed, or asked for."""

    def __init__(self, pods: Mapping[str, Any], policies: list[Any]) -> None:
        self.pods = pods
        self.policies = policies
        self.listed_policies: list[Any] = []
        self.over = threading.Event()

    def get(self, path: str) -> Mapping[str, Any]:
        kind = path.rpartition("/")[2]
        if path == "/api/v1/namespaces/x":
            return NAMESPACE
        if path.startswith("/api/v1/namespaces/x/pods/"):
            if kind not in self.pods:
                raise ApiError(404, f"pods {kind} not found")
            return self.pods[kind]
        if path == "/apis/networking.k8s.io/v1/namespaces/x/networkpolicies":
            return {"items": self.policies, "metadata": {"resourceVersion": "1"}}
        items = {"namespaces": [NAMESPACE], "pods": [], "networkpolicies": self.listed_policies}[kind]
        return {"items": items, "metadata": {"resourceVersion": "1"}}

    def watch(self, _path: str, _version: str, *, seconds: int) -> Iterator[tuple[str, Any]]:
        self.over.wait(seconds)
        yield from ()
        os._exit(1)  # never reached: the tests end first


class FakeKernel(Nft):
    """Keeps what it was told."""

    def __init__(self) -> None:
        super().__init__("nft", "")
        object.__setattr__(self, "texts", [])
        object.__setattr__(self, "refuse", False)

    texts: list[str]
    refuse: bool

    def apply(self, text: str) -> None:
        if self.refuse:
            raise NftError("Error: syntax error")
        self.texts.append(text)


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


def start(folder: Path, api: FakeApi, kernel: FakeKernel) -> Enforcer:
    found = Enforcer(api, folder, kernel)  # type: ignore[arg-type]
    threading.Thread(target=found.run, daemon=True).start()
    return found


def give(folder: Path, address: str, name: str, uid: str = "u1", container: str | None = None) -> Address:
    """Write an address down as the CNI plugin does."""
    (folder / "pods").mkdir(exist_ok=True)
    one = Address("x", name, uid, address)
    (folder / "pods" / (container or name)).write_text(json.dumps(vars(one)))
    return one


def test_a_pod_is_let_in_with_policies_that_no_watch_has_told_of_yet(tmp_path: Path, kernel: FakeKernel) -> None:
    api = FakeApi({"web": pod("web")}, [versioned(DENY, 2)])
    one = give(tmp_path, "10.42.0.9", "web")
    assert start(tmp_path, api, kernel).answer({"command": "ADD", **vars(one)}) == "ok"
    assert "10.42.0.9 : jump ingress-" in kernel.texts[-1]
    assert "10.42.0.9 : jump egress-" in kernel.texts[-1]


def test_a_pod_that_the_api_server_does_not_know_gets_no_network(tmp_path: Path, kernel: FakeKernel) -> None:
    one = give(tmp_path, "10.42.0.9", "web")
    answer = start(tmp_path, FakeApi({}, []), kernel).admit(one)
    assert answer == "the API server was asked in vain: 404: pods web not found"


def test_another_pod_of_the_same_name_is_not_taken_for_it(tmp_path: Path, kernel: FakeKernel) -> None:
    one = give(tmp_path, "10.42.0.9", "web", uid="u1")
    answer = start(tmp_path, FakeApi({"web": pod("web", uid="u2")}, []), kernel).admit(one)
    assert answer == "no pod web has the uid u1"
    assert "10.42.0.9" not in kernel.texts[-1]


def test_rules_that_the_kernel_refuses_hold_a_pod_back(
    tmp_path: Path, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.policies.enforcer._IN_FORCE_S", 0.5)
    object.__setattr__(kernel, "refuse", True)
    one = give(tmp_path, "10.42.0.9", "web")
    enforcer = start(tmp_path, FakeApi({"web": pod("web")}, []), kernel)
    assert enforcer.admit(one) == "Error: syntax error"
    # It goes on trying, and is let in as soon as they are in force.
    object.__setattr__(kernel, "refuse", False)
    monkeypatch.setattr("sandbox.policies.enforcer._IN_FORCE_S", 10)
    assert enforcer.admit(one) == "ok"


def test_nothing_is_put_in_force_before_the_whole_cluster_was_read(tmp_path: Path, kernel: FakeKernel) -> None:
    enforcer = Enforcer(FakeApi({}, []), tmp_path, kernel)  # type: ignore[arg-type]
    (tmp_path / "pods").mkdir()
    for mirror in (enforcer.namespaces, enforcer.pods):
        mirror._found = {}
        assert enforcer.apply(1)
        assert kernel.texts == []
    enforcer.policies._found = {}
    assert enforcer.apply(2)
    assert len(kernel.texts) == 1
    # What is in force already is not handed over again.
    assert enforcer.apply(3)
    assert len(kernel.texts) == 1


def test_an_address_that_was_given_again_is_the_later_pods(tmp_path: Path) -> None:
    give(tmp_path, "10.42.0.9", "old")
    give(tmp_path, "10.42.0.9", "new", uid="u2")
    os.utime(tmp_path / "pods" / "old", ns=(1, 1))
    facts = {("x", "old"): PodFacts("u1", {}, {}), ("x", "new"): PodFacts("u2", {}, {})}
    found = cluster_of({}, facts, {}, addresses(tmp_path / "pods"))
    assert [(pod.name, pod.address) for pod in found.pods] == [("new", "10.42.0.9")]
    # Even where nothing is known of the later one, the earlier one does not get it back.
    found = cluster_of({}, {("x", "old"): facts["x", "old"]}, {}, addresses(tmp_path / "pods"))
    assert found.pods == ()


def test_an_older_version_of_an_object_does_not_replace_a_newer_one() -> None:
    mirror = Mirror(FakeApi({}, []), "/policies", policy_of, lambda: None)  # type: ignore[arg-type]
    mirror.take(versioned(DENY, 5))
    assert mirror.all() is None  # nothing is known before the first list
    mirror._found = {}
    closed, opened = versioned(DENY, 5), versioned(policy("x", "deny", policyTypes=["Ingress"], ingress=[{}]), 4)
    assert mirror.take(closed)
    assert not mirror.take(opened)
    assert not mirror.take(versioned(closed, 6))  # a later version that says the same
    mirror._found[("x", "deny")] = (5, policy_of(closed))
    assert mirror.all() == {("x", "deny"): policy_of(closed)}
    # The end of an earlier object of the same name is not the end of this one.
    mirror._forget(opened)
    assert mirror.all() == {("x", "deny"): policy_of(closed)}
    mirror._forget(versioned(DENY, 6))
    assert mirror.all() == {}


def test_rules_that_were_taken_away_by_hand_come_back(
    tmp_path: Path, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.policies.enforcer._RENEW_S", 0.05)
    start(tmp_path, FakeApi({}, []), kernel)
    eventually(lambda: len(kernel.texts) >= 3, "the same rules are handed over again")
    assert len(set(kernel.texts)) == 1
