"""The chart, rendered by Helm into plain Python objects."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from sandbox import program_groups

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "charts" / "store"
VALUES: Final = ROOT / "values"
RELEASE: Final = "tea-house-a1b2c"
NAMESPACE: Final = f"store-{RELEASE}"
# Rendering without a cluster needs a version; the objects are the same for all that Chart.yaml allows.
KUBERNETES: Final = program_groups.VERSIONS["kube-apiserver"].removeprefix("v")

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Rendered:
    """What one release consists of."""

    text: str
    objects: Sequence[Object]
    release: str = RELEASE

    def one(self, kind: str, name: str) -> Object:
        """Return the object of this kind whose name is the release's and `name`."""
        found = [o for o in self.objects if o["kind"] == kind and o["metadata"]["name"] == f"{self.release}-{name}"]
        assert len(found) == 1, f"{len(found)} objects are {kind} {self.release}-{name}, in {self.names()}"
        return found[0]

    def names(self) -> set[tuple[str, str]]:
        """Return kind and name of every object."""
        return {(o["kind"], o["metadata"]["name"]) for o in self.objects}

    def pods(self) -> Mapping[str, Object]:
        """Return the pod template of each component."""
        return {
            o["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: o["spec"]["template"]
            for o in self.objects
            if o["kind"] in {"Deployment", "StatefulSet"}
        }

    def containers(self) -> Iterator[tuple[str, Object]]:
        """Yield every container and init container, with a name for messages."""
        for component, pod in self.pods().items():
            for kind in ("initContainers", "containers"):
                for container in pod["spec"].get(kind, []):
                    yield f"{component}/{container['name']}", container

    def container(self, name: str) -> Object:
        """Return the container or init container of that name."""
        return next(container for path, container in self.containers() if path.endswith(f"/{name}"))

    def pod_digests(self) -> Mapping[str, str]:
        """Return what decides, for each component, whether its pods are restarted."""
        return {component: json.dumps(pod, sort_keys=True) for component, pod in self.pods().items()}


@dataclass(frozen=True)
class Chart:
    """A chart's folder and the Helm that renders it."""

    helm: Path
    folder: Path = CHART

    def render(
        self, values: Mapping[str, Any] | None = None, *, files: Sequence[Path] = (), release: str = RELEASE
    ) -> Rendered:
        """Return the release as `helm install` would make it; `values` win over `files`."""
        result = self._template(values or {}, files, release)
        assert result.returncode == 0, result.stderr
        objects = [o for o in yaml.load_all(result.stdout, Loader=yaml.CSafeLoader) if o]
        return Rendered(result.stdout, objects, release)

    def refusal(self, values: Mapping[str, Any], *, release: str = RELEASE) -> str:
        """Return what Helm says when it refuses to render these values."""
        result = self._template(values, (), release)
        assert result.returncode != 0, f"rendered, though it should refuse {values}"
        return result.stderr

    def notes(self, values: Mapping[str, Any], folder: Path) -> str:
        """Return what Helm tells whoever installs these values; a copy of the chart in `folder` shows it as an object.

        Helm itself shows it only to who has a cluster.
        """
        shutil.copytree(self.folder, folder)
        notes = '{{ include (print .Template.BasePath "/NOTES.txt") . | toJson }}'
        (folder / "templates" / "notes.yaml").write_text(f"kind: Notes\nmetadata: {{name: x}}\ntext: {notes}\n")
        rendered = Chart(self.helm, folder).render(values)
        return next(str(o["text"]) for o in rendered.objects if o["kind"] == "Notes")

    def lint(self, files: Sequence[Path]) -> str:
        """Return what `helm lint --strict` finds, or nothing."""
        result = self._run(["lint", str(self.folder), "--strict"], {}, files)
        return "" if result.returncode == 0 else result.stdout + result.stderr

    def _template(
        self, values: Mapping[str, Any], files: Sequence[Path], release: str
    ) -> subprocess.CompletedProcess[str]:
        return self._run(["template", release, str(self.folder)], values, files)

    def _run(
        self, what: Sequence[str], values: Mapping[str, Any], files: Sequence[Path]
    ) -> subprocess.CompletedProcess[str]:
        overlays = [argument for file in files for argument in ("--values", str(file))]
        return subprocess.run(
            [str(self.helm), *what, "--namespace", NAMESPACE, "--kube-version", KUBERNETES, *overlays, "--values", "-"],
            input=json.dumps(values), capture_output=True, text=True, check=False,
        )  # fmt: skip


def load(path: Path) -> dict[str, Any]:
    """Return a values file."""
    loaded = yaml.safe_load(path.read_text())
    assert isinstance(loaded, dict)
    return loaded


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as Helm merges them: maps are merged, all else is replaced."""
    result = dict(below)
    for key, value in above.items():
        both_maps = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both_maps else value
    return result


def leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield path and value of everything that is no map, and of empty maps."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def maps(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every map, the outermost first."""
    yield path
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from maps(value, (*path, key))


def nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return values with only this one set."""
    result: Any = value
    for part in reversed(path):
        result = {part: result}
    assert isinstance(result, dict)
    return result
