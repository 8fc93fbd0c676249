"""A backup that a run takes of a store while its own change of that store is open."""

from __future__ import annotations

from audit.backups import STORE_BACKUP
from audit.ledger import Ledger
from audit.records import STORE_ROLLBACK, StoreOutcome
from tests.audit.ledger_samples import ENVIRONMENT, change, outcomes, request


def test_a_backup_inside_of_a_rollback_leaves_the_rollback_open_and_its_outcome_the_last_word(sqlite_url: str) -> None:
    with Ledger.open(sqlite_url) as ledger:
        made = ledger.admit(request([change("tea-1")], run_id="run-made"))
        ledger.settle("run-made", outcomes(made))
        ledger.admit(request([change("tea-1", action=STORE_ROLLBACK)], run_id="run-back"))
        (row,) = ledger.stores(ENVIRONMENT)
        ledger.admit(request([change("tea-1", action=STORE_BACKUP)], run_id="backup-1"))
        ledger.settle("backup-1", [StoreOutcome("tea-1", "success", row.status, metadata={"snapshot": "a"})])
        assert [run.run_id for run in ledger.open_runs(ENVIRONMENT)] == ["run-back"]
        ledger.settle("run-back", [StoreOutcome("tea-1", "success", "Ready", url="http://tea")])
        (row,) = ledger.stores(ENVIRONMENT)
        assert row.status == "Ready"
        assert list(ledger.open_runs(ENVIRONMENT)) == []
