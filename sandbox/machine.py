"""Whether this machine can carry a sandbox, and what of it the node is to use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sandbox import cgroups, golang, namespace
from stacks.errors import UsageError

_TOOLS: Final = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "util-linux",
    "apt-get": "apt: Debian or Ubuntu",
    "dpkg-deb": "dpkg: Debian or Ubuntu",
}
NAMESPACES: Final = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def problems(folders: Sequence[Path]) -> Sequence[str]:
    """Return everything that stands in the way of a sandbox with its files in `folders`, each as a short phrase."""
    if sys.platform != "linux":
        # Nothing below has a meaning elsewhere, and one reason is enough.
        return [f"the system is {sys.platform}, and a node needs Linux"]
    found = [] if os.geteuid() == 0 else ["it runs as an ordinary user, and namespaces and mounts need root"]
    missing_tools = [f"{tool} ({source})" for tool, source in _TOOLS.items() if shutil.which(tool) is None]
    if missing_tools:
        found.append(f"there is no {', '.join(missing_tools)}")
    go = golang.problem()
    if go is not None:
        found.append(go)
    controllers = cgroups.missing_controllers()
    if controllers:
        found.append(f"the kernel offers no control group for {', '.join(controllers)}")
    found += [
        f"{folder} lies below {hidden}, of which the node gets a view of its own"
        for folder in folders
        for hidden in (*namespace.HIDDEN, *namespace.OVERLAID)
        if folder.resolve().is_relative_to(hidden)
    ]
    if not found:
        refused = _namespaces_refused()
        if refused:
            found.append(f"namespaces cannot be made here: {refused}")
    return found


def require(folders: Sequence[Path]) -> None:
    """Raise one UsageError that names everything that is missing, unless nothing is."""
    found = problems(folders)
    if found:
        raise UsageError(
            "sandbox", f"this machine cannot carry it: {'; '.join(found)}", f"mend that, {golang.OTHER_WAY}"
        )


def snapshotter(folder: Path) -> str:
    """Return how containerd is to lay images over each other below `folder`; the file system decides."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        lower, upper, work, target = (Path(scratch, name) for name in ("lower", "upper", "work", "target"))
        for path in (lower, upper, work, target):
            path.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        result = subprocess.run(
            [_tool("unshare"), "--mount", _tool("mount"), "-t", "overlay", "-o", options, "overlay", str(target)],
            capture_output=True, check=False,
        )  # fmt: skip
    # In a container whose own root is an overlay the kernel refuses another one on it; copies always work.
    return "overlayfs" if result.returncode == 0 else "native"


def _namespaces_refused() -> str:
    result = subprocess.run([_tool("unshare"), *NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return "" if result.returncode == 0 else result.stderr.strip() or f"exit code {result.returncode}"


def _tool(name: str) -> str:
    return shutil.which(name) or name
