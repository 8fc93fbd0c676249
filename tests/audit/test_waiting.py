"""The wait until a store sells or is gone, with doubles of the shop and the cluster; the real ones are in tests/e2e."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from audit import waiting
from audit.phases import repair
from audit.probe import Answer, Check
from audit.waiting import Waiting
from components import desired as parts
from components.desired import DesiredStore, ReleaseSpec
from stacks.evidence import Evidence

TEA = "tea-x7k2m"
SOLD = Answer(ok=True, detail="Shop", content="WooCommerce 11.0.1", checks=(Check("shop page", "/shop/", 200, 9),))
BROKEN = Answer(
    ok=False, detail="shop page (/shop/) answered 500, not 200", checks=(Check("shop page", "/shop/", 500, 9, "x"),)
)
CRASHED = {
    "metadata": {"name": "tea-wordpress-0", "labels": {}},
    "status": {
        "containerStatuses": [
            {"name": "wordpress", "image": "w:9", "state": {"waiting": {"reason": "ErrImagePull", "message": "none"}}}
        ]
    },
}


def store(**values: Any) -> DesiredStore:
    release = ReleaseSpec("c", values, 1)
    return DesiredStore(
        TEA, "tea", "alice", url="http://tea.test", host="tea.test", protected=False, objects={}, release=release
    )


@dataclass
class FakeEntrance:
    """Gives its answers one after the other, the last for ever."""

    answers: list[Answer]
    sells: list[bool] = field(default_factory=list)
    locales: list[str] = field(default_factory=list)

    def ask(self, _store_id: str, _url: str, *, sells: bool, locale: str) -> Answer:
        self.sells.append(sells)
        self.locales.append(locale)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Gone:
    terminating = True


@dataclass
class FakeCluster:
    """Says of the namespace what a test put there; each list is used up, its last item counts for ever."""

    there: list[bool] = field(default_factory=lambda: [True])
    volumes: list[tuple[str, ...]] = field(default_factory=lambda: [()])
    held: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()
    found: Evidence = field(
        default_factory=lambda: Evidence(namespace={"metadata": {}}, workloads=(), release="deployed")
    )

    def namespace(self, name: str) -> Gone | None:
        assert name == f"store-{TEA}"
        return Gone() if (self.there.pop(0) if len(self.there) > 1 else self.there[0]) else None

    def volumes_of(self, _name: str) -> tuple[str, ...]:
        return self.volumes.pop(0) if len(self.volumes) > 1 else self.volumes[0]

    def holders(self, _name: str) -> tuple[str, ...]:
        return self.held

    def disk_lines(self, _name: str) -> tuple[str, ...]:
        return self.disks

    def evidence(self, _name: str, _host: str | None = None) -> Evidence:
        return self.found


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "ASK_EVERY_S", 0.0)


def wait(
    *answers: Answer, cluster: FakeCluster | None = None, told: list[Any] | None = None, cancelled: bool = False
) -> Waiting:
    event = threading.Event()
    if cancelled:
        event.set()
    notes = told if told is not None else []
    return Waiting(cluster or FakeCluster(), FakeEntrance(list(answers)), event, lambda *note: notes.append(note))


def test_a_store_is_ready_with_its_first_good_answer() -> None:
    told: list[Any] = []
    outcome = wait(BROKEN, BROKEN, SOLD, told=told).until_sells(store(), 60)
    assert (outcome.outcome, outcome.status, outcome.content) == ("success", "Ready", "WooCommerce 11.0.1")
    assert told[-1] == (TEA, "http://tea.test answers", "Ready")


@pytest.mark.parametrize(("rivals", "sells"), [(("other/claim",), False), ((), True)])
def test_a_store_whose_host_somebody_else_has_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, rivals: tuple[str, ...], *, sells: bool
) -> None:
    monkeypatch.setattr(waiting, "RIVAL_S", 0.0)
    cluster = FakeCluster(found=Evidence(namespace={"metadata": {}}, workloads=(), release="deployed", rivals=rivals))
    outcome = wait(BROKEN, BROKEN, BROKEN, SOLD, cluster=cluster).until_sells(store(), 600)
    assert (outcome.status == "Ready") is sells
    if not sells:
        assert "its host is claimed by another Ingress: other/claim" in str(outcome.reason)


def test_a_store_that_never_sells_fails_with_the_clusters_reason_before_its_pages() -> None:
    cluster = FakeCluster(found=Evidence(namespace={"metadata": {}}, pods=[CRASHED], release="failed"))
    outcome = wait(BROKEN, cluster=cluster).until_sells(store(), 0)
    assert (outcome.outcome, outcome.status) == ("failure", "Failed")
    assert outcome.reason is not None
    assert outcome.reason.startswith(
        "image w:9 of wordpress of pod tea-wordpress-0 cannot be pulled: ErrImagePull: none;"
    )
    assert outcome.reason.endswith(". http://tea.test: shop page (/shop/) answered 500, not 200")
    assert outcome.metadata == {"checks": [{"name": "shop page", "code": 500, "milliseconds": 9}]}


@pytest.mark.parametrize(
    ("values", "sells", "locale"),
    [({}, False, "en_US"), ({"woocommerce": {"enabled": True}, "store": {"locale": "de_DE"}}, True, "de_DE")],
)
def test_what_is_asked_is_what_the_store_declares(values: dict[str, Any], locale: str, *, sells: bool) -> None:
    entrance = FakeEntrance([SOLD])
    Waiting(FakeCluster(), entrance, threading.Event(), lambda *_: None).ask(store(**values))
    assert (entrance.sells, entrance.locales) == ([sells], [locale])


@pytest.mark.parametrize(("volume", "ready"), [("database", False), ("uploads", True)])
def test_a_shop_with_a_full_database_is_not_ready_though_its_pages_are_shown(volume: str, *, ready: bool) -> None:
    cluster = FakeCluster(disks=(f"disk: the volume of the {volume} is full: 0 of 9 MiB are free",))
    answer = wait(SOLD, cluster=cluster).ask(store())
    assert answer.ok is ready
    if not ready:
        assert answer.detail == (
            "its pages are shown, but no order can be taken: the volume of the database is full: 0 of 9 MiB are free"
        )


def test_a_cancelled_wait_ends_without_a_verdict() -> None:
    assert wait(BROKEN, cancelled=True).until_sells(store(), 60).outcome == "cancelled"


def test_the_engines_words_stand_behind_the_clusters_and_are_cut_short() -> None:
    cluster = FakeCluster(found=Evidence(namespace={"metadata": {}}, pods=[CRASHED], release="failed"))
    text = wait(SOLD, cluster=cluster).why_failed(TEA, None, "e" * 2000)
    assert text.startswith("image w:9")
    assert ". The engine: eee" in text
    assert len(text) < 1200
    unexplained = FakeCluster(found=Evidence(unreadable=()))
    assert "its namespace is gone" in wait(SOLD, cluster=unexplained).why_failed(TEA, None, "boom")


def test_deleted_is_when_namespace_and_volumes_are_gone_and_not_before() -> None:
    cluster = FakeCluster(there=[True, True, False], volumes=[("pvc-1",), ()])
    outcome = wait(SOLD, cluster=cluster).until_gone(TEA, 60)
    assert (outcome.outcome, outcome.status) == ("success", "Deleted")
    assert (cluster.there, cluster.volumes) == ([False], [()])


@pytest.mark.parametrize(
    ("cluster", "told"),
    [
        (FakeCluster(held=("configmaps/pinned is held by finalizer example.com/hold",)),
         f"namespace store-{TEA} is still there: configmaps/pinned is held by finalizer example.com/hold"),
        (FakeCluster(), f"namespace store-{TEA} is still there: the cluster does not say what holds it"),
        (FakeCluster(there=[False], volumes=[("pvc-1", "pvc-2")]), "its volumes are still there: pvc-1, pvc-2"),
    ],
)  # fmt: skip
def test_a_store_that_does_not_go_says_what_holds_it(cluster: FakeCluster, told: str) -> None:
    outcome = wait(SOLD, cluster=cluster).until_gone(TEA, 0)
    assert (outcome.outcome, outcome.status, outcome.reason) == ("failure", "Deleting", told)


def pod(*containers: Any, deleted: bool = False) -> dict[str, Any]:
    metadata = {"name": "tea-0", **({"deletionTimestamp": "now"} if deleted else {})}
    return {"metadata": metadata, "status": {"containerStatuses": list(containers)}}


def state(reason: str) -> dict[str, Any]:
    return {"name": "c", "state": {"waiting": {"reason": reason}}}


@pytest.mark.parametrize("reason", ["CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull"])
def test_a_pod_that_waits_after_failed_tries_is_made_anew(reason: str) -> None:
    assert repair.stuck([pod({"name": "a", "ready": True, "state": {"running": {}}}, state(reason))]) == [
        ("tea-0", reason)
    ]


@pytest.mark.parametrize(
    "found",
    [pod({"name": "a", "ready": True, "state": {"running": {}}}), pod(state("ContainerCreating")), pod(),
     pod(state("CrashLoopBackOff"), deleted=True)],
)  # fmt: skip
def test_a_pod_that_serves_starts_or_goes_is_left_alone(found: dict[str, Any]) -> None:
    assert repair.stuck([found]) == []


@dataclass
class FakeEngine:
    asked: list[tuple[str, frozenset[str]]] = field(default_factory=list)

    def refresh(self, cell: str, names: frozenset[str]) -> None:
        self.asked.append((cell, names))


@pytest.mark.parametrize(("release", "read"), [("deployed", False), ("failed", True), (None, True)])
def test_live_objects_are_read_but_no_release_that_is_deployed_and_no_generator(
    release: str | None, *, read: bool
) -> None:
    engine = FakeEngine()
    cluster = FakeCluster(found=Evidence(namespace={"metadata": {}}, release=release))
    lacking = repair.read_live(engine, cluster, "01", [TEA], lambda *_: None)
    assert lacking == (frozenset() if read else {TEA})
    ((cell, names),) = engine.asked
    assert cell == "01"
    assert names >= {f"{TEA}-{part}" for part in ("namespace", "quota", "credentials", *parts.POLICY_PARTS)}
    assert not names & {f"{TEA}-{part}" for part in parts.RANDOM_PARTS}
    assert (f"{TEA}-release" in names) is read


@pytest.mark.parametrize(
    ("workloads", "lacks"),
    [
        ([("Deployment", 1), ("StatefulSet", 1)], False),
        ([("Deployment", 0), ("StatefulSet", 1)], True),
        ([("StatefulSet", 1)], True),
        ([], True),
    ],
)
def test_what_somebody_removed_of_a_release_is_noticed(workloads: list[tuple[str, int]], *, lacks: bool) -> None:
    found = [{"kind": kind, "metadata": {"name": kind}, "spec": {"replicas": count}} for kind, count in workloads]
    assert repair.lacks_workloads(Evidence(namespace={}, workloads=found)) is lacks
    assert not repair.lacks_workloads(
        Evidence(namespace={}, workloads=found, unreadable=["deployments: 403 Forbidden"])
    )


@pytest.mark.parametrize(
    ("host", "lacks"), [("db.example.com:3306", False), ("10.0.0.7:3307", False), ("tea-x7k2m-mariadb", True)]
)
def test_a_store_whose_database_is_on_a_shared_server_lacks_no_statefulset(host: str, *, lacks: bool) -> None:
    env = [{"name": "A", "valueFrom": {}}, {"name": "WORDPRESS_DB_HOST", "value": host}]
    template = {"spec": {"containers": [{"name": "wordpress", "env": env}]}}
    deployment = {"kind": "Deployment", "metadata": {"name": "tea"}, "spec": {"replicas": 1, "template": template}}
    assert repair.lacks_workloads(Evidence(namespace={}, workloads=[deployment])) is lacks


def web(*nodes: str | None) -> Evidence:
    """Return a web Deployment with pods on these nodes; None is a pod that no node takes."""
    pods = [
        {"metadata": {"name": f"tea-wordpress-{number}"}, "spec": {"nodeName": on}} for number, on in enumerate(nodes)
    ]
    other = {"metadata": {"name": "tea-mariadb-0"}, "spec": {"nodeName": "node"}}
    workloads = [{"kind": kind, "metadata": {"name": f"tea-{name}"}, "spec": {"replicas": 1}}
                 for kind, name in (("Deployment", "wordpress"), ("StatefulSet", "mariadb"))]  # fmt: skip
    return Evidence(namespace={"metadata": {}}, pods=[*pods, other], workloads=workloads, release="deployed")


@pytest.mark.parametrize(
    ("nodes", "blocks"),
    [((None,), True), ((None, None), True), (("node", None), False), (("node",), False), ((), False)],
)
def test_web_pods_that_no_node_takes_make_way_unless_one_runs(nodes: tuple[str | None, ...], *, blocks: bool) -> None:
    assert repair.blocked(web(*nodes)) == ("tea-wordpress" if blocks else None)


def test_what_makes_way_is_made_again_by_the_same_run() -> None:
    gone: list[Any] = []

    class Live(FakeCluster):
        @property
        def apps(self) -> Any:
            return self

        def delete_namespaced_deployment(self, name: str, namespace: str, **how: str) -> None:
            gone.append((name, namespace, how))
            self.found = Evidence(namespace={"metadata": {}}, workloads=self.found.workloads[1:], release="deployed")

        def ask(self, question: Any, _about: str) -> None:
            question()

    lacking = repair.read_live(FakeEngine(), Live(found=web(None)), "01", [TEA], lambda *_: None)
    assert gone == [("tea-wordpress", f"store-{TEA}", {"propagation_policy": "Background"})]
    assert lacking == {TEA}


def test_every_stuck_pod_is_asked_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[Sequence[str]] = []

    class Core:
        def delete_namespaced_pod(self, name: str, namespace: str) -> None:
            gone.append((name, namespace))

    class Live(FakeCluster):
        core = Core()

        def ask(self, question: Any, _about: str) -> None:
            question()

    told: list[Any] = []
    repair.restart_stuck(
        Live(found=Evidence(pods=[pod(state("CrashLoopBackOff"))])), TEA, lambda *note: told.append(note)
    )
    assert gone == [("tea-0", f"store-{TEA}")]
    assert told == [(TEA, "pod tea-0 waits in CrashLoopBackOff; it is made anew")]
