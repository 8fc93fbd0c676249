"""Commands of the ledger's owner and of admins, over a real ledger: segments, copies, checks, and passing a limit."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit.admins import is_admin
from audit.gate import Gate
from audit.ledger import Ledger
from audit.migrations import migrate
from audit.records import Actor, NewEntry
from cli.output import moment
from cli.session import system_user as SYSTEM_USER  # noqa: N812 - as it is before any test replaces it
from stacks.settings import Settings
from tests.audit.ledger_samples import ALICE

ENTRY = NewEntry(ALICE, "test.write", "success", environment="local")
OLD = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    found = f"sqlite:///{tmp_path / 'real' / 'ledger.sqlite'}"
    with Ledger.open(found, now=lambda: OLD) as ledger:
        for _ in range(3):
            ledger.record(ENTRY)
    with Ledger.open(found) as ledger:
        ledger.record(ENTRY)
    return found


@pytest.fixture
def admin(gate, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """Return the ledger behind the gate; the user is an admin."""
    monkeypatch.setattr("cli.session.system_user", lambda: "mara")
    gate.settings = Settings(environment="local", protected=False, admins=("mara",))
    with Ledger.open(url) as ledger:
        gate.ledger = ledger
        yield ledger


ARCHIVE = ("audit", "archive", "--before", "2025-06-01", "--reason", "kept for a year", "--output")


def test_an_admin_archives_a_segment_and_both_halves_are_proven(admin: Ledger, stores) -> None:
    done = stores(*ARCHIVE, "old.jsonl")
    assert (done.code, done.out) == (0, "old.jsonl: entries 1 to 3, purged from the database\n")
    assert admin.entries(None)[0].actor == "mara"
    done = stores("audit", "verify", "--archive", "old.jsonl")
    assert (
        done.out
        == "2 entries since the checkpoint at entry 3, chain unbroken\narchived entries 1 to 3, chain unbroken\n"
    )
    document = json.loads(stores("audit", "verify", "--archive", "old.jsonl", "--json").out)
    assert (document["begins_at"], document["archived"], document["ok"]) == (4, 3, True)
    assert stores(*ARCHIVE, "more.jsonl").out == "no entry is that old; nothing was purged\n"
    assert not Path("more.jsonl").exists()


def test_an_archive_under_its_key_names_the_file_that_holds_the_entries(admin: Ledger, stores) -> None:
    key = ("--idempotency-key", "yearly")
    assert json.loads(stores(*ARCHIVE, "old.jsonl", *key, "--json").out)["replayed"] is False
    again = stores(*ARCHIVE, "more.jsonl", *key)
    assert (again.code, again.out) == (0, "old.jsonl: entries 1 to 3, purged from the database\n")
    assert "nothing was done now" in again.err
    document = json.loads(stores(*ARCHIVE, "more.jsonl", *key, "--json").out)
    assert (document["file"], document["first_seq"], document["last_seq"]) == ("old.jsonl", 1, 3)
    assert document["replayed"] is True
    assert not Path("more.jsonl").exists()


def test_an_archive_that_is_not_the_logs_is_told(admin: Ledger, stores, tmp_path: Path) -> None:
    stores(*ARCHIVE, "old.jsonl")
    shutil.copy("old.jsonl", "changed.jsonl")
    Path("changed.jsonl").write_text(Path("changed.jsonl").read_text().replace("alice", "mallo"))
    done = stores("audit", "verify", "--archive", "changed.jsonl")
    assert done.code == 9
    assert "entry 1 in changed.jsonl is not what was written" in done.err
    assert stores("audit", "verify", "--archive", "stacks/local/stores.yaml").code == 2
    assert stores("audit", "verify", "--archive", "nowhere").code == 2


@pytest.mark.parametrize("admins", [(), ("zoe",)])
def test_nobody_else_purges(admin: Ledger, gate, stores, admins: tuple[str, ...]) -> None:
    gate.settings = gate.settings.model_copy(update={"admins": admins})
    done = stores(*ARCHIVE, "old.jsonl")
    assert done.code == 11
    assert "'mara' may not purge the audit log; in this environment," in done.err
    assert admin.verify().entries == 5, "the refusal is on record"


def test_a_reason_is_asked_for(admin: Ledger, stores) -> None:
    assert stores(*ARCHIVE[:4], "--output", "old.jsonl").code == 2


def test_anchor_waits_until_the_log_has_grown_enough(admin: Ledger, stores) -> None:
    assert stores("audit", "anchor", "--output", "kept", "--every", "2").code == 0
    admin.record(ENTRY)
    done = stores("audit", "anchor", "--output", "kept", "--every", "2")
    assert (done.code, done.out) == (0, "")
    assert "the log has 1 entries more than at its last anchor" in done.err
    admin.record(ENTRY)
    assert stores("audit", "anchor", "--output", "kept", "--every", "2").out
    assert len(Path("kept").read_text().splitlines()) == 2
    assert stores("audit", "anchor", "--output", "kept", "--every", "1").out == "", "not one entry more"
    assert stores("audit", "anchor", "--output", "kept").out, "without the option always"
    assert len(Path("kept").read_text().splitlines()) == 3


# --- passing a limit


def test_up_past_the_limits_needs_a_reason(gate, stores) -> None:
    for reason in ((), ("--reason", " ")):
        done = stores("up", "--override-limits", *reason)
        assert done.code == 2
        assert "has no reason" in done.err
    assert gate.calls == []


def test_up_hands_the_wish_to_pass_a_limit_over(gate, stores) -> None:
    assert stores("up", "--override-limits", "--reason", "agreed").code == 0
    assert (gate.calls[0][1]["override_limits"], gate.calls[0][1]["reason"]) == (True, "agreed")


@pytest.mark.parametrize("admins", [(), ("zoe",)])
def test_the_gate_lets_nobody_else_pass_a_limit(
    project: Path, stores, monkeypatch: pytest.MonkeyPatch, admins: tuple[str, ...]
) -> None:
    """The real gate: it refuses before it looks at anything."""
    root = Path(__file__).parents[2]
    shutil.copy(root / "Pulumi.yaml", project)
    settings = (root / "Pulumi.local.yaml").read_text()
    named = "".join(f"\n    - {name}" for name in admins) if admins else " []"
    (project / "Pulumi.local.yaml").write_text(f"{settings}  stores:admins:{named}\n")
    for name in ("values", "charts"):
        (project / name).symlink_to(root / name)
    monkeypatch.setenv("STORES_CLUSTER", "kubeconfig")
    monkeypatch.setattr("cli.session.system_user", lambda: "mara")
    monkeypatch.setattr(Gate, "_run", lambda *_args, **_values: pytest.fail("it went on"))
    done = stores("up", "--override-limits", "--reason", "agreed")
    assert done.code == 11
    assert f"'mara' may not pass a limit; in this environment, {admins[0] if admins else 'nobody'} may" in done.err
    [denied] = json.loads(stores("audit", "list", "--json").out)
    assert (denied["action"], denied["outcome"], denied["actor"], denied["reason"]) == (
        "limit.override", "denied", "mara", "agreed",
    )  # fmt: skip


def test_a_refused_purge_is_on_record(admin: Ledger, gate, stores) -> None:
    gate.settings = Settings(environment="local", protected=False, admins=("zoe", "ci:mara"))
    done = stores(*ARCHIVE, "old.jsonl")
    assert done.code == 11
    assert not Path("old.jsonl").exists()
    denied = admin.entries(None)[0]
    assert (denied.action, denied.outcome, denied.actor) == ("audit.archive", "denied", "mara")
    assert denied.reason == "kept for a year"
    assert admin.verify().entries == 5


@pytest.mark.parametrize(
    ("entry", "actor", "may"),
    [
        ("mara", Actor("mara", "user"), True),
        ("mara", Actor("mara", "ci"), False),
        ("ci:mara", Actor("mara", "ci"), True),
        ("ci:mara", Actor("mara", "user"), False),
        ("user:mara", Actor("mara", "user"), True),
        ("service:mara", Actor("mara", "ci"), False),
        ("mar", Actor("mara", "user"), False),
        ("ci:mara", Actor("ci:mara", "user"), False),
    ],
)
def test_an_admin_is_of_one_kind(entry: str, actor: Actor, *, may: bool) -> None:
    assert is_admin([entry], actor) is may


@pytest.mark.parametrize("claim", [{"LOGNAME": "mara", "USER": "mara"}, {"CI": "1", "GITHUB_ACTOR": "mara"}])
def test_nobody_becomes_an_admin_by_a_variable(
    admin: Ledger, stores, monkeypatch: pytest.MonkeyPatch, claim: dict[str, str]
) -> None:
    monkeypatch.setattr("cli.session.system_user", SYSTEM_USER)
    for name, value in claim.items():
        monkeypatch.setenv(name, value)
    assert stores(*ARCHIVE, "old.jsonl").code == 11
    assert admin.entries(None)[0].actor == ("mara" if "CI" in claim else pwd.getpwuid(os.geteuid()).pw_name)


# --- the database


def test_backup_and_restore_go_there_and_back(url: str, project: Path, stores) -> None:
    done = stores("db", "backup", "--url", url, "--output", "ledger.gz")
    assert done.code == 0
    assert "the log up to entry 4" in done.out
    target = f"sqlite:///{project / 'new.sqlite'}"
    done = stores("db", "restore", "ledger.gz", "--url", target)
    assert done.code == 0
    assert "4 entries, chain unbroken" in done.out
    assert stores("db", "restore", "ledger.gz", "--url", target).code == 2
    assert stores("db", "backup", "--url", url, "--output", "ledger.gz").code == 2
    assert json.loads(stores("db", "backup", "--url", url, "--output", "b.gz", "--json").out)["last_seq"] == 4
    Path("ledger.gz").write_bytes(b"x")
    assert stores("db", "restore", "ledger.gz", "--url", f"sqlite:///{project / 'x.sqlite'}").code == 9


def test_check_ends_with_0_or_5(url: str, project: Path, stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORES_LEDGER_URL", url)
    done = stores("db", "check")
    assert done.code == 0
    assert "ok  schema" in done.out
    assert {found["state"] for found in json.loads(stores("db", "check", "--json").out)} == {"ok"}
    monkeypatch.setattr("audit.migrations.REVISION", "0000")
    done = stores("db", "check")
    assert done.code == 5
    assert "error: ledger: schema: not in order" in done.err
    assert "schema: update the program" in done.out


def test_a_ledger_that_is_not_migrated_is_told_by_check(project: Path, stores) -> None:
    done = stores("db", "check", "--url", f"sqlite:///{project / 'empty.sqlite'}")
    assert done.code == 5
    migrate(f"sqlite:///{project / 'empty.sqlite'}")
    assert stores("db", "check", "--url", f"sqlite:///{project / 'empty.sqlite'}").code == 0


def test_times_are_local_on_a_terminal_and_utc_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    at = datetime(2026, 11, 23, 8, 30, 5, 999_999, tzinfo=UTC)
    assert moment(at) == "2026-11-23 08:30:05Z"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    local = at.astimezone()
    assert moment(at) == f"{local:%Y-%m-%d %H:%M:%S %Z}"
    assert moment(None) == "-"
    assert timedelta() == local - at


def test_protection_is_taken_away_only_with_a_reason(gate, stores) -> None:
    done = stores("up", "--unprotect", "--reason", " ")
    assert (done.code, gate.calls) == (2, [])
    assert "--unprotect: has no reason" in done.err
    assert stores("up", "--unprotect", "--reason", "CHANGE-7").code == 0
    assert gate.calls[0][1]["unprotect"] is True
