"""What tests of full counts write down for docs/reliability.md."""

from __future__ import annotations

from bench import results


class Figures:
    """Where a test marked `long` puts what it has counted. Reaching the call means that its claim held."""

    def reached(self, order: str, name: str, *, wanted: str, seen: str) -> None:
        """Leave the figure on record."""
        results.record(order, name, wanted=wanted, seen=seen, met=True)
