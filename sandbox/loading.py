"""Images that are brought to a running sandbox: an archive of one's own, or a second name for one that is there.

As `kind load docker-image` does it for kind. Nothing is pulled: the sandbox reaches no registry of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sandbox import cache, launch, machine, node, packages, process, record
from sandbox.packages import Packages
from sandbox.progress import silent
from stacks.errors import ClusterUnreachableError


@dataclass(frozen=True)
class ImageStore:
    """The images of one running sandbox."""

    identity: process.Identity
    packages: Packages
    snapshotter: str

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Return the images of the instance in `folder`; raises ClusterUnreachableError where none was started."""
        known = record.load(folder)
        if known is None:
            raise ClusterUnreachableError(f"sandbox {folder.name}", "it is not running", "run `stores sandbox up`")
        return cls(known.identity, packages.build(cache.root(), silent), machine.snapshotter(folder))

    def load(self, archive: Path) -> None:
        """Make the image of a docker-archive one that pods can run, under the reference that the archive names."""
        self._ctr("images", "import", "--snapshotter", self.snapshotter, str(archive))

    def tag(self, reference: str, other: str) -> None:
        """Give an image that is there a second reference."""
        self._ctr("images", "tag", "--force", reference, other)

    def remove(self, reference: str) -> None:
        """Take an image's reference away: a pod that needs it then cannot start."""
        self._ctr("images", "rm", reference)

    def _ctr(self, *arguments: str) -> str:
        command: Sequence[str] = (
            str(self.packages.program("ctr")), "--address", node.CONTAINERD_SOCKET, "--namespace", "k8s.io",
        )  # fmt: skip
        return launch.enter(self.identity, [*command, *arguments], self.packages.environment())
