"""Caddy, and the controller that tells it what to serve. Three containers of one pod are started from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sandbox.images import tree
from sandbox.images.recipe import Folder, Recipe, Settings, User, Workshop
from sandbox.ingress import program
from sandbox.ingress.addresses import AUTHORITY_FOLDER, IN_POD
from sandbox.ingress.front import front
from sandbox.ingress.router import initial

_USER: Final = 65532
_CODE: Final = "/usr/local/lib/ingress"
_PACKAGE: Final = Path(program.__file__).parent
# The modules that run in the pod. They use nothing but the standard library.
_NAMES: Final = ("__init__", "addresses", "caddy_api", "caddy_json", "controller", "kubernetes_api", "router", "routes")
_MODULES: Final = tuple(_PACKAGE / f"{name}.py" for name in _NAMES)


def _finish(workshop: Workshop) -> None:
    caddy = tree.inside(workshop.root, "/usr/local/bin/caddy")
    caddy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(program.fetch(workshop.cache), caddy)
    caddy.chmod(0o755)
    for name, config in (("front", front(IN_POD, AUTHORITY_FOLDER)), ("router", initial(IN_POD))):
        tree.write(workshop.root, f"/etc/caddy/{name}.json", json.dumps(config, indent=1) + "\n")
    tree.write(workshop.root, f"{_CODE}/sandbox/__init__.py", "")
    for module in _MODULES:
        tree.write(workshop.root, f"{_CODE}/sandbox/ingress/{module.name}", module.read_text())


RECIPE: Final = Recipe(
    name="ingress",
    folder=Path(__file__).parent,
    parent="base",
    packages=("python3.13",),
    version=lambda _workshop: program.version(),
    users=(User("ingress", _USER, "/nonexistent"),),
    folders=(Folder("/data", uid=_USER), Folder("/run/ingress", uid=_USER)),
    links=MappingProxyType({"/usr/bin/python3": "python3.13"}),
    removed=("usr/lib/python3*/idlelib", "usr/lib/python3*/pydoc*", "usr/lib/python3*/ensurepip"),
    finish=_finish,
    sources=(program.LOCK, _PACKAGE / "front.py", *_MODULES),
    settings=Settings(
        command=("caddy", "run", "--config", "/etc/caddy/front.json"),
        environment=MappingProxyType({
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "XDG_DATA_HOME": "/data",
            "XDG_CONFIG_HOME": "/data",
            "PYTHONPATH": _CODE,
            "PYTHONDONTWRITEBYTECODE": "1",
        }),
        user=f"{_USER}:{_USER}",
        working_folder="/",
        ports=("8080/tcp", "8443/tcp"),
    ),
)  # fmt: skip
