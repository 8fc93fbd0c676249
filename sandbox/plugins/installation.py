"""Where the engine finds the stand-ins: launchers at the official places below a PULUMI_HOME."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

# `-P` would be wrong here: the launchers run from the project's folder and the package is found by its own path.
_CHECKOUT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class _Launcher:
    kind: str
    name: str
    module: str
    distribution: str

    def path(self, pulumi_home: Path) -> Path:
        folder = f"{self.kind}-{self.name}-v{version(self.distribution)}"
        return pulumi_home / "plugins" / folder / f"pulumi-{self.kind}-{self.name}"


_LAUNCHERS: Final = (
    _Launcher("resource", "kubernetes", "sandbox.plugins.kubernetes", "pulumi-kubernetes"),
    _Launcher("resource", "random", "sandbox.plugins.random", "pulumi-random"),
    _Launcher("language", "python", "sandbox.plugins.language_python", "pulumi"),
)


def install(pulumi_home: Path) -> None:
    """Make the engine find the three stand-ins under `pulumi_home`, at the versions of the installed SDK packages.

    They run with the interpreter that runs this. Calling it again repairs and updates; launchers of other versions
    stay, as the engine asks for exact versions.
    """
    for launcher in _LAUNCHERS:
        path = launcher.path(pulumi_home)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed into place, so that an engine that starts at this moment never reads half a file.
        draft = path.with_name(f".{path.name}.new")
        draft.write_text(_script(launcher.module), encoding="utf-8")
        draft.chmod(0o755)
        draft.replace(path)


def is_ours(pulumi_home: Path, kind: str, name: str, plugin_version: str) -> bool:
    """Return whether the engine would start one of the stand-ins for this plugin."""
    path = pulumi_home / "plugins" / f"{kind}-{name}-v{plugin_version}" / f"pulumi-{kind}-{name}"
    known = {(launcher.kind, launcher.name): launcher.module for launcher in _LAUNCHERS}
    module = known.get((kind, name))
    return module is not None and path.is_file() and path.read_bytes() == _script(module).encode()


def _script(module: str) -> str:
    interpreter = shlex.quote(sys.executable)
    search_path = shlex.quote(str(_CHECKOUT))
    return (
        "#!/bin/sh\n"
        "# The engine starts plugins in the project's folder, which need not be where this package lies.\n"
        f'PYTHONPATH={search_path}${{PYTHONPATH:+":$PYTHONPATH"}}\n'
        "export PYTHONPATH\n"
        f'exec {interpreter} -m {module} "$@"\n'
    )
