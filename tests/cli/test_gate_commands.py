"""Commands that ask the gate: what they hand over, what they print, how they end."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from audit.backup_ages import BackupAge
from audit.check import Check
from audit.plan import Action, PropertyChange, StorePlan
from audit.results import RunResult, StoreResult
from stacks.errors import CancelledError, DatabaseUnreachableError, OverLimitError, Problem, StoreFailedError
from tests.cli.conftest import AT


def test_plan_shows_each_change_each_denial_and_the_limits(gate, stores) -> None:
    done = stores("plan")
    assert done.code == 0
    assert done.out == (
        "Environment local, cluster https://127.0.0.1:6443\n"
        "\n"
        "~ coffee-bar-p4n9d: update; owner bob; cell 01\n"
        "    uploads.size: 2Gi -> (none)  DANGER: this would replace, move or shrink data\n"
        "    web.resources.limits.memory: 512Mi -> 600Mi\n"
        "\n"
        "+ tea-house-x7k2m: create; owner alice; cell 01; resources: 15 create\n"
        "\n"
        "+ juice-bar-d2d2d: create; owner bob; cell 01\n"
        "    DENIED: owner 'bob' has 3 of 3 stores\n"
        "\n"
        "1 to create, 1 to update, 1 denied, 1 untouched\n"
        "\n"
        "limit          now  after  at most\n"
        "stores in all  1    2      100\n"
    )


def test_plan_says_when_there_is_nothing_to_do(gate, stores) -> None:
    gate.stores = gate.stores[-1:]
    assert "nothing to do: 1 stores are as the manifest says" in stores("plan").out


@pytest.mark.parametrize(("kept", "code"), [(4, 10), (0, 0)])
def test_plan_tells_by_its_exit_code_whether_there_are_changes_only_when_asked(gate, stores, kept, code) -> None:
    gate.stores = gate.stores[:kept]
    assert stores("plan").code == 0
    done = stores("plan", "--detailed-exitcode")
    assert done.code == code
    assert done.err == ""


def test_plan_as_json_is_one_document(gate, stores) -> None:
    document = json.loads(stores("plan", "--json").out)
    assert [found["action"] for found in document["stores"]] == ["create", "update", "create", "untouched"]
    assert document["empty"] is False


def test_quick_leaves_the_engine_out(gate, stores) -> None:
    stores("plan", "--quick")
    assert gate.calls == [("plan", {"ask_engine": False, "overwrite_drift": False})]


def test_up_prints_url_status_and_the_way_to_the_credentials(gate, stores) -> None:
    done = stores("up")
    assert done.code == 0
    [header, row, gap, summary] = done.out.splitlines()
    assert header.split() == ["store", "status", "content", "took", "url", "credentials"]
    assert row == (
        "tea-house-x7k2m  Ready   WordPress only  41 s  http://tea-house-x7k2m.127.0.0.1.nip.io:8080  "
        "stores credentials tea-house-x7k2m"
    )
    assert (gap, summary) == ("", "run run-1: 1 Ready")
    assert "tea-house-x7k2m: create namespace (Provisioning)" in done.err


def test_up_names_the_environment_in_what_to_run_next(gate, stores) -> None:
    assert "stores credentials tea-house-x7k2m --env prod" in stores("up", "--env", "prod").out


def test_up_hands_over_who_and_why(gate, stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.session.system_user", lambda: "mara")
    stores("up", "--reason", "because", "--idempotency-key", "k1")
    [(name, arguments)] = gate.calls
    assert name == "up"
    assert (arguments["reason"], arguments["idempotency_key"]) == ("because", "k1")
    assert (arguments["actor"].name, arguments["actor"].kind, arguments["actor"].source_ip) == ("mara", "user", None)
    assert gate.closed


def test_in_ci_the_actor_is_who_ci_runs_for(gate, stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("GITHUB_ACTOR", "octo")
    stores("up")
    actor = gate.calls[0][1]["actor"]
    assert (actor.name, actor.kind) == ("octo", "ci")


def test_up_a_second_time_says_nothing_to_do_and_still_where_the_stores_are(gate, stores) -> None:
    gate.result = replace(gate.result, nothing_to_do=True)
    done = stores("up")
    assert done.out.endswith("\nnothing to do\n")
    assert "http://tea-house-x7k2m" in done.out


def test_a_failed_store_is_told_with_the_others_and_ends_in_6(gate, stores) -> None:
    failed = StoreResult("milk-bar-c2c2c", Action.CREATE, "Failed", None, "no image", 9.0)
    error = StoreFailedError("store 'milk-bar-c2c2c'", "no image", "correct it")
    gate.result = replace(gate.result, stores=(*gate.result.stores, failed), exit_error=error)
    done = stores("up")
    assert done.code == 6
    assert "tea-house-x7k2m  Ready" in done.out
    assert done.out.endswith("run run-1: 1 Failed, 1 Ready\n")
    assert done.err.endswith("error: store 'milk-bar-c2c2c': no image; correct it\n")


def test_up_as_json_is_one_document_also_when_a_store_fails(gate, stores) -> None:
    gate.result = RunResult("run-2", (), nothing_to_do=False, exit_error=OverLimitError("a", "b", "c"))
    done = stores("up", "--json")
    assert done.code == 4
    assert json.loads(done.out) == {
        "run_id": "run-2",
        "nothing_to_do": False,
        "replayed": False,
        "stores": [],
        "problems": ["a: b; c"],
    }


def test_a_repeated_request_says_which_run_had_done_it(gate, stores) -> None:
    gate.result = replace(gate.result, replayed=True)
    assert "already done by run run-1; this is its result" in stores("up").out


def test_a_cancelled_run_ends_in_130(gate, stores) -> None:
    gate.result = replace(gate.result, exit_error=CancelledError("run run-1", "it was stopped", "run it again"))
    assert stores("up").code == 130


@pytest.mark.parametrize(
    ("arguments", "called"),
    [((), "reconcile"), (("--import",), "take_over"), (("--ticket", "ticket.json"), "close_ticket")],
)
def test_reconcile_does_the_one_thing_it_is_asked_for(gate, stores, arguments: tuple[str, ...], called: str) -> None:
    assert stores("reconcile", *arguments).code == 0
    assert [name for name, _ in gate.calls] == [called]


def test_reconcile_does_not_take_two_things_at_once(gate, stores) -> None:
    assert stores("reconcile", "--import", "--ticket", "ticket.json").code == 2
    assert gate.calls == []


def test_a_ticket_is_told_with_the_commands_that_come_next(gate, stores) -> None:
    done = stores("admit", "--output", "ticket.json", "--valid", "10")
    assert done.code == 0
    assert [(name, given["valid_s"]) for name, given in gate.calls] == [("admit", 600)]
    assert "STORES_TICKET_FILE=ticket.json pulumi up --stack local-02" in done.out
    assert "stores reconcile --ticket ticket.json" in done.out


def test_a_ticket_of_more_than_four_hours_is_a_usage_error(gate, stores) -> None:
    assert stores("admit", "--output", "ticket.json", "--valid", "241").code == 2
    assert gate.calls == []


@pytest.mark.parametrize("command", ["list", "status"])
def test_list_and_status_show_each_store_and_the_reason_of_a_failed_one(gate, stores, command: str) -> None:
    done = stores(command)
    assert done.code == 0
    assert (
        "tea-house-x7k2m  alice  Ready   WordPress only  2026-11-23 08:30:05Z  2026-11-23 08:30:05Z  -       http"
        in done.out
    )
    assert done.out.endswith("\nmilk-bar-c2c2c: image\\x1b[31m missing\n")


@pytest.mark.parametrize(
    ("age", "cell", "told"),
    [
        (BackupAge("tea-house-x7k2m", AT, 7300, late=False, failed=False), "2 h ago", None),
        (BackupAge("tea-house-x7k2m", AT, 300_000, late=True, failed=False), "3 d ago LATE", "late"),
        (
            BackupAge("tea-house-x7k2m", AT, 300_000, late=True, failed=True),
            "3 d ago LATE FAILED",
            "late, the last scheduled one failed",
        ),
        (BackupAge("tea-house-x7k2m", None, None, late=False, failed=False), "never", None),
        (BackupAge("tea-house-x7k2m", None, None, late=True, failed=False), "never LATE", "never backed up, late"),
        (
            BackupAge("tea-house-x7k2m", None, None, late=False, failed=False, unknown="nobody answers"),
            "unknown",
            "unknown: nobody answers",
        ),
        (
            BackupAge("tea-house-x7k2m", AT, 50, late=False, failed=False, unknown="nobody answers"),
            "50 s ago ?",
            "unknown: nobody answers",
        ),
    ],
)
def test_status_shows_how_old_the_last_backup_is_and_says_what_is_wrong_with_it(
    gate, stores, age: BackupAge, cell: str, told: str | None
) -> None:
    gate.statuses = [replace(gate.statuses[0], backup=age)]
    out = stores("status").out
    header, row = out.splitlines()[:2]
    start = header.index("backup")
    assert row[start : header.index("url")].strip() == cell
    assert (f"\ntea-house-x7k2m: backup: {told}\n" in out) == (told is not None)
    (found,) = json.loads(stores("status", "--json").out)
    assert (found["backup"]["age_s"], found["backup"]["late"]) == (age.age_s, age.late)
    assert found["backup"]["unknown"] == age.unknown


def test_status_shows_the_stores_that_are_named(gate, stores) -> None:
    assert [found["store_id"] for found in json.loads(stores("status", "milk-bar-c2c2c", "--json").out)] == [
        "milk-bar-c2c2c"
    ]
    done = stores("status", "nobody-00000")
    assert (done.code, done.err) == (
        2, "error: store 'nobody-00000': there is no such store; see `stores list` for the ids\n")  # fmt: skip


def test_times_in_json_are_utc(gate, stores) -> None:
    assert json.loads(stores("list", "--json").out)[0]["since_at"] == "2026-11-23T08:30:05Z"


def test_an_environment_without_stores_says_so(gate, stores) -> None:
    gate.statuses = []
    assert stores("list").out == "there are no stores\n"


def test_deep_asks_every_store(gate, stores) -> None:
    stores("status", "--deep")
    assert gate.calls == [("status", {"deep": True})]


def test_credentials_are_printed_and_nothing_else(gate, stores) -> None:
    done = stores("credentials", "tea-house-x7k2m")
    assert done.out == (
        "url:      http://tea-house-x7k2m.127.0.0.1.nip.io:8080/wp-admin/\nuser:     admin\npassword: s3cret\n"
    )
    assert done.err == ""
    assert json.loads(stores("credentials", "tea-house-x7k2m", "--json").out)["password"] == "s3cret"


def test_limits_show_the_use_of_all_owners_or_of_one(gate, stores) -> None:
    assert stores("limits").out == (
        "owner  stores   creations in 60 min  next creation from\n"
        "alice  1 of 10  2 of 5               now\n"
        "bob    2 of 3   5 of 5               2026-11-23 08:39:05Z\n"
        "in all: 4 of 100 stores of local\n"
    )
    assert "bob" not in stores("limits", "alice").out
    assert json.loads(stores("limits", "bob", "--json").out)["used"] == 2
    assert stores("limits", "zoe").code == 2


def test_doctor_shows_the_cure_and_is_content_with_warnings(gate, stores) -> None:
    done = stores("doctor")
    assert done.code == 0
    assert "ok    engine    3.259.0 (sandbox)\n" in done.out
    assert done.out.endswith("plugin x: renew it\n")


def test_only_a_deep_doctor_probes_the_policies_and_says_so_beside_the_answer(gate, stores) -> None:
    stores("doctor")
    done = stores("doctor", "--deep", "--json")
    assert [call for call in gate.calls if call[0] == "doctor"] == [
        ("doctor", {"deep": deep}) for deep in (False, True)
    ]
    assert done.err == "network policies: starting two pods\n"
    assert json.loads(done.out)


def test_doctor_ends_in_7_when_something_does_not_work(gate, stores) -> None:
    gate.checks = [Check("cluster", "fail", "no answer", "start it")]
    done = stores("doctor")
    assert done.code == 7
    assert "error: doctor: cluster: not in order" in done.err
    assert json.loads(stores("doctor", "--json").out)[0]["cure"] == "start it"


def test_audit_list_hands_every_filter_over(gate, stores) -> None:
    done = stores(
        "audit", "list", "--store", "s", "--owner", "o", "--actor", "a", "--action", "x", "--run", "r", "--limit", "3",
        "--since", "2026-11-01", "--until", "2026-11-02", "--outcome", "denied", "--oldest-first", "--env", "prod",
    )  # fmt: skip
    assert done.code == 0
    assert gate.ledger.asked == {
        "environment": "prod", "store_id": "s", "owner": "o", "actor": "a", "action": "x", "run_id": "r", "limit": 3,
        "since_at": datetime(2026, 11, 1, tzinfo=UTC), "until_at": datetime(2026, 11, 2, tzinfo=UTC),
        "outcome": "denied", "ascending": True,
    }  # fmt: skip
    assert done.out.splitlines()[1].split() == [
        "7", "2026-11-23", "08:30:05Z", "alice", "store.create", "success", "tea-house-x7k2m", "-"]  # fmt: skip


@pytest.mark.parametrize(
    ("since", "ago"), [("90m", timedelta(minutes=90)), ("12h", timedelta(hours=12)), ("7d", timedelta(days=7))]
)
def test_since_takes_how_long_ago(gate, stores, since: str, ago: timedelta) -> None:
    before = datetime.now(UTC) - ago
    stores("audit", "list", "--since", since)
    assert before <= gate.ledger.asked["since_at"] <= datetime.now(UTC) - ago


@pytest.mark.parametrize("since", ["yesterday", "12", "12w", "", "2026-13-01"])
def test_a_time_that_is_none_is_refused(gate, stores, since: str) -> None:
    done = stores("audit", "list", "--since", since)
    assert done.code == 2
    assert "is no time; write e.g. 12h, 7d or 2026-11-01" in done.err


def test_an_empty_audit_log_says_so(gate, stores) -> None:
    gate.ledger.found = []
    assert stores("audit", "list").out == "no entry fits\n"
    assert json.loads(stores("audit", "list", "--json").out) == []


def test_every_problem_of_an_error_is_a_line(gate, stores) -> None:
    gate.failure = DatabaseUnreachableError.of([Problem("ledger", "gone", "start it"), Problem("b", "c\x1b[2J", "d")])
    done = stores("up")
    assert (done.code, done.out) == (5, "")
    assert done.err == "error: ledger: gone; start it\nerror: b: c\\x1b[2J; d\n"


def test_a_scheduled_deletion_is_shown_with_its_reason(gate, stores) -> None:
    gate.stores = (StorePlan("a-00000", "a", "bob", "01", Action.SCHEDULED, reason="removed after 168 h"),)
    done = stores("plan")
    assert "- a-00000: scheduled; owner bob; cell 01; removed after 168 h" in done.out
    assert "1 scheduled for deletion" in done.out


def test_a_held_store_is_listed_as_held_with_what_was_done_to_it(gate, stores) -> None:
    held = "held: its Helm revision is 5 (deployed), and the platform's was 4"
    gate.statuses = (replace(gate.statuses[0], held=held), gate.statuses[1])
    for command in ("list", "status"):
        out = stores(command).out
        assert "Ready (held)" in out
        assert f"tea-house-x7k2m: {held}" in out
    assert json.loads(stores("list", "--json").out)[0]["held"] == held


def test_what_cannot_be_known_about_holding_is_said_and_the_rest_is_shown(gate, stores) -> None:
    gate.doubt = "which stores are held is not known: cluster: no"
    done = stores("list")
    assert (done.code, done.err) == (0, "which stores are held is not known: cluster: no\n")
    assert "tea-house-x7k2m" in done.out


def test_a_plan_shows_a_held_store_and_what_waits(gate, stores) -> None:
    held = StorePlan(
        "tea-house-x7k2m", "tea-house", "alice", "01", Action.HELD,
        changes=(PropertyChange("chart", "a", "b"),), reason="held: its Helm revision is 5",
    )  # fmt: skip
    gate.stores = (held,)
    out = stores("plan").out
    assert "= tea-house-x7k2m: held; owner alice; cell 01; held: its Helm revision is 5" in out
    assert "chart: a -> b" in out
    assert "nothing to do: 0 stores are as the manifest says, 1 held" in out
    assert "Held" in stores("plan", "--markdown").out
    assert stores("plan", "--detailed-exitcode").code == 0


@pytest.mark.parametrize("command", ["plan", "up"])
def test_overwriting_drift_is_asked_for_by_name(gate, stores, command: str) -> None:
    stores(command, "--overwrite-drift")
    assert gate.calls[0][1]["overwrite_drift"] is True
