"""What loads WordPress is its derivative: under the GPL, with a copy of it; all else is under Apache-2.0."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPY = "LICENSES/GPL-2.0-or-later.txt"


def test_every_php_file_says_its_licence() -> None:
    told = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.php"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = [ROOT / name for name in told.stdout.split() if (ROOT / name).exists()]
    assert any("wp-load.php" in file.read_text() for file in files)
    # In its head, before any code.
    silent = [str(file) for file in files if not re.search(r"License:\s+GPL-2\.0-or-later", file.read_text()[:2000])]
    assert silent == []


def test_a_copy_of_each_licence_is_here_and_the_readme_names_it() -> None:
    assert "Version 2, June 1991" in (ROOT / COPY).read_text()
    assert "TERMS AND CONDITIONS FOR COPYING" in (ROOT / COPY).read_text()
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    last = (ROOT / "README.md").read_text().splitlines()[-1]
    assert "[Apache-2.0](LICENSE)" in last
    assert f"[GPL-2.0-or-later]({COPY})" in last
