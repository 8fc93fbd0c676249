"""What charts/store/README.md tells a person to type, run as it stands there, with programs of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .rendering import CHART, NAMESPACE, RELEASE, ROOT

_SECTION: Final = re.compile(r"^## Install it by hand$.*?^```sh$\n(?P<script>.*?)^```$", re.MULTILINE | re.DOTALL)


def script(release: str = RELEASE, namespace: str = NAMESPACE) -> str:
    """Return the commands, for a release and a namespace of these names."""
    found = _SECTION.search((CHART / "README.md").read_text())
    assert found, "charts/store/README.md has no commands below `Install it by hand`"
    # The namespace's name holds the release's.
    return found["script"].replace(NAMESPACE, "NAMESPACE").replace(RELEASE, release).replace("NAMESPACE", namespace)


def run(commands: str, programs: Mapping[str, str], folder: Path) -> str:
    """Run the commands in the repository's root; `programs` are shell scripts by name. Returns what was said."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/bash\nset -eu\n{text}\n")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-eu", "-c", commands],
        cwd=ROOT, env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
