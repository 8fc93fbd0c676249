"""Every object of a complete store of prod: what the program registers, and what its release renders to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from components import naming
from components.desired import CREDENTIALS, LIMITS, NAMESPACE, QUOTA, SERVICE_ACCOUNT
from stacks import settings
from stacks.desired import Plans, merge
from stacks.manifest_model import Store
from tests.charts.rendering import ROOT, Chart, Object

HERE: Final = Path(__file__).parent
STORE: Final = Store(
    id="tea-house-a1b2c",
    name="tea-house",
    owner="alice",
    cell="01",
    title="Tea House",
    admin_email="alice@example.com",
    domains=("tea.example.org", "www.tea.example.org"),
)
_CORE: Final = {
    NAMESPACE: "Namespace",
    QUOTA: "ResourceQuota",
    LIMITS: "LimitRange",
    SERVICE_ACCOUNT: "ServiceAccount",
    CREDENTIALS: "Secret",
}


def features() -> Mapping[str, Any]:
    """Return the values that switch everything on which prod leaves to each store."""
    loaded: Mapping[str, Any] = yaml.safe_load((HERE / "features.yaml").read_text())
    return loaded


def release(chart: Chart, environment: str = "prod", store: Store = STORE) -> tuple[list[Object], Any]:
    """Return the release's objects and the objects around it, of a complete store."""
    desired = Plans(ROOT, settings.load(ROOT, environment)).desired(store)
    values = merge(desired.release.values, features())
    return list(chart.render(values, release=store.id).objects), desired.objects


def objects(chart: Chart) -> list[Object]:
    """Return all objects, each with its kind and its namespace, as the cluster gets them."""
    rendered, around = release(chart)
    space = naming.namespace(STORE.id)
    found: list[Object] = []
    for part, body in around.items():
        kind = _CORE.get(part)
        head = {"apiVersion": "v1", "kind": kind} if kind else _policy(part)
        found.append({**head, **body})
    found += [{**body, "metadata": {**body["metadata"], "namespace": space}} for body in rendered]
    return found


def text(chart: Chart) -> str:
    """Return all objects as YAML."""
    return str(yaml.safe_dump_all(objects(chart), sort_keys=False))


def _policy(part: str) -> Object:
    assert part.startswith("policy-"), f"say of which kind the part {part} is"
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
