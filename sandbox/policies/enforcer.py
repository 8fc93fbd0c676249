"""Keeps the node's rules what the cluster's network policies say, and lets pods start only behind them.

It fails closed. When it ends, the kernel keeps the rules of before: known pods stay guarded, unknown ones get nothing,
and no new pod gets a network until the next enforcer has read the whole cluster. It never opens while it learns.
Called as `python -m sandbox.policies.enforcer KUBECONFIG FOLDER NFT LIBRARIES`.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.api import UNREACHABLE, Api, ApiError
from sandbox.policies.mirror import Key, Mirror
from sandbox.policies.objects import Cluster, Labels, Object, Pod, Policy, policy_of, ports_of
from sandbox.policies.ruleset import Ruleset
from sandbox.policies.translation import translate

log = logging.getLogger("policies")

_NAMESPACES: Final = "/api/v1/namespaces"
_PODS: Final = "/api/v1/pods"
_POLICIES: Final = "/apis/networking.k8s.io/v1/networkpolicies"
# Less than the CNI plugin waits, so that it is told why.
_IN_FORCE_S: Final = 25.0
_RETRY_S: Final = 1.0
# Rules that somebody took away by hand are back after at most this long without any change in the cluster.
_RENEW_S: Final = 60.0
_REQUEST_S: Final = 5.0
# The kernel's answer to a few thousand rules takes well under a second.
_NFT_S: Final = 30.0


@dataclass(frozen=True)
class PodFacts:
    """What is needed of a pod besides its address."""

    uid: str
    labels: Labels
    ports: Mapping[tuple[str, str], frozenset[int]]


@dataclass(frozen=True)
class Address:
    """Which pod was given an address, as the CNI plugin wrote it down. `uid` may be empty."""

    namespace: str
    name: str
    uid: str
    address: str


def addresses(folder: Path) -> Sequence[Address]:
    """Return the addresses that pods have, the newest last; a file that is going away is none."""
    found: list[tuple[int, Address]] = []
    for file in folder.iterdir():
        try:
            found.append((file.stat().st_mtime_ns, Address(**json.loads(file.read_text()))))
        except FileNotFoundError:
            continue
    return [address for _, address in sorted(found, key=lambda pair: pair[0])]


def cluster_of(
    namespaces: Mapping[Key, Labels],
    pods: Mapping[Key, PodFacts],
    policies: Mapping[Key, Policy],
    given: Sequence[Address],
) -> Cluster:
    """Return the cluster as it is on this node. An address whose pod is not known, or is another one, is left out."""
    found: dict[str, Pod] = {}
    for one in given:
        facts = pods.get((one.namespace, one.name))
        found.pop(one.address, None)  # an address that was given again is no longer the pod's of before
        if facts is not None and one.uid in {"", facts.uid}:
            found[one.address] = Pod(one.namespace, one.name, one.address, facts.labels, facts.ports)
    labels = {name: labels for (_, name), labels in namespaces.items()}
    ordered = tuple(policies[key] for key in sorted(policies))
    return Cluster(labels, tuple(found[address] for address in sorted(found)), ordered)


def pod_facts(body: Object) -> PodFacts:
    """Return what is needed of a pod."""
    metadata = body["metadata"]
    return PodFacts(metadata["uid"], metadata.get("labels") or {}, ports_of(body["spec"]))


def namespace_labels(body: Object) -> Labels:
    """Return the labels of a namespace."""
    labels: Labels = body["metadata"].get("labels") or {}
    return labels


class NftError(Exception):
    """The kernel did not take the rules, and keeps those of before."""


@dataclass(frozen=True)
class Nft:
    """The program that hands rules to the kernel."""

    program: str
    libraries: str

    def apply(self, text: str) -> None:
        """Make the rules be these, all at once. Raises NftError."""
        try:
            done = subprocess.run(
                [self.program, "-f", "-"], input=text, capture_output=True, text=True, check=False, timeout=_NFT_S,
                env={**os.environ, "LD_LIBRARY_PATH": self.libraries},
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise NftError(f"nft did not end within {_NFT_S:.0f} s") from error
        if done.returncode != 0:
            raise NftError(done.stderr.strip()[-500:])


class Enforcer:
    """Compares what should be in force with what is, whenever anything changes."""

    def __init__(self, api: Api, folder: Path, nft: Nft) -> None:
        self._api = api
        self._folder = folder
        self._nft = nft
        self._turn = threading.Condition()
        self._wanted = 0
        self._done = 0
        self._in_force = ""
        self._known: frozenset[str] = frozenset()
        self._problem = "the cluster was not read yet"
        self.namespaces = Mirror(api, _NAMESPACES, namespace_labels, self._change)
        self.pods = Mirror(api, _PODS, pod_facts, self._change)
        self.policies = Mirror(api, _POLICIES, policy_of, self._change)

    def run(self) -> None:
        """Enforce until the process ends."""
        (self._folder / "pods").mkdir(parents=True, exist_ok=True)
        for mirror in (self.namespaces, self.pods, self.policies):
            mirror.start()
        threading.Thread(target=self._listen, name="plugin", daemon=True).start()
        while True:
            with self._turn:
                if not self._turn.wait_for(lambda: self._wanted > self._done, _RENEW_S):
                    self._in_force = ""
                turn = self._wanted
            if not self.apply(turn):
                time.sleep(_RETRY_S)

    def apply(self, turn: int) -> bool:
        """Bring the rules in line with what is known, and return whether they are."""
        namespaces, pods, policies = self.namespaces.all(), self.pods.all(), self.policies.all()
        if namespaces is None or pods is None or policies is None:
            with self._turn:  # the mirror that is still missing asks for the next turn
                self._done = turn
            return True
        rules = translate(cluster_of(namespaces, pods, policies, addresses(self._folder / "pods")))
        problem = self._replace(rules)
        with self._turn:
            self._problem = problem
            if not problem:
                self._known, self._done = rules.known, turn
            self._turn.notify_all()
        return not problem

    def _replace(self, rules: Ruleset) -> str:
        text = rules.text()
        if text == self._in_force:
            return ""
        started = time.monotonic()
        try:
            self._nft.apply(text)
        except NftError as error:
            log.error("the rules of before stay: %s", error)  # noqa: TRY400 - the message says all
            return str(error)
        self._in_force = text
        took_ms = 1000 * (time.monotonic() - started)
        log.info("%d pods, %d chains, %d bytes in %.0f ms", len(rules.known), len(rules.chains), len(text), took_ms)
        return ""

    def _change(self) -> None:
        with self._turn:
            self._wanted += 1
            self._turn.notify_all()

    def admit(self, one: Address) -> str:
        """Return `ok` as soon as the policies of a pod that is about to start are in force, or why they are not.

        Its namespace, its labels and the namespace's policies are asked for now: a watch may be late.
        """
        deadline = time.monotonic() + _IN_FORCE_S
        while self.namespaces.all() is None or self.pods.all() is None or self.policies.all() is None:
            if time.monotonic() > deadline:
                return self._problem
            time.sleep(0.05)
        try:
            self.namespaces.take(self._api.get(f"{_NAMESPACES}/{one.namespace}"))
            self.pods.take(self._api.get(f"{_NAMESPACES}/{one.namespace}/pods/{one.name}"))
            listed = self._api.get(
                _POLICIES.replace("/networkpolicies", f"/namespaces/{one.namespace}/networkpolicies")
            )
        except (ApiError, *UNREACHABLE) as error:
            return f"the API server was asked in vain: {error}"
        for policy in listed["items"]:
            self.policies.take(policy)
        with self._turn:
            self._wanted += 1
            turn = self._wanted
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._done >= turn, deadline - time.monotonic())
            if self._done < turn:
                return self._problem or "the rules were not applied in time"
            return "ok" if one.address in self._known else f"no pod {one.name} has the uid {one.uid}"

    def _listen(self) -> None:
        try:
            path = self._folder / "socket"
            path.unlink(missing_ok=True)
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
                path.chmod(0o600)
                listener.listen(128)
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        except BaseException:
            log.exception("nobody can be answered any more")
            os._exit(1)  # the supervisor starts it anew

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile() as lines:
            connection.settimeout(_REQUEST_S)
            try:
                request = json.loads(lines.readline())
                answer = self.answer(request)
                connection.sendall(f"{answer}\n".encode())
            except (OSError, ValueError) as error:
                log.warning("a request broke off: %s", error)

    def answer(self, request: Mapping[str, str]) -> str:
        """Return the answer to the CNI plugin."""
        if request.get("command") == "ADD":
            names = ("namespace", "name", "uid", "address")
            return " ".join(self.admit(Address(**{name: request[name] for name in names})).split())
        self._change()
        return "ok"


def main() -> None:
    """Enforce the policies of the cluster that the kubeconfig names on this node."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    kubeconfig, folder, program, libraries = sys.argv[1:]
    Enforcer(Api(Path(kubeconfig)), Path(folder), Nft(program, libraries)).run()


if __name__ == "__main__":
    main()
