"""Visitors of a shop inside of a sandbox, while something is done to it."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import visitors
from sandbox import launch, record

INGRESS = "10.99.0.1"


@dataclass
class Load:
    """What the visitors have seen; known once they have stopped."""

    seen: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None

    @property
    def requests(self) -> int:
        """How many pages were asked for."""
        return int(self.seen["requests"])

    @property
    def lost(self) -> int:
        """How many did not come, or were not the shop's."""
        return int(self.seen["lost"])


@contextmanager
def visited(instance: Path, url: str, text: str, stop: Path, *, at_most_s: int = 900) -> Iterator[Load]:
    """Have a shop visited through the ingress, from inside of the sandbox, for as long as the block lasts.

    `instance` is the sandbox's folder, `stop` a file that does not exist yet. `text` must be on every page.
    """
    known = record.load(instance)
    if known is None:
        raise RuntimeError(f"{instance} is no running sandbox")
    parts = urlsplit(url)
    command = [sys.executable, visitors.__file__, INGRESS, "80", parts.netloc, text, str(stop), str(at_most_s)]
    load = Load()

    def visit() -> None:
        try:
            load.seen = json.loads(launch.enter(known.identity, command, {}))
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            load.error = error

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        yield load
    finally:
        stop.touch()
        thread.join()
    if load.error is not None:
        raise load.error
