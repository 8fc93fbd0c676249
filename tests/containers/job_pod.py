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
from .volumes import Volumes


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
        return self._volumes.user

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
        container = self._volumes.container(name)
        environment = {each["name"]: each["value"] for each in container["env"]}
        assert set(variables or {}) <= set(environment), "a variable that the template does not have"
        command = container["command"] if script is None else ["sh", "-c", script, "/etc/store/backup/script"]
        message = self.folder / f"message-{name}"
        message.parent.mkdir(parents=True, exist_ok=True)
        message.touch()
        os.chown(message, self.user, self.user)
        mounts = [*self._volumes.mounts(container), *more, Mount(message, "/dev/termination-log")]
        process = self.image.start(
            command, user=self.user, mounts=mounts, environment={**environment, **(variables or {})},
            network=self.network,
        )  # fmt: skip
        done = process.ended(timeout_s)
        return Ended(done.code, done.out, message.read_text().strip())

    def volume(self, name: str, sub_path: str = "") -> Path:
        """Return the folder of one of the pod's volumes."""
        return self._volumes.path(name, sub_path)

    @property
    def _volumes(self) -> Volumes:
        return Volumes(self.spec, self.folder, self.claims, self.secrets.__getitem__, self.config_maps.__getitem__)
