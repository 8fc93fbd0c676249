"""What a built image really is: never guessed from its reference, always written when it was built."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.images.debian import Package

INSIDE: Final = "etc/sandbox-image.json"
"""Where an image holds its own facts."""


@dataclass(frozen=True)
class ImageFacts:
    """One image of the sandbox."""

    name: str
    reference: str
    version: str
    """The upstream version of the program that the image is for."""
    packages: Mapping[str, str]
    """Debian's version of every package inside."""
    digest: str
    """`sha256:` and the digest of the image's configuration: what `crictl images` and `docker images` call its id."""
    archive: Path


def document(name: str, version: str, releases: Sequence[str], packages: Sequence[Package]) -> dict[str, object]:
    """Return what an image tells about itself; the same inside the image and in its labels."""
    return {
        "image": name,
        "version": version,
        "builtFrom": [f"Debian {release}" for release in releases],
        "official": False,
        "packages": {package.name: package.version for package in packages},
    }


def labels(name: str, version: str, packages: Sequence[Package]) -> dict[str, str]:
    """Return the image's labels: it may carry an official reference, so it says itself that it is not official."""
    return {
        "org.opencontainers.image.title": name,
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.description": f"Stand-in for the official {name} image, from Debian packages",
        "stores.sandbox/image": name,
        "stores.sandbox/official": "false",
        "stores.sandbox/packages": ",".join(f"{package.name}={package.version}" for package in packages),
    }


def save(file: Path, facts: ImageFacts) -> None:
    """Write the facts beside the archive that they are about."""
    content = {
        "name": facts.name, "reference": facts.reference, "version": facts.version, "packages": dict(facts.packages),
        "digest": facts.digest, "archive": facts.archive.name,
    }  # fmt: skip
    file.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def load(file: Path) -> ImageFacts:
    """Return the facts that `save` wrote."""
    content = json.loads(file.read_text())
    return ImageFacts(
        name=content["name"], reference=content["reference"], version=content["version"],
        packages=content["packages"], digest=content["digest"], archive=file.parent / content["archive"],
    )  # fmt: skip
