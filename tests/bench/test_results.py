"""Figures come back as they were written, and their table replaces the one before and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import mutation, report, results


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    return tmp_path / "results"


def test_a_figure_comes_back_and_a_newer_one_takes_its_place(folder: Path) -> None:
    results.record("2", "b", wanted="w", seen="old", met=False)
    newer = results.record("2", "b", wanted="w", seen="new", met=True, values={"per_s": [1.5]})
    first = results.record("1", "a, c", wanted="w", seen="s", met=True)
    assert results.load() == [first, newer]
    assert sorted(path.name for path in folder.iterdir()) == ["1-a-c.json", "2-b.json"]


def test_the_table_is_made_anew_and_the_page_around_it_stays() -> None:
    page = f"above\n{report.BEGIN}\nold\n{report.END}\nbelow\n"
    found = [results.record("1", "a", wanted="w", seen="s", met=False)]
    made = report.with_table(page, found)
    assert made == report.with_table(made, found)
    assert made.startswith("above\n")
    assert made.endswith("\nbelow\n")
    assert "| 1 | a | w | s | **no** |" in made
    assert "old" not in made


def test_the_page_of_figures_has_a_place_for_them() -> None:
    text = report.PAGE.read_text()
    assert text.count(report.BEGIN) == text.count(report.END) == 1


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.5, 3), (0.99, 5), (1, 5)])
def test_percentiles(share: float, value: int) -> None:
    assert results.percentile([5, 1, 3, 2, 4], share) == value


def test_each_mutant_is_another_program_and_every_module_has_some() -> None:
    for module in mutation.TESTS:
        found = [mutant.source for mutant in mutation.mutants(module)]
        assert len(found) > 5
        assert len(set(found)) == len(found)
