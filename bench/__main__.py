"""`python -m bench [FIGURE ...]`: measures, writes bench/results/*.json, and ends with 1 when a figure is not met."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench import ledger, report, results


def main() -> int:
    """Measure what was asked for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the figures of docs/reliability.md.")
    parser.add_argument("figure", nargs="*", metavar="FIGURE", help=f"of {', '.join(ledger.FIGURES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="short forms, to see that they run; writes no file")
    parser.add_argument("--report", action="store_true", help="only write docs/reliability.md from the results")
    chosen = parser.parse_args()
    if unknown := set(chosen.figure) - set(ledger.FIGURES):
        parser.error(f"there is no figure {min(unknown)!r}")
    if not chosen.report:
        if chosen.quick:
            results.FOLDER = Path(tempfile.mkdtemp(prefix="stores-bench-"))
        for name in chosen.figure or ledger.FIGURES:
            ledger.FIGURES[name](quick=chosen.quick)
    if not chosen.quick:
        report.write()
    return 0 if all(result.met for result in results.load()) else 1


if __name__ == "__main__":
    sys.exit(main())
