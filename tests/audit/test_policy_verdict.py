from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit import policy_verdict
from audit.doctor import policy_check
from audit.policy_probe import LIMIT_S, holder, is_left_over
from audit.policy_verdict import FRESH, Verdict, age_text

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)


def verdict(*, ingress: bool = True, egress: bool = True, age: timedelta = timedelta(hours=3)) -> Verdict:
    return Verdict("uid-1", NOW - age, ingress=ingress, egress=egress)


def test_a_verdict_is_remembered_for_its_own_cluster_only(tmp_path: Path) -> None:
    verdict().save(tmp_path / "new")
    assert policy_verdict.load(tmp_path / "new", "uid-1") == verdict()
    assert policy_verdict.load(tmp_path / "new", "uid-2") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"probed_at": "yesterday"}', '{"probed_at": 1}'])
def test_a_damaged_memory_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / policy_verdict.FILE).write_text(text)
    assert policy_verdict.load(tmp_path, "uid-1") is None


def test_a_cluster_that_was_never_probed_is_not_called_safe() -> None:
    check = policy_check(None, NOW)
    assert check.state == "warn"
    assert "stores doctor --deep" in check.cure


def test_enforcement_is_shown_with_its_age() -> None:
    check = policy_check(verdict(), NOW)
    assert (check.state, check.detail) == ("ok", "enforced, ingress and egress (probed 3 h ago)")
    assert check.cure == ""


@pytest.mark.parametrize(
    ("ingress", "egress", "told"),
    [
        (False, False, "not enforced: stores can reach each other's pods"),
        (False, True, "not enforced for ingress"),
        (True, False, "not enforced for egress"),
    ],
)
def test_what_is_not_enforced_is_a_warning(ingress: bool, egress: bool, told: str) -> None:  # noqa: FBT001
    check = policy_check(verdict(ingress=ingress, egress=egress), NOW)
    assert check.state == "warn"
    assert check.detail.startswith(told)
    assert "network plugin" in check.cure


@pytest.mark.parametrize(("age", "state"), [(FRESH, "ok"), (FRESH + timedelta(seconds=1), "warn")])
def test_an_old_verdict_is_no_longer_trusted(age: timedelta, state: str) -> None:
    assert policy_check(verdict(age=age), NOW).state == state


def test_a_clock_that_was_set_back_makes_no_negative_age() -> None:
    assert policy_check(verdict(age=timedelta(hours=-1)), NOW).detail.endswith("(probed 0 s ago)")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (86_399, "23 h"), (86_400, "1 day"),
     (172_800, "2 days")],
)  # fmt: skip
def test_an_age_is_told_in_its_largest_unit(seconds: int, text: str) -> None:
    assert age_text(timedelta(seconds=seconds)) == text


def test_a_namespace_is_left_over_when_its_process_is_gone_or_it_is_too_old() -> None:
    mine = holder()
    assert not is_left_over(mine, age_s=0)
    host, boot, _, ticks = mine.split("/")
    assert host == socket.gethostname()
    # The same number, but of another process.
    assert is_left_over(f"{host}/{boot}/{os.getpid()}/{int(ticks) - 1}", age_s=0)
    assert is_left_over(f"{host}/before-the-reboot/{os.getpid()}/{ticks}", age_s=0)
    # Of a process on another machine nothing is known, so only its age counts.
    for elsewhere in (f"elsewhere/{boot}/1/1", "", "nonsense"):
        assert not is_left_over(elsewhere, age_s=2 * LIMIT_S)
        assert is_left_over(elsewhere, age_s=2 * LIMIT_S + 1)
