"""`python -m bench.upgrades`: an upgrade and a rollback of one shop under a steady load; how many page views are lost.

On a sandbox of its own (named `bench`, made and removed), from whose network namespace the visitors come: through the
ingress, half of them with kept connections. One web pod, a ReadWriteOnce volume, its successor on the same node.

With `--persistent` the store keeps wp-content on its volume, so that it restarts: then how many page views are lost,
and for how long the shop is away, is a figure to know and none to meet.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Mapping
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
    """Measure, and return the exit code: 0 if enough pages were viewed and, where it must be so, none was lost."""
    parser = argparse.ArgumentParser(prog="python -m bench.upgrades", description=__doc__)
    parser.add_argument("--requests", type=int, default=WANTED, help="how many page views at least, per change")
    parser.add_argument("--persistent", action="store_true", help="of a store with `wpContent: persistent`")
    parser.add_argument("--output", type=Path, help="also write the JSON here")
    chosen = parser.parse_args()
    running = instance.up(ROOT, NAME, http_port=0, report=silent)
    try:
        with tempfile.TemporaryDirectory(prefix="stores-bench-") as folder:
            found = measure(running, Path(folder), chosen.requests, persistent=chosen.persistent)
    finally:
        instance.down(ROOT, NAME)
    print(json.dumps(found, indent=2))
    if chosen.output is not None:
        chosen.output.write_text(json.dumps(found, indent=2) + "\n")
    met = all(enough(one, chosen.requests, persistent=chosen.persistent) for one in found.values())
    if chosen.requests >= WANTED:
        record(found, met=met, persistent=chosen.persistent)
    return 0 if met else 1


def enough(seen: Mapping[str, Any], wanted: int, *, persistent: bool) -> bool:
    """Return whether one change's figure is what was wanted; a persistent store may be away, and must be back."""
    viewed = int(seen["requests"]) >= wanted
    if persistent:
        return viewed and int(seen["back"]) > 0
    return viewed and int(seen["lost"]) == 0


def record(found: Mapping[str, Mapping[str, Any]], *, met: bool, persistent: bool) -> None:
    """Leave the figure for docs/reliability.md."""
    if persistent:
        told = (
            f"{one['lost']} of {one['requests']} in one {name}, away {one['away_s']} s" for name, one in found.items()
        )
        results.record(
            "31", "page views lost while an image is replaced, wpContent persistent", met=met, seen="; ".join(told),
            values=dict(found), wanted=f"to be known, of at least {WANTED}: the store restarts",
        )  # fmt: skip
        return
    seen = ", ".join(f"{one['lost']} of {one['requests']} in one {name}" for name, one in found.items())
    results.record(
        "30", "page views lost while an image is replaced", met=met, seen=seen, values=dict(found),
        wanted=f"0 of at least {WANTED}, one web pod, ReadWriteOnce",
    )  # fmt: skip


def measure(
    running: instance.Instance, folder: Path, at_least: int, *, persistent: bool = False
) -> dict[str, dict[str, Any]]:
    """Return what the visitors saw, by what was done meanwhile."""
    here = contents.references(ROOT)["wordpress"]
    ImageStore.of(running.folder).tag(here, f"{here.rpartition(':')[0]}:{_NEXT}")
    project = new_project(running, folder)
    project.write(store(STORE, **({"wpContent": "persistent"} if persistent else {})))
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
