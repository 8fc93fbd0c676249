"""What a chart says of itself, wherever it lies."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sandbox.plugins.failures import PluginError
from sandbox.plugins.kubernetes.helm.program import Helm


@dataclass(frozen=True)
class Chart:
    """The part of a Chart.yaml that matters for a release."""

    name: str
    version: str


def local_path(reference: str) -> Path | None:
    """Return where the chart is below the project's folder, or None for a chart that has to be fetched.

    Raises PluginError for what must be a path and is none.
    """
    path = Path(reference)
    if (path / "Chart.yaml").is_file() or path.is_file():
        return path
    if path.is_absolute() or reference.startswith("."):
        raise PluginError(f"path '{reference}' holds no chart; correct it, it is relative to the project's folder")
    return None


def describe(helm: Helm, reference: str, source: list[str], version: str) -> Chart:
    """Return the chart. `source` are the program's arguments that say where a chart is fetched from."""
    path = None if source else local_path(reference)
    if path is not None:
        return _parsed(_chart_yaml(path), reference)
    wanted = ["--version", version] if version else []
    return _parsed(helm.run(["show", "chart", reference, *source, *wanted]), reference)


def _chart_yaml(path: Path) -> str:
    if path.is_dir():
        return (path / "Chart.yaml").read_text(encoding="utf-8")
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.count("/") == 1 and member.name.endswith("/Chart.yaml"):
                    content = archive.extractfile(member)
                    if content is not None:
                        return content.read().decode()
    except tarfile.TarError as error:
        raise PluginError(f"{path} is no chart archive: {error}") from error
    raise PluginError(f"{path} holds no Chart.yaml")


def _parsed(text: str, reference: str) -> Chart:
    try:
        document: Mapping[str, Any] = yaml.safe_load(text) or {}
        kind = document.get("type") or "application"
        chart = Chart(name=document["name"], version=document["version"])
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise PluginError(f"Chart.yaml of '{reference}' does not give name and version: {error}") from error
    if kind != "application":
        raise PluginError(f"chart '{reference}' is of type {kind} and cannot be installed")
    return chart
