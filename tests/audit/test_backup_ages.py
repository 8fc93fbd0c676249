"""How old a store's last backup is: by two witnesses, honest about what they do not know, and quick for any number."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit import backup_ages
from audit.backup_ages import BackupAge, _Scheduled, ages, of_all
from audit.ledger import Ledger
from audit.records import NewEntry, StoreRow
from stacks.cluster import Cluster
from tests.audit.conftest import FakeClock
from tests.audit.ledger_samples import ALICE, create

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(hours=24)


def row(*, hours_old: float = 2400, ready: bool = True) -> StoreRow:
    created = NOON - timedelta(hours=hours_old)
    return StoreRow(
        *("local", "a", "a", "alice", "01", "Ready", None, created),
        ready_at=created if ready else None,
        pending_until=None,
        holds_slot=True,
        url=None,
        content=None,
        run_id=None,
        created_at=created,
    )


def age(store: StoreRow, schedule: _Scheduled | None, asked_h: float | None = None, **more: Any) -> BackupAge:
    asked = {} if asked_h is None else {"a": NOON - timedelta(hours=asked_h)}
    (found,) = ages([store], {} if schedule is None else {"a": schedule}, asked, (NOON, DAY), **more)
    return found


def schedule(good_h: float | None = None, *, made_h: float = 2400, failed: bool = False) -> _Scheduled:
    good = None if good_h is None else NOON - timedelta(hours=good_h)
    return _Scheduled(good, failed, NOON - timedelta(hours=made_h))


@pytest.mark.parametrize(("hours", "late"), [(0, False), (48, False), (48.1, True)])
def test_a_backup_older_than_twice_the_interval_is_late_whoever_asked_for_it(hours: float, *, late: bool) -> None:
    for found in (age(row(), schedule(1000), hours), age(row(), schedule(hours), 1000), age(row(), schedule(hours))):
        assert (found.late, found.age_s) == (late, int(hours * 3600))
        assert ("LATE" in found.brief, found.told) == (late, "late" if late else "")


def test_a_young_store_without_a_backup_is_not_late_and_an_old_one_is() -> None:
    assert age(row(hours_old=47), schedule(made_h=47)).brief == "never"
    assert age(row(hours_old=49), schedule(made_h=49)).told == "never backed up, late"


def test_a_store_that_never_sold_has_nothing_to_back_up() -> None:
    found = age(row(ready=False), schedule())
    assert not found.alarming
    assert not age(row(ready=False), None).alarming


def test_a_schedule_that_was_made_anew_does_not_say_that_there_never_was_a_backup() -> None:
    found = age(row(), schedule(made_h=30))
    assert found.brief == "none since 2026-11-22"
    assert not found.late
    assert age(row(), schedule(made_h=49)).late


def test_what_cannot_be_asked_is_unknown_and_neither_good_nor_late() -> None:
    blind = age(row(), None, unknown="the cluster cannot be asked")
    assert (blind.brief, blind.late, blind.alarming) == ("unknown", False, True)
    old = age(row(), None, 1000, unknown="the cluster cannot be asked")
    assert (old.late, old.brief) == (False, "41 d ago ?")
    assert old.told == "unknown: the cluster cannot be asked"


def test_a_store_that_sells_without_a_schedule_is_told() -> None:
    assert age(row(), None).told == "unknown: its schedule is not in the cluster"


def test_a_schedule_that_failed_is_told_with_the_age() -> None:
    found = age(row(), schedule(20, failed=True))
    assert (found.brief, found.told, found.alarming) == ("20 h ago FAILED", "the last scheduled one failed", True)


# --- of all stores, with a ledger and an API server that is there or is not


class Api:
    """The two answers of a cluster that are asked for. What was asked is counted."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.cron_jobs: list[dict[str, Any]] = []
        self.servers = 1
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.asked.append(self.path.partition("?")[0])
                body: dict[str, Any] = {"kind": "List", "items": api.cron_jobs, "metadata": {}}
                if self.path.startswith("/apis/apps/"):
                    body = {
                        "metadata": {"name": "backup"},
                        "spec": {"selector": {}, "template": {}},
                        "status": {"availableReplicas": api.servers},
                    }
                text = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def schedule(self, store_id: str, good: datetime | None, begun: datetime | None, made: datetime) -> None:
        for kind in ("backup", "restore"):
            when = {"lastSuccessfulTime": good, "lastScheduleTime": begun} if kind == "backup" else {}
            status = {key: at.isoformat() for key, at in when.items() if at is not None}
            self.cron_jobs.append(
                {
                    "metadata": {"name": f"{store_id}-{kind}", "creationTimestamp": made.isoformat()},
                    "spec": {
                        "schedule": "0 1 * * *", "jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}},
                    },
                    "status": status,
                }
            )  # fmt: skip


@pytest.fixture
def api() -> Iterator[Api]:
    running = Api()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def gate(ledger: Ledger, tmp_path: Path) -> Callable[[int], Any]:
    """Return a maker of gates whose cluster's API server listens on that port."""

    def make(port: int) -> Any:
        file = tmp_path / "kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {}}],
        }
        file.write_text(json.dumps(config))
        return SimpleNamespace(
            root=ROOT, environment="local", ledger=ledger, cluster=Cluster(kubeconfig=str(file)),
        )  # fmt: skip

    return make


def _made(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("tests.audit.ledger_samples.ENVIRONMENT", "local")
    create(ledger, count)


def test_any_number_of_stores_is_two_questions_to_the_cluster(
    ledger: Ledger, clock: FakeClock, api: Api, gate: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _made(ledger, monkeypatch, 20)
    ids = [store.store_id for store in ledger.stores("local")]
    made = clock.moment
    clock.move(hours=72)
    for store_id in ids:
        api.schedule(store_id, clock.moment - timedelta(hours=3), clock.moment - timedelta(hours=4), made)
    entry = NewEntry(ALICE, "store.backup", "success", environment="local", store_id=ids[0])
    ledger.record(entry)
    found = of_all(gate(api.server.server_port))
    assert [each.store_id for each in found] == ids
    assert [each.age_s for each in found] == [0] + [3 * 3600] * 19
    assert not any(each.alarming for each in found)
    assert len(api.asked) == 2


def test_a_cluster_that_does_not_answer_leaves_what_the_log_knows(
    ledger: Ledger, clock: FakeClock, gate: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _made(ledger, monkeypatch, 2)
    clock.move(hours=720)
    first, _ = (store.store_id for store in ledger.stores("local"))
    ledger.record(NewEntry(ALICE, "store.backup", "success", environment="local", store_id=first))
    ledger.record(NewEntry(ALICE, "store.backup", "failure", environment="local", store_id="alice-001"))
    clock.move(hours=1)
    asked, never = of_all(gate(9))
    assert (asked.age_s, asked.late, never.age_s, never.late) == (3600, False, None, False)
    assert asked.told.startswith("unknown: the cluster cannot be asked: ")
    assert (asked.brief, never.brief) == ("60 min ago ?", "unknown")


def test_a_cluster_that_takes_the_question_and_says_nothing_is_asked_once(
    ledger: Ledger, gate: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _made(ledger, monkeypatch, 1)
    monkeypatch.setattr(backup_ages, "_TIMEOUTS_S", (0.5, 0.5))
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def listen() -> None:
            with suppress(OSError):
                while True:
                    asked.append(silent.accept()[0])

        threading.Thread(target=listen, daemon=True).start()
        (found,) = of_all(gate(silent.getsockname()[1]))
    assert found.told.startswith("unknown: the cluster cannot be asked: it does not answer")
    assert len(asked) == 1


def test_a_backup_server_that_does_not_run_is_told_for_every_store(
    ledger: Ledger, clock: FakeClock, api: Api, gate: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _made(ledger, monkeypatch, 1)
    api.servers = 0
    api.schedule("alice-000", clock.moment, clock.moment, clock.moment)
    (found,) = of_all(gate(api.server.server_port))
    assert found.told == "unknown: the backup server does not run"
    assert found.age_s == 0
