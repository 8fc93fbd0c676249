"""The node's storage: makes a folder and a PersistentVolume for each claim of class `local-path`, and removes them.

It behaves as the provisioner of that name does on k3s and kind: volumes bind when the first pod is scheduled, are tied
to the node, take one node's pods only, and follow the class' reclaim policy; the size of a claim is recorded and not
enforced, but for class `local-path-sized` (sandbox/sized.py). Unlike there, a claim can grow, as it can on clouds.
docs/adr/0001-sandbox-storage.md says why.
Called as `python -m sandbox.volumes KUBECONFIG FOLDER`.
"""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sandbox import sized
from sandbox.api import UNREACHABLE, Api, ApiError, Object
from stacks.quantities import parse_bytes

PROVISIONER: Final = "stores.platform/local-path"
_PROVISIONED_BY: Final = "pv.kubernetes.io/provisioned-by"
_WANTED_FROM: Final = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
_SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
_ONE_NODE: Final = frozenset({"ReadWriteOnce", "ReadWriteOncePod", "ReadOnlyMany"})
_CLAIMS: Final = "/api/v1/persistentvolumeclaims"
_VOLUMES: Final = "/api/v1/persistentvolumes"
_CLASSES: Final = "/apis/storage.k8s.io/v1/storageclasses"
_WATCH_S: Final = 600
_RETRY_S: Final = 1.0

log = logging.getLogger("volumes")


def wants_volume(claim: Object) -> bool:
    """Return whether the claim waits for a volume of ours, and a pod that uses it has been scheduled."""
    annotations = claim["metadata"].get("annotations") or {}
    return (
        any(annotations.get(name) == PROVISIONER for name in _WANTED_FROM)
        and _SELECTED_NODE in annotations
        and not claim["spec"].get("volumeName")
        and "deletionTimestamp" not in claim["metadata"]
    )


def refusal(claim: Object) -> str | None:
    """Return why the claim cannot be met, or None."""
    modes = set(claim["spec"].get("accessModes") or ())
    if not modes <= _ONE_NODE:
        return f"access mode {', '.join(sorted(modes - _ONE_NODE))}: class local-path has volumes of one node only"
    if claim["spec"].get("volumeMode") == "Block":
        return "volumeMode Block: class local-path has file systems only"
    if claim["spec"].get("dataSource") or claim["spec"].get("dataSourceRef"):
        return "dataSource: class local-path cannot copy volumes"
    if (claim["spec"].get("selector") or {}) != {}:
        return "selector: class local-path makes new volumes and chooses none"
    return None


def grown_to(claim: Object) -> str | None:
    """Return the size that a bound claim asks for by now, when that is not the one it has."""
    wanted = claim["spec"]["resources"]["requests"]["storage"]
    status = claim.get("status") or {}
    has = (status.get("capacity") or {}).get("storage")
    return wanted if status.get("phase") == "Bound" and has is not None and wanted != has else None


def volume_name(claim: Object) -> str:
    """Return the name of the volume that is made for the claim; the same claim always gets the same."""
    return f"pvc-{claim['metadata']['uid']}"


def _wanted_bytes(claim: Object) -> int:
    return parse_bytes(claim["spec"]["resources"]["requests"]["storage"])


def volume(claim: Object, storage_class: Object, folder: Path) -> Object:
    """Return the PersistentVolume for the claim, whose data is in `folder`."""
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume_name(claim), "annotations": {_PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "storageClassName": storage_class["metadata"]["name"],
            "volumeMode": "Filesystem",
            "local": {"path": str(folder)},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {
                                    "key": "kubernetes.io/hostname",
                                    "operator": "In",
                                    "values": [metadata["annotations"][_SELECTED_NODE]],
                                }
                            ]
                        }
                    ]
                }
            },
        },
    }


def is_to_be_removed(persistent_volume: Object) -> bool:
    """Return whether nobody claims a volume of ours any more and its policy is to go with its claim."""
    annotations = persistent_volume["metadata"].get("annotations") or {}
    return (
        annotations.get(_PROVISIONED_BY) == PROVISIONER
        and (persistent_volume.get("status") or {}).get("phase") == "Released"
        and persistent_volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
        and "deletionTimestamp" not in persistent_volume["metadata"]
    )


class Provisioner:
    """Follows claims and volumes, and acts on each as it is seen. Every act can be repeated."""

    def __init__(self, api: Api, folder: Path) -> None:
        self._api = api
        self._folder = folder

    def run(self) -> None:
        """Follow both kinds until the process ends."""
        for collection, act in ((_CLAIMS, self.provide), (_VOLUMES, self.remove)):
            threading.Thread(target=self._follow, args=(collection, act), daemon=True).start()
        threading.Event().wait()

    def provide(self, claim: Object) -> None:
        """Make the volume for the claim exist, if it wants one that this class has, and be as large as it says."""
        if not wants_volume(claim):
            self._grow(claim)
            return
        reason = refusal(claim)
        if reason is not None:
            self._warn(claim, reason)
            return
        storage_class = self._api.get(f"{_CLASSES}/{claim['spec']['storageClassName']}")
        folder = self._folder / volume_name(claim)
        folder.mkdir(exist_ok=True)
        if (storage_class.get("parameters") or {}).get(sized.PARAMETER) == "true":
            try:
                folder = sized.make(folder, _wanted_bytes(claim))
            except sized.SizedError as error:
                self._warn(claim, str(error))
                return
        folder.chmod(0o777)  # as local-path does: pods run as users of their own choice
        try:
            self._api.create(_VOLUMES, volume(claim, storage_class, folder))
        except ApiError as error:
            if error.status != 409:
                raise
        log.info("made %s for %s/%s", volume_name(claim), claim["metadata"]["namespace"], claim["metadata"]["name"])

    def _grow(self, claim: Object) -> None:
        size = grown_to(claim)
        if size is None or claim["spec"].get("volumeName") != volume_name(claim):
            return
        folder = self._folder / volume_name(claim)
        if sized.image_of(folder).exists():
            try:
                sized.grow(folder, _wanted_bytes(claim))
            except sized.SizedError as error:
                self._warn(claim, str(error))
                return
        capacity = {"capacity": {"storage": size}}
        self._api.patch(f"{_VOLUMES}/{volume_name(claim)}", {"spec": capacity})
        metadata = claim["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/persistentvolumeclaims/{metadata['name']}/status"
        self._api.patch(path, {"status": capacity})
        log.info("%s is %s now", volume_name(claim), size)

    def remove(self, persistent_volume: Object) -> None:
        """Make a released volume and its data not exist, if its policy says so."""
        if not is_to_be_removed(persistent_volume):
            return
        name = persistent_volume["metadata"]["name"]
        folder = self._folder / name
        if folder.exists():
            sized.remove(folder)
            shutil.rmtree(folder)
        try:
            self._api.delete(f"{_VOLUMES}/{name}")
        except ApiError as error:
            if error.status != 404:
                raise
        log.info("removed %s", name)

    def _follow(self, collection: str, act: Callable[[Object], None]) -> None:
        while True:
            try:
                self._follow_once(collection, act)
            except (ApiError, *UNREACHABLE) as error:
                # Whatever it was: the next list sees the whole truth again.
                log.warning("listing %s again: %s", collection, error)
                time.sleep(_RETRY_S)

    def _follow_once(self, collection: str, act: Callable[[Object], None]) -> None:
        found = self._api.get(collection)
        for item in found["items"]:
            act(item)
        for kind, item in self._api.watch(collection, found["metadata"]["resourceVersion"], seconds=_WATCH_S):
            if kind in {"ADDED", "MODIFIED"}:
                act(item)

    def _warn(self, claim: Object, reason: str) -> None:
        metadata = claim["metadata"]
        now = datetime.now(UTC).isoformat()
        event = {
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"],
            },
            "type": "Warning", "reason": "ProvisioningFailed", "message": reason,
            "source": {"component": PROVISIONER}, "count": 1, "firstTimestamp": now, "lastTimestamp": now,
        }  # fmt: skip
        self._api.create(f"/api/v1/namespaces/{metadata['namespace']}/events", event)
        log.warning("%s/%s: %s", metadata["namespace"], metadata["name"], reason)


def main() -> None:
    """Follow claims and volumes of the cluster that the first argument names, with data below the second."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    Provisioner(Api(Path(sys.argv[1])), Path(sys.argv[2])).run()


if __name__ == "__main__":
    main()
