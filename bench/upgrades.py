"""`python -m bench.upgrades`: an upgrade and a rollback of one shop under a steady load; how many page views are lost.

On a sandbox of its own (named `bench`, made and removed), from whose network namespace the visitors come: through the
ingress, half of them with kept connections. One web pod, a ReadWriteOnce volume, its successor on the same node.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from bench import results
from bench.load import visited
from sandbox import contents, instance
from sandbox.loading import ImageStore
from sandbox.progress import silent
from tests.e2e.conftest import new_project
from tests.e2e.project import Project, store

ROOT: Final = Path(__file__).parent.parent
NAME: Final = "bench"
STORE: Final = "shop-b2c3d"
WANTED: Final = 2000
_NEXT: Final = "7.1.5-php8.4-apache"


def main() -> int:
    """Measure, and return the exit code: 0 if no page view was lost of at least as many as wanted."""
    parser = argparse.ArgumentParser(prog="python -m bench.upgrades", description=__doc__)
    parser.add_argument("--requests", type=int, default=WANTED, help="how many page views at least, per change")
    parser.add_argument("--output", type=Path, help="also write the JSON here")
    chosen = parser.parse_args()
    running = instance.up(ROOT, NAME, http_port=0, report=silent)
    try:
        with tempfile.TemporaryDirectory(prefix="stores-bench-") as folder:
            found = measure(running, Path(folder), chosen.requests)
    finally:
        instance.down(ROOT, NAME)
    print(json.dumps(found, indent=2))
    if chosen.output is not None:
        chosen.output.write_text(json.dumps(found, indent=2) + "\n")
    seen = ", ".join(f"{one['lost']} of {one['requests']} in one {name}" for name, one in found.items())
    met = all(one["lost"] == 0 and one["requests"] >= chosen.requests for one in found.values())
    if chosen.requests >= WANTED:
        results.record(
            "30", "page views lost while an image is replaced", met=met, seen=seen, values=found,
            wanted=f"0 of at least {WANTED}, one web pod, ReadWriteOnce",
        )  # fmt: skip
    return 0 if met else 1


def measure(running: instance.Instance, folder: Path, at_least: int) -> dict[str, dict[str, Any]]:
    """Return what the visitors saw, by what was done meanwhile."""
    here = contents.references(ROOT)["wordpress"]
    ImageStore.of(running.folder).tag(here, f"{here.rpartition(':')[0]}:{_NEXT}")
    project = new_project(running, folder)
    project.write(store(STORE))
    _done(project, "up")
    (status,) = project.stores("status", "--json").data
    url = str(status["url"])
    found = {}
    for name, command in (
        ("upgrade", ("upgrade", STORE, "--image-tag", _NEXT, "--yes", "--no-backup")),
        ("rollback", ("rollback", STORE, "--yes", "--no-backup")),
    ):
        stop = folder / f"stop-{secrets.token_hex(4)}"
        with visited(running.folder, url, f"Shop {STORE}", stop, at_most_s=1800) as load:
            time.sleep(5)
            began = time.monotonic()
            _done(project, *command)
            took_s = time.monotonic() - began
            # The old pod drains for some seconds yet; and the count is to be reached.
            time.sleep(max(15.0, at_least / 12 - took_s))
        found[name] = {**load.seen, "command_s": round(took_s, 1)}
    return found


def _done(project: Project, *command: str) -> None:
    done = project.stores(*command, timeout_s=1800)
    if done.code != 0:
        raise RuntimeError(f"stores {' '.join(command)}: {done}")


if __name__ == "__main__":
    sys.exit(main())
