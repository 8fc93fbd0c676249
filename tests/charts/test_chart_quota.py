"""A whole store fits its quota at its worst moments, and the quota holds: the API server's own word for each."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from charts import quota
from charts.quota import Amount
from components import objects
from sandbox.api import Api, ApiError
from sandbox.instance import Instance
from stacks import settings
from stacks.quantities import parse_bytes, parse_cpu_millis
from tests.posture import complete

from .live import eventually
from .rendering import ROOT, Chart, Object

ENVIRONMENTS = ("local", "prod")
SOLVER = {"resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "50m", "memory": "64Mi"}}}


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def store(chart: Chart, environment: str) -> tuple[list[Object], Object]:
    """Return the objects of a complete release, and the quota of its environment."""
    rendered, around = complete.release(chart, environment)
    return rendered, around["quota"]["spec"]["hard"]


def test_a_whole_store_fits_its_quota_at_every_worst_moment(store: tuple[list[Object], Object]) -> None:
    rendered, hard = store
    solver = quota.solver_of(ROOT / quota.ISSUERS)
    moments = quota.totals(quota.rows(rendered, solver, complete.STORE.id))
    assert "while an update runs" in moments
    for moment, (pods, requests, limits) in moments.items():
        assert pods <= int(hard["pods"]), moment
        for kind, used in (("requests", requests), ("limits", limits)):
            assert used.cpu_millis <= parse_cpu_millis(hard[f"{kind}.cpu"]), (moment, kind)
            assert used.memory_bytes <= parse_bytes(hard[f"{kind}.memory"]), (moment, kind)


def test_the_quota_is_what_the_platform_promises(store: tuple[list[Object], Object]) -> None:
    _, hard = store
    for kind in ("requests", "limits"):
        assert (hard[f"{kind}.cpu"], hard[f"{kind}.memory"]) == ("2", "4Gi")


def test_a_stores_objects_fit_their_counts(store: tuple[list[Object], Object]) -> None:
    rendered, hard = store
    kinds = [o["kind"] for o in rendered]
    claims = [o for o in rendered if o["kind"] == "PersistentVolumeClaim"]
    sizes = [parse_bytes(claim["spec"]["resources"]["requests"]["storage"]) for claim in claims]
    assert len(claims) <= int(hard["persistentvolumeclaims"])
    assert sum(sizes) <= parse_bytes(hard["requests.storage"])
    # One more Service: a certificate solver's.
    assert kinds.count("Service") + 1 <= int(hard["services"])
    # One more ConfigMap: the cluster's authority, in every namespace.
    assert kinds.count("ConfigMap") + 1 <= int(hard["configmaps"])
    # The credentials, Helm's revisions and the one being made, a certificate and its next key per domain, and those
    # that mail and backup name.
    assert int(hard["secrets"]) >= 1 + (5 + 1) + 2 * 10 + 2


def test_the_table_of_the_readme_is_what_adds_up() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "charts.quota", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def container(cpu: str, memory: str = "64Mi") -> dict[str, Any]:
    amounts = {"cpu": cpu, "memory": memory}
    return {"resources": {"requests": amounts, "limits": amounts}}


def made(kind: str, spec: dict[str, Any]) -> Object:
    return {"kind": kind, "metadata": {"name": "r-x"}, "spec": spec}


def pod(*cpus: str, first: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "spec": {"initContainers": [container(cpu) for cpu in first], "containers": [container(cpu) for cpu in cpus]}
    }


def limits(*found: Object) -> dict[str, int]:
    return {name: most.cpu_millis - 50 for name, (_, _, most) in quota.totals(quota.rows(found, SOLVER, "r")).items()}


@pytest.mark.parametrize(
    ("o", "expected"),
    [
        (made("StatefulSet", {"replicas": 2, "template": pod("100m")}), 200),
        (made("Deployment", {"replicas": 1, "strategy": {"type": "Recreate"}, "template": pod("100m")}), 100),
        (
            made(
                "Deployment",
                {"replicas": 2, "strategy": {"rollingUpdate": {"maxSurge": 1}}, "template": pod("100m", "20m")},
            ),
            360,
        ),
        (made("StatefulSet", {"replicas": 1, "template": pod("100m", "100m", first=("150m", "300m"))}), 300),
        (made("StatefulSet", {"replicas": 1, "template": pod("100m", "250m", first=("150m", "300m"))}), 350),
        (made("Job", {"template": pod("100m")}), 100),
        (made("CronJob", {"concurrencyPolicy": "Forbid", "jobTemplate": {"spec": {"template": pod("100m")}}}), 100),
        (made("Pod", pod("100m")["spec"]), 100),
        (made("Service", {}), 0),
    ],
)
def test_each_kind_counts_for_what_it_can_run(o: Object, expected: int) -> None:
    assert limits(o) == {"while an update runs": expected}


def test_what_is_suspended_runs_alone_and_not_during_an_update() -> None:
    def job(name: str, cpu: str, *, suspend: bool) -> Object:
        spec = {"concurrencyPolicy": "Forbid", "suspend": suspend, "jobTemplate": {"spec": {"template": pod(cpu)}}}
        return {**made("CronJob", spec), "metadata": {"name": f"r-{name}"}}

    web = made("Deployment", {"replicas": 1, "strategy": {"rollingUpdate": {"maxSurge": 1}}, "template": pod("500m")})
    assert limits(web, job("backup", "100m", suspend=False), job("restore", "300m", suspend=True)) == {
        "while an update runs": 1100,
        "while restore runs": 900,
    }


@pytest.mark.parametrize(
    ("o", "told"),
    [
        (made("CronJob", {"jobTemplate": {"spec": {"template": pod("1m")}}}), "set concurrencyPolicy: Forbid"),
        (made("DaemonSet", {"template": pod("1m")}), "nobody knows how many pods it makes"),
    ],
)
def test_what_cannot_be_added_up_is_an_error(o: Object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        limits(o)


def test_a_container_without_resources_is_an_error() -> None:
    with pytest.raises(KeyError, match="resources"):
        limits(made("Job", {"template": {"spec": {"containers": [{"name": "x"}]}}}))


def test_amounts_read_as_people_write_them() -> None:
    assert str(Amount(1950, 3904 * 2**20)) == "1950m / 3904Mi"


# --- the quota holds, on a real API server


@pytest.fixture(scope="module")
def space(sandbox_instance: Instance) -> Iterator[tuple[Api, str]]:
    """Return a namespace with a store's quota and defaults, and nothing in it."""
    api = Api(sandbox_instance.kubeconfig)
    store_id = f"quota-{uuid.uuid4().hex[:5]}"
    promised = settings.load(ROOT, "local").quota
    around = {
        "namespaces": ("Namespace", objects.namespace(store_id, {})),
        "resourcequotas": ("ResourceQuota", objects.resource_quota(store_id, promised, {})),
        "limitranges": ("LimitRange", objects.limit_range(store_id, promised, {})),
    }
    name = str(around["namespaces"][1]["metadata"]["name"])
    for plural, (kind, body) in around.items():
        where = "/api/v1/namespaces" + ("" if kind == "Namespace" else f"/{name}/{plural}")
        api.create(where, {"apiVersion": "v1", "kind": kind, **body})
    api.create(f"/api/v1/namespaces/{name}/serviceaccounts", named("ServiceAccount", "pods"))
    where = f"/api/v1/namespaces/{name}/resourcequotas/store"
    eventually(lambda: api.get(where).get("status", {}).get("hard"), "the quota is counted", within_s=60)
    yield api, name
    api.delete(f"/api/v1/namespaces/{name}")


def named(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **more}


def rogue(name: str, resources: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a pod of the restricted profile that somebody made by hand."""
    container = {
        "name": "rogue",
        "image": "registry.k8s.io/pause:sandbox",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, **more},
    }
    if resources is not None:
        container["resources"] = {"requests": resources, "limits": resources}
    spec = {
        "serviceAccountName": "pods",
        "automountServiceAccountToken": False,
        "nodeSelector": {"nowhere": "never"},
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    return named("Pod", name, spec=spec)


def claim(name: str, size: str) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": size}}}
    return named("PersistentVolumeClaim", name, spec=spec)


def service(name: str, kind: str) -> dict[str, Any]:
    return named("Service", name, spec={"type": kind, "ports": [{"port": 80}], "selector": {"a": "b"}})


@pytest.mark.cluster
def test_a_pod_that_names_no_resources_gets_small_ones(space: tuple[Api, str]) -> None:
    api, name = space
    made = api.create(f"/api/v1/namespaces/{name}/pods", rogue("plain"))
    assert made["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "100m", "memory": "128Mi"},
        "requests": {"cpu": "10m", "memory": "32Mi"},
    }
    used = f"/api/v1/namespaces/{name}/resourcequotas/store"
    eventually(lambda: api.get(used)["status"]["used"]["limits.memory"] == "128Mi", "it counts", within_s=60)
    api.delete(f"/api/v1/namespaces/{name}/pods/plain")


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("plural", "body", "told"),
    [
        ("pods", rogue("big", {"cpu": "2001m", "memory": "64Mi"}), "maximum cpu usage per Container is 2"),
        ("pods", rogue("big", {"cpu": "1", "memory": "4097Mi"}), "maximum memory usage per Container is 4Gi"),
        ("pods", rogue("root", runAsUser=0), "violates PodSecurity"),
        ("pods", rogue("strong", capabilities={}), "violates PodSecurity"),
        ("persistentvolumeclaims", claim("big", "21Gi"), "maximum storage usage per PersistentVolumeClaim is 20Gi"),
        ("persistentvolumeclaims", claim("small", "63Mi"), "minimum storage usage per PersistentVolumeClaim is 64Mi"),
        ("services", service("node", "NodePort"), "exceeded quota: store, requested: services.nodeports=1"),
        ("services", service("cloud", "LoadBalancer"), "exceeded quota: store"),
    ],
)
def test_what_is_over_a_cap_is_refused(space: tuple[Api, str], plural: str, body: dict[str, Any], told: str) -> None:
    api, name = space
    with pytest.raises(ApiError, match=told) as refused:
        api.create(f"/api/v1/namespaces/{name}/{plural}", body)
    assert refused.value.status == 403


@pytest.mark.cluster
def test_pods_together_stay_within_the_quota(space: tuple[Api, str]) -> None:
    api, name = space
    where = f"/api/v1/namespaces/{name}/pods"
    api.create(where, rogue("first", {"cpu": "2", "memory": "1Gi"}))
    with pytest.raises(ApiError, match=r"exceeded quota: store, requested: limits.cpu=1m,requests.cpu=1m"):
        api.create(where, rogue("second", {"cpu": "1m", "memory": "16Mi"}))
    api.delete(f"{where}/first")


@pytest.mark.cluster
def test_the_volumes_are_counted_and_their_sum_is_capped(space: tuple[Api, str]) -> None:
    api, name = space
    where = f"/api/v1/namespaces/{name}/persistentvolumeclaims"
    for number in range(4):
        api.create(where, claim(f"volume-{number}", "1Gi"))
    with pytest.raises(ApiError, match="exceeded quota: store, requested: persistentvolumeclaims=1"):
        api.create(where, claim("volume-5", "1Gi"))
    api.delete(f"{where}/volume-0")
    used = f"/api/v1/namespaces/{name}/resourcequotas/store"
    eventually(lambda: api.get(used)["status"]["used"]["persistentvolumeclaims"] == "3", "it is gone", within_s=60)
    with pytest.raises(ApiError, match=r"requested: requests.storage=18Gi, used: requests.storage=3Gi"):
        api.create(where, claim("volume-6", "18Gi"))
