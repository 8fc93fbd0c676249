"""Times: local where a person reads or types them, UTC for programs; the same everywhere."""

from __future__ import annotations

import ast
import io
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from audit import backups
from audit.backups import Snapshot
from audit.records import Change, Denial
from cli import times
from cli.output import Output, for_people, moment
from stacks.errors import LockedError, UsageError

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
LOCAL = "2026-11-23 17:30:00 IST"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def in_india(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be where the clock is five hours and a half before UTC, and no machine of a test's is."""
    monkeypatch.setenv("TZ", "IST-5:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run again after 2026-11-23T12:00:00Z", f"run again after {LOCAL}"),
        ("of 2026-11-23T12:00:00.123456+00:00, and", f"of {LOCAL}, and"),
        ("2026-11-23T12:00:00Z and 2026-11-23T12:00:00Z", f"{LOCAL} and {LOCAL}"),
        ("backup-2026-11-23.jsonl", "backup-2026-11-23.jsonl"),
        ("2026-11-23T12:00:00+02:00", "2026-11-23T12:00:00+02:00"),
        ("9999-99-99T99:99:99Z", "9999-99-99T99:99:99Z"),
    ],
)
def test_a_time_in_a_text_is_local_for_people_and_as_it_is_in_a_pipe(text: str, shown: str) -> None:
    assert for_people(text, Terminal()) == shown
    assert for_people(text, io.StringIO()) == text


DENIAL = Denial(Change("tea-1", "tea", "alice", "01", "store.create"), "creates_per_hour", 5, 5, NOON, 3600)  # type: ignore[arg-type]


@pytest.mark.parametrize("watched", [True, False])
def test_a_denial_a_lease_and_a_tombstone_say_the_same_clock(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, watched: bool
) -> None:
    from cli import main  # noqa: PLC0415

    err = Terminal() if watched else io.StringIO()
    monkeypatch.setattr("sys.stderr", err)
    Output().note(str(DENIAL))
    Output().note("tombstoned; kept until 2026-11-23T12:00:00Z")
    main._error(str(LockedError("cell 01", "is being changed since 2026-11-23T12:00:00Z", "wait")))
    assert err.getvalue().count(LOCAL if watched else "2026-11-23T12:00:00Z") == 3


def test_tables_and_lines_are_local_on_a_terminal_and_json_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("COLUMNS", "200")
    plain = Output(color=False)
    plain.line(f"since {moment(NOON)}")
    plain.table(["at"], [["kept until 2026-11-23T12:00:00Z"]])
    plain.json({"at": NOON, "text": str(DENIAL)})
    said = out.getvalue()
    assert said.count(LOCAL) == 2
    assert '"at": "2026-11-23T12:00:00Z"' in said
    assert "run again after 2026-11-23T12:00:00Z" in said


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-23T17:30", NOON),
        ("2026-11-23T17:30:00", NOON),
        ("2026-11-23T12:00Z", NOON),
        ("2026-11-23T12:00+00:00", NOON),
        ("2026-11-23T14:00+02:00", NOON),
        ("2026-11-23", datetime(2026, 11, 22, 18, 30, tzinfo=UTC)),
    ],
)
def test_a_time_without_a_zone_is_meant_as_the_clock_on_the_wall_says(text: str, meant: datetime) -> None:
    assert times.parsed(text, "--since") == meant


@pytest.mark.parametrize(("text", "ago"), [("90m", {"minutes": 90}), ("12h", {"hours": 12}), ("7d", {"days": 7})])
def test_a_time_may_be_how_long_ago(text: str, ago: dict[str, int]) -> None:
    before = datetime.now(UTC)
    assert before - timedelta(**ago) <= times.parsed(text, "--since") <= datetime.now(UTC) - timedelta(**ago)


@pytest.mark.parametrize(
    "text", ["", "now", "12", "12x", "2026-13-01", "٣d", "0001-01-01", "9999999d", "999999999999d"]
)
def test_what_is_no_time_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(UsageError, match=r"--since: .* is no time; write e\.g\. 12h, 7d or 2026-11-01T14:00"):
        times.parsed(text, "--since")


def test_since_until_before_and_at_read_the_same_time_alike(gate: Any, stores: Any, monkeypatch: Any) -> None:
    stores("audit", "list", "--since", "2026-11-23T17:30", "--until", "2026-11-23T12:00Z")
    assert (gate.ledger.asked["since_at"], gate.ledger.asked["until_at"]) == (NOON, NOON)
    snapshots = [
        Snapshot(f"{hour:064d}", NOON + timedelta(hours=hour), "manual", (), None, None) for hour in (1, 0, -1)
    ]
    assert backups.chosen(snapshots, "2026-11-23T17:30", "x") == snapshots[1]
    assert backups.chosen(snapshots, "2026-11-23T12:00Z", "x") == snapshots[1]
    monkeypatch.setattr(backups, "server_of", lambda _gate: None)
    monkeypatch.setattr(backups, "listed", lambda *_, **__: snapshots)
    done = stores("backups", "tea-house-x7k2m", "--since", "2026-11-23T17:30", "--until", "2026-11-23T18:30")
    assert done.out.splitlines()[1].split()[0] == snapshots[1].short_id
    assert len(done.out.splitlines()) == 2


def test_every_text_of_ours_names_a_time_in_the_one_form_that_is_understood() -> None:
    """What is written otherwise, `12:00 UTC` say, would stay as it is on a terminal."""
    allowed = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"}
    found = []
    for folder in ("audit", "stacks", "components", "cli"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            if file.name in {"times.py", "output.py"}:
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
                    spec = "".join(
                        str(part.value) for part in node.format_spec.values if isinstance(part, ast.Constant)
                    )  # type: ignore[attr-defined]
                    if "%Y" in spec and spec not in allowed:
                        found.append(f"{file}:{node.lineno}: {spec}")
                if isinstance(node, ast.Attribute) and node.attr == "strftime":
                    found.append(f"{file}:{node.lineno}: strftime")
    assert found == []
