"""A project and a gate of the tests' own: the command line is tried whole, but for what lies behind the gate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from audit.anchors import Anchor
from audit.check import Check
from audit.credentials import Credentials
from audit.plan import Action, LimitUse, Plan, PropertyChange, StorePlan
from audit.records import Actor, Admission, Change, Entry, OpenRun, OwnerUsage, StoreRow, Usage
from audit.results import ProgressEvent, RunResult, StoreResult
from audit.status import StoreStatus
from audit.tickets import Issued
from audit.upgrade_plan import Step, UpgradePlan
from audit.upgrade_results import StoreUpgrade, UpgradeResult
from audit.verification import Verification
from cli import main, session
from stacks.ticket import Ticket

AT = datetime(2026, 11, 23, 8, 30, 5, tzinfo=UTC)
URL = "http://tea-house-x7k2m.127.0.0.1.nip.io:8080"

STORES = """\
version: 1
stores:
  - id: tea-house-x7k2m
    name: tea-house
    owner: alice
    cell: "01"
"""
OWNERS = """\
version: 1
owners:
  - {name: alice, contact: alice@example.com}
"""


def entry(**more: Any) -> Entry:
    known: dict[str, Any] = {
        "seq": 7, "entry_id": "e", "run_id": "run-1", "actor": "alice", "actor_kind": "user", "source_ip": None,
        "occurred_at": AT, "recorded_at": AT, "environment": "local", "store_id": "tea-house-x7k2m", "owner": "alice",
        "action": "store.create", "outcome": "success", "reason": None, "metadata": {}, "prev_hash": "0", "hash": "1",
    }  # fmt: skip
    return Entry(**{**known, **more})


@dataclass
class FakeLedger:
    """Remembers what it was asked."""

    found: list[Entry] = field(default_factory=lambda: [entry()])
    asked: dict[str, Any] = field(default_factory=dict)
    verification: Verification = field(default_factory=lambda: Verification(7))
    end: Anchor = field(default_factory=lambda: Anchor("chain", 7, "ab" * 32, AT))
    rewritten: bool = False
    failure: BaseException | None = None
    rows: list[StoreRow] = field(default_factory=list)
    runs: list[OpenRun] = field(default_factory=list)

    def entries(self, environment: str | None, **filters: Any) -> list[Entry]:
        self.asked = {"environment": environment, **filters}
        return self.found

    def stores(self, environment: str, *, include_deleted: bool = False) -> list[StoreRow]:
        known = [row for row in self.rows if row.environment == environment]
        return [row for row in known if include_deleted or row.status != "Deleted"]

    def open_runs(self, environment: str) -> list[OpenRun]:
        return [run for run in self.runs if run.environment == environment]

    def entry(self, reference: int | str) -> Entry | None:
        return next((found for found in self.found if reference in (found.seq, found.entry_id)), None)

    def stream(self, *, after: int = 0) -> Iterator[Entry]:
        yield from (found for found in self.found if found.seq > after)
        if self.failure is not None:
            raise self.failure

    def verify(self, anchors: Sequence[Anchor] = ()) -> Verification:
        self.asked = {"anchors": tuple(anchors)}
        return self.verification

    def anchor(self) -> Anchor:
        return self.end

    def holds(self, _anchor: Anchor) -> bool:
        return not self.rewritten


def upgrade_plan(**more: Any) -> UpgradePlan:
    batches = ((Step("tea-house-x7k2m", "01", "7.1.4", "7.1.5"),), (Step("milk-bar-c2c2c", "01", "7.0.1", "7.1.5"),))
    known: dict[str, Any] = {"environment": "local", "kind": "upgrade", "tag": "7.1.5", "batches": batches}
    return UpgradePlan(**{**known, **more})


def upgraded_store(**more: Any) -> StoreUpgrade:
    known: dict[str, Any] = {
        "store_id": "tea-house-x7k2m", "before": "7.1.4", "wanted": "7.1.5", "runs": "7.1.5", "status": "Ready",
        "reason": None, "url": URL, "content": "WooCommerce 11.0.1", "elapsed_s": 61.0, "run_id": "run-1",
    }  # fmt: skip
    return StoreUpgrade(**{**known, **more})


@dataclass
class FakeGate:
    """Answers with what a test put there, and remembers what it was asked."""

    environment: str = "local"
    ledger: FakeLedger = field(default_factory=FakeLedger)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    failure: BaseException | None = None
    upgrade_plan: UpgradePlan = field(default_factory=upgrade_plan)
    upgraded: UpgradeResult = field(default_factory=lambda: UpgradeResult(upgrade_plan(), (upgraded_store(),)))
    done_before: UpgradeResult | None = None
    closed: bool = False
    stdout_taken: bool = False
    doubt: str | None = None
    stores: tuple[StorePlan, ...] = (
        StorePlan("tea-house-x7k2m", "tea-house", "alice", "01", Action.CREATE, resources={"create": 15}),
        StorePlan(
            "coffee-bar-p4n9d",
            "coffee-bar",
            "bob",
            "01",
            Action.UPDATE,
            changes=(
                PropertyChange("web.resources.limits.memory", "512Mi", "600Mi"),
                PropertyChange("uploads.size", "2Gi", None, danger=True),
            ),
        ),
        StorePlan("juice-bar-d2d2d", "juice-bar", "bob", "01", Action.CREATE, denial="owner 'bob' has 3 of 3 stores"),
        StorePlan("milk-bar-c2c2c", "milk-bar", "bob", "01", Action.UNTOUCHED),
    )
    result: RunResult = field(
        default_factory=lambda: RunResult(
            "run-1",
            (StoreResult("tea-house-x7k2m", Action.CREATE, "Ready", URL, None, 41.4, "WordPress only"),),
            nothing_to_do=False,
        )
    )
    statuses: Sequence[StoreStatus] = (
        StoreStatus("tea-house-x7k2m", "tea-house", "alice", "01", "Ready", URL, "WordPress only", AT, AT, None),
        StoreStatus("milk-bar-c2c2c", "milk-bar", "bob", "01", "Failed", None, None, AT, None, "image\x1b[31m missing"),
    )
    checks: Sequence[Check] = (Check("engine", "ok", "3.259.0 (sandbox)"), Check("plugin x", "warn", "old", "renew it"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def _call(self, name: str, **arguments: Any) -> None:
        self.calls.append((name, arguments))
        if self.failure is not None:
            raise self.failure

    def plan(self, *, ask_engine: bool = True, overwrite_drift: bool = False) -> Plan:
        self._call("plan", ask_engine=ask_engine, overwrite_drift=overwrite_drift)
        return Plan(self.environment, "https://127.0.0.1:6443", self.stores, (LimitUse("stores in all", 1, 2, 100),))

    def up(
        self,
        *,
        actor: Actor,
        reason: str | None = None,
        idempotency_key: str | None = None,
        overwrite_drift: bool = False,
        override_limits: bool = False,
        without_final_backup: Sequence[str] = (),
        unprotect: bool = False,
        report: Callable[[ProgressEvent], None],
    ) -> RunResult:
        options: dict[str, Any] = {"overwrite_drift": overwrite_drift, "override_limits": override_limits}
        if without_final_backup:
            options["without_final_backup"] = without_final_backup
        if unprotect:
            options["unprotect"] = True
        self._call("up", actor=actor, reason=reason, idempotency_key=idempotency_key, **options)
        report(ProgressEvent("tea-house-x7k2m", "create namespace", "Provisioning"))
        return self.result

    def plan_upgrade(self, tag: str, store_ids: Sequence[str] | None, **more: Any) -> UpgradePlan:
        self._call("plan_upgrade", tag=tag, store_ids=store_ids, **more)
        return self.upgrade_plan

    def plan_rollback(self, store_id: str, revision: int | None, **more: Any) -> UpgradePlan:
        self._call("plan_rollback", store_id=store_id, revision=revision, **more)
        return self.upgrade_plan

    def upgrade_done(self, kind: str, **more: Any) -> UpgradeResult | None:
        more.pop("report")
        self._call("upgrade_done", kind=kind, **more)
        return self.done_before

    def upgrade(self, plan: UpgradePlan, *, report: Callable[[ProgressEvent], None], **more: Any) -> UpgradeResult:
        self._call("upgrade", **more)
        report(ProgressEvent(None, "batch 1 of 2 (the canary): tea-house-x7k2m"))
        return replace(self.upgraded, plan=plan)

    def take_over(
        self, *, actor: Actor, idempotency_key: str | None = None, report: Callable[[ProgressEvent], None]
    ) -> RunResult:
        self._call("take_over", actor=actor, idempotency_key=idempotency_key)
        report(ProgressEvent(None, "comparing the state with the cluster"))
        return self.result

    def reconcile(
        self,
        *,
        actor: Actor,
        idempotency_key: str | None = None,
        report: Callable[[ProgressEvent], None],  # noqa: ARG002
    ) -> RunResult:
        self._call("reconcile", actor=actor, idempotency_key=idempotency_key)
        return self.result

    def close_ticket(
        self,
        file: Path,
        *,
        actor: Actor,
        idempotency_key: str | None = None,
        report: Callable[[ProgressEvent], None],  # noqa: ARG002
    ) -> RunResult:
        self._call("close_ticket", file=file, actor=actor, idempotency_key=idempotency_key)
        return self.result

    def admit(
        self,
        file: Path,
        *,
        actor: Actor,
        valid_s: int,
        reason: str | None = None,
        idempotency_key: str | None = None,
        report: Callable[[ProgressEvent], None],  # noqa: ARG002
    ) -> Issued:
        self._call("admit", file=file, actor=actor, valid_s=valid_s, reason=reason, key=idempotency_key)
        change = Change("tea-house-x7k2m", "tea-house", "alice", "02", "store.create", {})
        ticket = Ticket("local", "run-1", "digest", "uid", ("02",), (), {}, datetime(2026, 3, 1, tzinfo=UTC))
        return Issued(ticket, Admission((change,), ()))

    def status(self, *, deep: bool = False, unsure: Callable[[str], None] = lambda _: None) -> Sequence[StoreStatus]:
        self._call("status", deep=deep)
        if self.doubt is not None:
            unsure(self.doubt)
        return self.statuses

    def credentials(self, store_id: str, *, actor: Actor) -> Credentials:
        self._call("credentials", store_id=store_id, actor=actor)
        return Credentials(store_id, f"{URL}/wp-admin/", "admin", "s3cret")

    def doctor(self, *, deep: bool = False, report: Callable[[str], None] = lambda _text: None) -> Sequence[Check]:
        self._call("doctor", deep=deep)
        if deep:
            report("starting two pods")
        return self.checks

    def usage(self) -> Usage:
        self._call("usage")
        owners = (OwnerUsage("alice", 1, 10, 2, 5, AT), OwnerUsage("bob", 2, 3, 5, 5, AT + timedelta(minutes=9)))
        return Usage(self.environment, owners, 4, 100, 3600, AT)


@dataclass(frozen=True)
class Done:
    """How a command line ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project's root, which is the working folder."""
    folder = tmp_path / "stacks" / "local"
    folder.mkdir(parents=True)
    (tmp_path / "Pulumi.yaml").write_text("name: stores\n")
    (folder / "stores.yaml").write_text(STORES)
    (folder / "owners.yaml").write_text(OWNERS)
    for name in ("STORES_ENV", "STORES_LEDGER_URL", "NO_COLOR", "FORCE_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def gate(project: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGate:
    """Return the gate that every command gets."""
    fake = FakeGate()

    def open_gate(root: Path, environment: str) -> FakeGate:
        assert root == project
        fake.environment = environment
        return fake

    monkeypatch.setattr(session, "open_gate", open_gate)
    return fake


@pytest.fixture
def stores(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a runner of command lines."""

    def run(*arguments: str) -> Done:
        code = main.run(arguments)
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return run
