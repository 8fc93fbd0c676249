"""Claims whose short form is the full count: what each counted goes on record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.test_hostile_input import COMMANDS, HOSTILE
from tests.figures import Figures

ROOT = Path(__file__).parents[2]
AUDIT = "tests/audit/test_"

CLAIMS = {
    "tamper matrix": (
        "4",
        "6 of 6 named, on both databases: edit, deletion, cut tail, insertion, swap, rewrite",
        "all of {count} ways named with their first bad entry",
        (
            f"{AUDIT}verification.py::test_tampering_is_named_with_the_first_bad_entry",
            f"{AUDIT}verification.py::test_what_has_matching_hashes_is_named_by_an_anchor_and_by_nothing_else",
        ),
    ),
    "write paths of the application's user": (
        "4",
        "7 of 7 refused by MariaDB",
        "{count} of {count} refused",
        (f"{AUDIT}migrations.py::test_the_application_cannot_change_the_log",),
    ),
    "kill -9 of a run at named points": (
        "5",
        "6 points: every intent has one outcome, used is what exists",
        "6 points on each of {count} databases",
        (f"{AUDIT}killed_runs.py::test_a_wrapper_killed_at_each_of_six_points_leaves_nothing_open",),
    ),
    "hostile names and flags": (
        "8",
        "300: no trace, nothing reaches a shell, all audited",
        f"{len(HOSTILE) * len(COMMANDS)} calls, {len(HOSTILE)} texts in {len(COMMANDS)} places: 0 traces, 0 processes",
        ("tests/cli/test_hostile_input.py",),
    ),
    "seeded bugs": (
        "9",
        "each makes its check fail: count-then-insert, tail FOR UPDATE, no anchor, blind retry",
        "{count} of {count} caught, settling without looking and a slot given back too early among them",
        (
            f"{AUDIT}ledger_concurrency.py::test_a_check_that_counts_before_it_locks_is_caught",
            f"{AUDIT}ledger_concurrency.py::test_a_chain_behind_the_last_row_is_caught",
            f"{AUDIT}verification.py::test_a_verification_that_goes_by_no_anchor_is_caught",
            f"{AUDIT}database_faults.py::test_a_blind_retry_is_caught",
            f"{AUDIT}killed_runs.py::test_settling_without_looking_is_caught",
            f"{AUDIT}ledger_model.py::test_a_slot_that_is_given_back_too_early_is_caught",
        ),
    ),
}


def passed(tests: tuple[str, ...], report: Path) -> int:
    """Return how many tests have passed; none may have done anything else."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    suite = ET.parse(report).getroot().find("testsuite")  # noqa: S314 - written by the line before
    assert suite is not None
    assert [suite.get(name) for name in ("failures", "errors", "skipped")] == ["0", "0", "0"]
    return int(suite.get("tests", "0"))


@pytest.mark.long
@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_whose_short_form_is_whole_is_on_record(name: str, tmp_path: Path, figures: Figures) -> None:
    order, wanted, seen, tests = CLAIMS[name]
    count = passed(tests, tmp_path / "report.xml")
    assert count >= len(tests)
    figures.reached(order, name, wanted=wanted, seen=seen.format(count=count))
