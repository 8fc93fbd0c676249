from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from sandbox import volumes
from sandbox.node import NAME
from sandbox.volumes import PROVISIONER

CLAIM: dict[str, Any] = {
    "metadata": {
        "name": "data", "namespace": "store-tea", "uid": "u-1",
        "annotations": {
            "volume.kubernetes.io/storage-provisioner": PROVISIONER,
            "volume.kubernetes.io/selected-node": NAME,
        },
    },
    "spec": {
        "storageClassName": "local-path", "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    },
}  # fmt: skip
VOLUME: dict[str, Any] = {
    "metadata": {"name": "pvc-u-1", "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
    "spec": {"persistentVolumeReclaimPolicy": "Delete"},
    "status": {"phase": "Released"},
}


def changed(base: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Return a copy of `base` with another value at a path such as `spec/volumeName`; None takes the key away."""
    copied = copy.deepcopy(base)
    *parents, last = path.split("|")
    target = copied
    for parent in parents:
        target = target[parent]
    if value is None:
        del target[last]
    else:
        target[last] = value
    return copied


def test_a_claim_whose_pod_has_a_node_gets_a_volume() -> None:
    assert volumes.wants_volume(CLAIM)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata|annotations|volume.kubernetes.io/selected-node", None),
        ("metadata|annotations|volume.kubernetes.io/storage-provisioner", "rancher.io/local-path"),
        ("metadata|annotations|volume.kubernetes.io/storage-provisioner", None),
        ("metadata|deletionTimestamp", "2026-01-01T00:00:00Z"),
        ("spec|volumeName", "pvc-other"),
    ],
)
def test_a_claim_that_waits_for_something_else_gets_none(path: str, value: str | None) -> None:
    assert not volumes.wants_volume(changed(CLAIM, path, value))


@pytest.mark.parametrize(
    ("wanted", "phase", "has", "grown"),
    [
        ("1Gi", "Bound", "1Gi", None),
        ("2Gi", "Bound", "1Gi", "2Gi"),
        ("2Gi", "Pending", "1Gi", None),
        ("2Gi", "Bound", None, None),
    ],
)
def test_a_bound_claim_that_asks_for_another_size_has_grown(
    wanted: str, phase: str, has: str | None, grown: str | None
) -> None:
    claim = changed(CLAIM, "spec|resources", {"requests": {"storage": wanted}})
    claim["status"] = {"phase": phase, "capacity": {"storage": has} if has else {}}

    assert volumes.grown_to(claim) == grown


@pytest.mark.parametrize("mode", ["ReadWriteOnce", "ReadWriteOncePod", "ReadOnlyMany"])
def test_modes_of_one_node_are_met(mode: str) -> None:
    assert volumes.refusal(changed(CLAIM, "spec|accessModes", [mode])) is None


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("accessModes", ["ReadWriteOnce", "ReadWriteMany"], "access mode ReadWriteMany"),
        ("volumeMode", "Block", "volumeMode Block"),
        ("dataSource", {"kind": "VolumeSnapshot", "name": "x"}, "dataSource"),
        ("selector", {"matchLabels": {"a": "b"}}, "selector"),
    ],
)
def test_what_the_class_does_not_have_is_refused_with_the_reason(key: str, value: object, reason: str) -> None:
    refusal = volumes.refusal(changed(CLAIM, f"spec|{key}", value))

    assert refusal is not None
    assert refusal.startswith(reason)


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
def test_a_volume_is_for_its_claim_and_node_and_follows_its_class(policy: str) -> None:
    storage_class = {"metadata": {"name": "local-path"}, "reclaimPolicy": policy}

    made = volumes.volume(CLAIM, storage_class, Path("/volumes/pvc-u-1"))

    spec = made["spec"]
    assert spec["claimRef"]["uid"] == "u-1"
    assert spec["persistentVolumeReclaimPolicy"] == policy
    assert spec["local"] == {"path": "/volumes/pvc-u-1"}
    (term,) = spec["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == [NAME]


def test_a_released_volume_goes_with_its_claim() -> None:
    assert volumes.is_to_be_removed(VOLUME)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec|persistentVolumeReclaimPolicy", "Retain"),
        ("status|phase", "Bound"),
        ("status|phase", "Available"),
        ("metadata|deletionTimestamp", "2026-01-01T00:00:00Z"),
        ("metadata|annotations|pv.kubernetes.io/provisioned-by", "somebody-else"),
    ],
)
def test_a_volume_that_is_retained_used_or_foreign_stays(path: str, value: str) -> None:
    assert not volumes.is_to_be_removed(changed(VOLUME, path, value))
