"""Keeps charts/store/ci/*-values.yaml equal to what a store of each environment is installed with.

`make docs` writes them; with `--check` nothing is written, and a stale file ends with code 1. Each is complete: the
chart's own values, the environment's, and a sample store, so that a change of any of them shows in a review.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from stacks.desired import environment_values, merge

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = "charts/store/ci"
SAMPLE: Final = {
    "store": {"title": "Tea House", "adminEmail": "alice@example.com"},
    "credentials": {"existingSecret": "ci-credentials"},
    "serviceAccount": {"create": True},
}
_HEAD: Final = """\
# Complete values of a store in the environment `{environment}`: the chart's own, those of values/, and a sample store.
# Written by `make docs`. An installation needs a Secret `ci-credentials`, see README.md.
"""


def values(root: Path, environment: str) -> dict[str, Any]:
    """Return the complete values of a sample store."""
    return merge(environment_values(root, environment), SAMPLE)


def texts(root: Path) -> dict[Path, str]:
    """Return the text of every file, by its path."""
    found = {}
    for overlay in sorted((root / "values").glob("values-*.yaml")):
        environment = overlay.stem.removeprefix("values-")
        found[root / FOLDER / f"{environment}-values.yaml"] = _HEAD.format(environment=environment) + _dump(
            values(root, environment)
        )
    return found


def _dump(document: dict[str, Any]) -> str:
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 4096
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def main() -> int:
    """Write or check the files; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a file is stale")
    check = parser.parse_args().check
    stale = [path for path, text in texts(ROOT).items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(ROOT)}: it is stale; run `make docs`", file=sys.stderr)
        else:
            path.write_text(texts(ROOT)[path])
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
