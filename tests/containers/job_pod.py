"""Pods without a cluster: each container of a pod's specification, with its own command, environment and mounts.

Volumes, secrets and config maps are folders, made as the objects say; what is mounted in a cluster is mounted here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .image import Image, Mount
from .network import Network


@dataclass(frozen=True)
class Ended:
    """How a container ended, what it said, and what it left as its message."""

    code: int
    out: str
    message: str


@dataclass
class Pod:
    """One pod. `secrets` and `config_maps` are by name; `claims` is a folder with one per claim."""

    spec: Mapping[str, Any]
    image: Image
    network: Network
    folder: Path
    claims: Path
    secrets: Mapping[str, Mapping[str, str]]
    config_maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def user(self) -> int:
        """Whose processes these are, and whose group owns the volumes."""
        return int(self.spec["securityContext"]["runAsUser"])

    def run(
        self,
        name: str,
        *,
        script: str | None = None,
        variables: Mapping[str, str] | None = None,
        more: Sequence[Mount] = (),
        timeout_s: float = 180,
    ) -> Ended:
        """Run a container to its end; `script` instead of its own command, `variables` as `stores` would set them."""
        container = next(each for each in self._containers() if each["name"] == name)
        environment = {each["name"]: each["value"] for each in container["env"]}
        assert set(variables or {}) <= set(environment), "a variable that the template does not have"
        command = container["command"] if script is None else ["sh", "-c", script, "/etc/store/backup/script"]
        message = self.folder / f"message-{name}"
        message.parent.mkdir(parents=True, exist_ok=True)
        message.touch()
        os.chown(message, self.user, self.user)
        mounts = [*self._mounts(container), *more, Mount(message, "/dev/termination-log")]
        process = self.image.start(
            command, user=self.user, mounts=mounts, environment={**environment, **(variables or {})},
            network=self.network,
        )  # fmt: skip
        done = process.ended(timeout_s)
        return Ended(done.code, done.out, message.read_text().strip())

    def volume(self, name: str, sub_path: str = "") -> Path:
        """Return the folder of one of the pod's volumes."""
        (volume,) = [each for each in self.spec["volumes"] if each["name"] == name]
        folder = self._folder(volume) / sub_path
        if not folder.exists():
            self._own(folder)
        return folder

    def _containers(self) -> list[Mapping[str, Any]]:
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    def _mounts(self, container: Mapping[str, Any]) -> list[Mount]:
        return [
            Mount(
                self.volume(mount["name"], mount.get("subPath", "")),
                mount["mountPath"],
                read_only=mount.get("readOnly", False),
            )
            for mount in sorted(container["volumeMounts"], key=lambda mount: mount["mountPath"])
        ]

    def _folder(self, volume: Mapping[str, Any]) -> Path:
        if "persistentVolumeClaim" in volume:
            folder = self.claims / volume["persistentVolumeClaim"]["claimName"]
        else:
            folder = self.folder / volume["name"]
        if not folder.exists():
            self._own(folder)
            for name, content in self._files(volume).items():
                (folder / name).write_text(content)
                (folder / name).chmod(0o440)
                os.chown(folder / name, 0, self.user)
        return folder

    def _own(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        os.chown(folder, self.user, self.user)

    def _files(self, volume: Mapping[str, Any]) -> Mapping[str, str]:
        if "configMap" in volume:
            return self.config_maps[volume["configMap"]["name"]]
        if "secret" not in volume:
            return {}
        data, items = self.secrets[volume["secret"]["secretName"]], volume["secret"].get("items")
        return data if items is None else {item["path"]: data[item["key"]] for item in items}
