"""The way into an environment's stores, as customers take it: through the ingress, by each store's own address.

A store's own domain is asked for where the platform's host of the store leads: whether the shop sells there is known
before its owner has changed any DNS record.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audit import probe
from audit.target import Target
from components import naming
from stacks.desired import environment_values
from stacks.settings import Settings

AT_ONCE: Final = 16
"""How many stores are asked at a time."""


@dataclass(frozen=True)
class Entrance:
    """Where the ingress is found, and whose certificates it is believed with; None: the machine's authorities."""

    domain: str
    ca_file: Path | None = None

    @classmethod
    def of(cls, root: Path, settings: Settings, target: Target) -> Entrance:
        """Return the entrance of an environment; raises ManifestError where its values cannot be read."""
        named = None if settings.ca_file is None else root / settings.ca_file
        values = environment_values(root, settings.environment)
        return cls(domain=values["ingress"]["domain"], ca_file=named or target.ca_file)

    def way_to(self, store_id: str) -> probe.Way:
        """Return how the store is reached."""
        return probe.Way(via=naming.host(store_id, self.domain), ca_file=self.ca_file)

    def ask(self, store_id: str, url: str, *, sells: bool = False, locale: str = probe.SPOKEN_BY_ALL) -> probe.Answer:
        """Return what the store answers at its address; see `probe.ask`."""
        return probe.ask(url, self.way_to(store_id), sells=sells, locale=locale)
