"""The volumes of a pod as folders: claims that outlive it, and what is made of secrets and config maps as it starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .image import Mount

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Volumes:
    """The volumes of one pod, whose own lie in `folder`; `claims` is a folder with one per claim.

    `secret` and `config_map` return an object's data, by its name.
    """

    spec: Object
    folder: Path
    claims: Path
    secret: Callable[[str], Mapping[str, str]]
    config_map: Callable[[str], Mapping[str, str]]

    @property
    def user(self) -> int:
        """Whose processes the pod's are, and whose group owns the volumes."""
        return int(self.spec["securityContext"]["runAsUser"])

    def container(self, name: str) -> Object:
        """Return a container of the pod, of those that initialize it or of the others."""
        containers = [*self.spec.get("initContainers", ()), *self.spec["containers"]]
        return next(container for container in containers if container["name"] == name)

    def mounts(self, container: Object) -> list[Mount]:
        """Return what is mounted into a container: a folder before what is mounted into it."""
        return [
            Mount(
                self.path(mount["name"], mount.get("subPath", "")),
                mount["mountPath"],
                read_only=mount.get("readOnly", False),
            )
            for mount in sorted(container["volumeMounts"], key=lambda mount: mount["mountPath"])
        ]

    def path(self, name: str, sub_path: str = "") -> Path:
        """Return the folder of a volume, or what is at that place in it."""
        (volume,) = [each for each in self.spec["volumes"] if each["name"] == name]
        found = self._folder(volume) / sub_path
        if not found.exists():
            self._own(found)
        return found

    def _folder(self, volume: Object) -> Path:
        claim = volume.get("persistentVolumeClaim")
        folder: Path = self.folder / volume["name"] if claim is None else self.claims / claim["claimName"]
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

    def _files(self, volume: Object) -> Mapping[str, str]:
        if "configMap" in volume:
            source = volume["configMap"]
            data = self.config_map(source["name"])
        elif "secret" in volume:
            source = volume["secret"]
            data = self.secret(source["secretName"])
        else:
            return {}
        items = source.get("items")
        return data if items is None else {item["path"]: data[item["key"]] for item in items}
