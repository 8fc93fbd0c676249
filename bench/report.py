"""docs/reliability.md: what is written by hand stays, the table of figures is made from bench/results/*.json."""

from __future__ import annotations

from pathlib import Path

from bench import results
from bench.results import Result

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def table(found: list[Result]) -> str:
    """Return the figures as Markdown."""
    lines = ["| # | what | wanted | seen | met | when | on what |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {r.order} | {r.name} | {r.wanted} | {r.seen} | {'yes' if r.met else '**no**'} | {r.at} | {r.conditions} |"
        for r in found
    ]
    return "\n".join(lines)


def with_table(text: str, found: list[Result]) -> str:
    """Return the page with its table made anew."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table(found)}\n{END}{tail}"


def write(page: Path = PAGE) -> None:
    """Leave the page with the figures as they are now."""
    page.write_text(with_table(page.read_text(encoding="utf-8"), results.load()), encoding="utf-8")
