"""From what a cluster tells to what an operator is told; the objects are as an API server sends them."""

from __future__ import annotations

from typing import Any

import pytest

from stacks import evidence
from stacks.evidence import Evidence
from stacks.explanation import causes, explain, full_volumes, stops_orders


def pod(component: str = "wordpress", **status: Any) -> dict[str, Any]:
    name = f"tea-{component}-0"
    return {"metadata": {"name": name, "labels": {"app.kubernetes.io/component": component}}, "status": status}


def container(name: str = "wordpress", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "docker.io/library/wordpress:9", "ready": False, "restartCount": 0, **more}


def waiting(reason: str, message: str = "", name: str = "wordpress", **more: Any) -> dict[str, Any]:
    return container(name, state={"waiting": {"reason": reason, "message": message}}, **more)


def ended(code: int, message: str, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def event(kind: str, name: str, reason: str, message: str) -> dict[str, Any]:
    return {
        "metadata": {}, "involvedObject": {"kind": kind, "name": name}, "reason": reason, "message": message,
        "lastTimestamp": "2026-11-23T10:00:00Z",
    }  # fmt: skip


def workload(kind: str, name: str, *, ready: int = 1, conditions: Any = ()) -> dict[str, Any]:
    status = {"readyReplicas": ready, "updatedReplicas": ready, "conditions": list(conditions)}
    return {
        "kind": kind,
        "metadata": {"name": name, "namespace": "store-tea"},
        "spec": {"replicas": 1},
        "status": status,
    }


WORKLOADS = (workload("Deployment", "tea-wordpress"), workload("StatefulSet", "tea-mariadb"))


def seen(*pods: Any, **more: Any) -> Evidence:
    return Evidence(
        **{"namespace": {"metadata": {}}, "workloads": WORKLOADS, "release": "deployed", "pods": pods, **more}
    )


def first(found: Evidence) -> str:
    return str(causes(found)[0])


def test_a_store_without_fault_has_no_cause() -> None:
    ready = pod(conditions=[{"type": "Ready", "status": "True"}], containerStatuses=[container(ready=True)])
    assert causes(seen(ready)) == ()
    assert explain(seen(ready)) == ""


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"])
@pytest.mark.parametrize(("component", "key"), [("wordpress", "image.tag"), ("mariadb", "database.image.tag")])
def test_an_image_that_cannot_be_pulled_names_image_and_key(reason: str, component: str, key: str) -> None:
    found = pod(component, initContainerStatuses=[waiting(reason, "not found", name="init")])
    assert first(seen(found)) == (
        f"image docker.io/library/wordpress:9 of init of pod tea-{component}-0 cannot be pulled: {reason}: not found; "
        f"correct {key}, or make the registry reachable"
    )


def test_a_pod_that_no_node_takes_is_told_in_the_schedulers_words() -> None:
    message = "0/1 nodes are available: 1 Insufficient cpu."
    found = pod(conditions=[{"type": "PodScheduled", "status": "False", "message": message}])
    assert first(seen(found)) == (
        f"no node takes pod tea-wordpress-0: {message}; add a node, free one, or lower the store's sizes"
    )


@pytest.mark.parametrize("by", ["condition", "event"])
def test_a_quota_that_is_used_up_is_told(by: str) -> None:
    message = 'pods "x" is forbidden: exceeded quota: store, requested: pods=1, used: pods=1, limited: pods=1'
    if by == "condition":
        broken = workload(
            "Deployment",
            "tea-wordpress",
            ready=0,
            conditions=[{"type": "ReplicaFailure", "status": "True", "message": message}],
        )
        found = seen(workloads=(broken, WORKLOADS[1]))
    else:
        events = [event("StatefulSet", "tea-mariadb", "FailedCreate", message)]
        found = seen(workloads=(WORKLOADS[0], workload("StatefulSet", "tea-mariadb", ready=0)), events=events)
    assert "exceeded quota: store, requested: pods=1" in first(found)
    assert "raise stores:quota" in first(found)


def test_a_quota_that_was_used_up_once_is_not_told_of_pods_that_run() -> None:
    events = [event("StatefulSet", "tea-mariadb", "FailedCreate", "exceeded quota")]
    assert causes(seen(events=events)) == ()


def test_a_container_that_ran_out_of_memory_is_told_so() -> None:
    crashed = waiting("CrashLoopBackOff", "back-off", lastState=ended(137, "", "OOMKilled"), restartCount=3)
    assert first(seen(pod(containerStatuses=[crashed]))) == (
        "container wordpress of pod tea-wordpress-0 ran out of memory and was killed (3 restarts); "
        "raise web.memory in the block"
    )


def test_a_container_that_ends_is_told_with_its_last_words() -> None:
    said = "a\nb\nrun: MariaDB refuses: Access denied for user 'wordpress'; put back the mariadb-password\n\n"
    crashed = waiting("CrashLoopBackOff", "back-off", name="install", lastState=ended(1, said), restartCount=1)
    assert first(seen(pod(initContainerStatuses=[crashed]))) == (
        "container install of pod tea-wordpress-0 ended with code 1 (1 restart), its last words: a | b | "
        "run: MariaDB refuses: Access denied for user 'wordpress'; put back the mariadb-password; correct what it says"
    )


def test_the_database_explains_a_shop_that_waits_for_it() -> None:
    web = waiting("CrashLoopBackOff", name="install", lastState=ended(1, "MariaDB on db did not answer for 600 s"))
    database = waiting("CrashLoopBackOff", name="mariadb", lastState=ended(1, "[ERROR] Aborting"))
    found = seen(pod(initContainerStatuses=[web]), pod("mariadb", containerStatuses=[database]))
    assert first(found).startswith("container mariadb of pod tea-mariadb-0 ended with code 1")
    assert "also: container install" in explain(found)


@pytest.mark.parametrize(
    "text",
    [
        "No space left on device",
        "Disk is full writing './x'",
        "errno: 28",
        # MariaDB 11.8 on a volume that is really full, at its start; the lines after it name an unknown engine.
        "[ERROR] InnoDB: preallocating 12582912 bytes for file ./ibtmp1 failed with error 28",
        "[ERROR] InnoDB: Could not set the file size of './ibtmp1'. Probably out of disk space",
    ],
)
def test_a_full_disk_is_told_whoever_says_so(text: str) -> None:
    crashed = waiting("CrashLoopBackOff", name="mariadb", lastState=ended(1, f"x\nmariadbd: {text}\na\nb\nc\nd"))
    told = first(seen(pod("mariadb", containerStatuses=[crashed])))
    assert told.startswith("the volume of the database is full: container mariadb of pod ")
    assert f"found its disk full: mariadbd: {text}; raise database.storage in the store's block" in told
    running = pod("mariadb", containerStatuses=[container("mariadb", state={"running": {}})])
    assert "finds its disk full" in explain(seen(running, logs={("tea-mariadb-0", "mariadb"): ["x", text]}))


def test_a_refused_password_is_told_though_all_pods_run() -> None:
    web = pod(containerStatuses=[container(state={"running": {}})])
    logs = {
        ("tea-mariadb-0", "mariadb"): ["[Warning] Access denied for user 'wordpress'@'10.42.0.9' (using password: YES)"]
    }
    assert first(seen(web, logs=logs)).startswith("the database refuses WordPress' password: [Warning] Access denied")


def test_a_server_that_refuses_its_own_health_check_while_it_starts_is_no_cause() -> None:
    logs = {("tea-mariadb-0", "mariadb"): ["[Warning] Access denied for user 'none'@'localhost' (using password: NO)"]}
    assert causes(seen(pod("mariadb"), logs=logs)) == ()


@pytest.mark.parametrize(
    ("state", "told"), [("ContainerCreating", True), ("PodInitializing", True), ("ErrImagePull", False)]
)
def test_a_volume_that_is_not_mounted_is_told_until_it_is(state: str, *, told: bool) -> None:
    events = [event("Pod", "tea-wordpress-0", "FailedMount", "timed out waiting for the condition")]
    found = seen(pod(containerStatuses=[waiting(state)]), events=events)
    assert ("gets no volume: FailedMount: timed out" in explain(found)) is told


def test_a_pod_that_runs_and_is_not_ready_is_told_with_its_probe() -> None:
    web = pod(containerStatuses=[container(state={"running": {}})])
    events = [
        event("Pod", "tea-wordpress-0", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 500")
    ]
    assert "runs but is not ready: Unhealthy: Readiness probe failed" in first(seen(web, events=events))


def test_a_claim_without_a_volume_names_its_class() -> None:
    claim = {"metadata": {"name": "tea-mariadb"}, "spec": {"storageClassName": "fast"}, "status": {"phase": "Pending"}}
    events = [event("PersistentVolumeClaim", "tea-mariadb", "ProvisioningFailed", 'storageclass "fast" not found')]
    assert first(seen(claims=[claim], events=events)).startswith(
        'claim tea-mariadb gets no volume from class fast: ProvisioningFailed: storageclass "fast" not found'
    )
    assert causes(seen(claims=[claim])) == ()  # it waits for its first pod


def test_a_rival_for_the_host_is_named() -> None:
    assert first(seen(rivals=["other/claim"])) == (
        "its host is claimed by another Ingress: other/claim; delete that one, or give one of the two another host"
    )


def test_what_somebody_has_deleted_is_named() -> None:
    assert "the Deployment of its web pods is gone" in first(seen(workloads=WORKLOADS[1:]))
    assert "its namespace is gone" in first(Evidence())
    assert "its namespace is being deleted" in first(seen(namespace={"metadata": {"deletionTimestamp": "now"}}))


def test_a_store_whose_database_is_on_a_shared_server_misses_no_statefulset() -> None:
    assert "the StatefulSet of its database is gone" in first(seen(workloads=WORKLOADS[:1]))
    env = [{"name": "WORDPRESS_DB_HOST", "value": "db.example.com:3306"}]
    spec = {"replicas": 1, "template": {"spec": {"containers": [{"env": env}]}}}
    assert "StatefulSet" not in str(causes(seen(workloads=[{**WORKLOADS[0], "spec": spec}])))


def test_a_release_that_a_killed_run_left_pending_is_told() -> None:
    assert "stuck in pending-upgrade" in first(seen(release="pending-upgrade"))


def test_a_cluster_that_says_nothing_is_told_as_that() -> None:
    assert "the cluster does not say why (namespace: 403 Forbidden)" in first(
        Evidence(unreadable=("namespace: 403 Forbidden",))
    )


def test_no_more_than_three_causes_are_told_the_most_telling_first() -> None:
    crashed = [waiting("CrashLoopBackOff", name=f"c{number}", lastState=ended(1, "x")) for number in range(5)]
    image = waiting("ErrImagePull", "no", name="z")
    text = explain(seen(pod(containerStatuses=[*crashed, image])))
    assert text.startswith("image docker.io")
    assert text.count("also: ") == 2


def test_a_full_database_comes_first_and_is_told_from_full_uploads() -> None:
    said = [
        "disk: the volume of the uploads is full: 1 of 64 MiB are free",
        "disk: the volume of the database is full: 9 of 1024 MiB are free",
        "disk: the volume of the database is full: 3 of 1024 MiB are free",
        "something else",
    ]
    found = full_volumes(said)
    assert [stops_orders(cause) for cause in found] == [True, False]
    assert str(found[0]) == (
        "the volume of the database is full: 3 of 1024 MiB are free; raise database.storage in the store's block, "
        "or delete what is not needed"
    )
    assert full_volumes([*said, "disk: the volume of the database has room again"]) == found[1:]
    assert full_volumes(["disk: the volume of the moon is full: 1 of 2 MiB are free"]) == ()


def test_values_of_secrets_are_taken_out_whatever_their_notation() -> None:
    text = evidence.redacted("a hunter2hunter2 b aHVudGVyMmh1bnRlcjI= c hunter2", ["hunter2hunter2", "hunter2"])
    assert text == "a [secret] b [secret] c [secret]"
