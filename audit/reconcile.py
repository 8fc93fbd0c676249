"""Bringing the engine's state and the ledger back in line with what really exists.

It reads the cluster and writes state and ledger; it must never change an object of a store in the cluster. What Helm
noted of an operation that was cut short is no such object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from audit import observation as observations
from audit import replays
from audit.observation import Observation
from audit.phases import orphans, pending_releases
from audit.plan import Action
from audit.records import (
    PART,
    RUN_RECONCILE,
    STATE_IMPORT,
    Change,
    RunRequest,
    Settled,
    Status,
    StoreOutcome,
    StoreRecord,
    StoreRow,
)
from audit.recovery import generated_values
from audit.results import RunResult, StoreResult, of_replay
from audit.run import Run
from components import desired, naming
from stacks.errors import OverLimitError, Problem, StoreFailedError, StoresError
from stacks.program import RunOptions


class Reconciliation(Run):
    """A run that only settles: what others left open, and how every store is."""

    def settle_all(self, request: RunRequest) -> RunResult:
        """Close every run that ended without an outcome, break what it left of the engine's lock, ask every store.

        What was found is on record. Nothing is applied; a store that is not as it should be is told.
        """
        with self.session(request) as leases:
            if (earlier := replays.claimed(self, request)) is not None:
                return earlier
            # Closes the open runs; their cells' leases are ours, so they are over.
            observation = self.observe(leases)
            for cell, snapshot in observation.snapshots.items():
                if snapshot.exists and self.engine.clear(cell):
                    self.tell(None, f"cell {cell}: a lock or an unfinished operation of a killed run was cleared")
            holding = [row for row in observation.rows.values() if row.holds_slot]
            settled = [row.store_id for row in holding if row.status != "Deleting"]
            pending_releases.settle(self, observation, settled)
            results = [self._looked_at(observation, row) for row in holding]
            for drift in self.ledger.repair_slots(self.environment, self.actor, self.run_id, leases=leases):
                self.tell(None, f"{drift}; corrected")
            return replays.keep(self, request, RUN_RECONCILE, self._said(results))

    def _said(self, results: Sequence[StoreResult]) -> RunResult:
        problems = [
            Problem(f"store '{result.store_id}'", result.reason or result.status, "run `stores up`")
            for result in results
            if result.status not in ("Ready", "Deleting")
        ]
        error = StoreFailedError.of(problems) if problems else None
        return RunResult(self.run_id, tuple(results), nothing_to_do=True, exit_error=error)

    def _looked_at(self, observation: Observation, row: StoreRow) -> StoreResult:
        """Return the store as it is now, and leave that on record."""
        seen = self._seen(observation, row)
        if (seen.status, seen.reason) != (row.status, row.status_reason):
            self.tell(row.store_id, seen.reason or "answers", seen.status)
        self.ledger.mark(
            self.settings.environment,
            row.store_id,
            seen.status,
            seen.reason,
            run_id=self.run_id,
            actor=self.actor,
            url=row.url,
            content=seen.content,
            leases=self.leases,
        )
        return StoreResult(row.store_id, Action.UNTOUCHED, seen.status, row.url, seen.reason, 0.0, seen.content)

    def _seen(self, observation: Observation, row: StoreRow) -> _Seen:
        """Return what the store is now. Ready is only what has just answered; what is being deleted stays so."""
        name = naming.namespace(row.store_id)
        exists = self.cluster.namespace(name) is not None
        in_state = observation.cell_of(row.store_id) is not None
        if row.status == "Deleting":
            gone = _Seen("Deleted", "its namespace is gone")
            return _Seen("Deleting", row.status_reason, row.content) if exists or in_state else gone
        applied = observation.applied(row.store_id)
        if applied is not None:
            return self._asked(row.store_id, applied) if exists else _Seen("Failed", f"its namespace {name} is gone")
        if in_state:
            return _Seen("Failed", "it was begun and never finished")
        if exists:
            told = f"its namespace {name} exists, but no state knows it: `stores reconcile --import` takes it up again"
            return _Seen("Failed", told)
        elsewhere = orphans.elsewhere(self, row.cell)
        return _Seen("Pending", orphans.NOTHING_EXISTS) if elsewhere is None else _Seen("Failed", elsewhere)

    def _asked(self, store_id: str, applied: Mapping[str, Any]) -> _Seen:
        url, values = str(applied["url"]), applied["release"]["values"]
        sells, locale = desired.sells(values), desired.locale(values)
        answer = self.entrance.ask(store_id, url, sells=sells, locale=locale)
        return _Seen("Ready", None, answer.content) if answer.ok else _Seen("Failed", f"{url}: {answer.detail}")


@dataclass(frozen=True)
class _Seen:
    """What was found of a store, and what answered of one that is Ready."""

    status: Status
    reason: str | None
    content: str | None = None


def take_over(run: Run, request: RunRequest) -> RunResult:
    """Rebuild the state of every live store that it does not hold whole. Stores that it holds are left alone.

    Each store that is taken up is an intent of the ledger before anything is written into the state.
    """
    with run.session(request) as leases:
        run.tell(None, "comparing the state with the cluster")
        observation = observations.observe(run.root, run.settings, run.manifest, run.engine, run.ledger)
        observations.refuse_other_cluster(run.settings, run.cluster, observation)
        observations.refuse_other_key(run.root, run.settings, observation)
        observation = orphans.settle(run, observation, leases)
        if (earlier := run.ledger.replayed(request)) is not None:
            return of_replay(earlier)
        values, problems = _lost(run, observation)
        part = {PART: {"before": [], "more": bool(problems)}} if request.idempotency_key is not None else {}
        _admit(run, observation, sorted(values), replace(request, leases=tuple(leases)), part)
        results: list[StoreResult] = []
        for cell in sorted({store.cell for store in run.manifest.stores if store.id in values}):
            mine = {store.id for store in run.manifest.in_cell(cell) if store.id in values}
            try:
                failures = _take_over_cell(run, observation, cell, {store_id: values[store_id] for store_id in mine})
            except StoresError as failure:
                for store_id in sorted(values.keys() - {result.store_id for result in results}):
                    _put_on_record(run, observation, store_id, str(failure))
                raise
            for store_id in sorted(mine):
                reason = failures.get(store_id)
                results.append(_put_on_record(run, observation, store_id, reason))
                if reason is not None:
                    problems.append(Problem(f"store '{store_id}'", reason, "correct the cause and run it again"))
        error = StoreFailedError.of(problems) if problems else None
        return RunResult(run.run_id, tuple(results), nothing_to_do=not results, exit_error=error)


def _admit(
    run: Run, observation: Observation, store_ids: Sequence[str], request: RunRequest, part: Mapping[str, object]
) -> None:
    """Put on record what is about to be taken up. It exists, so it counts whatever the limits say."""
    if not store_ids:
        return
    stores = [store for store in run.manifest.stores if store.id in store_ids]
    environment = run.settings.environment
    found = [
        StoreRecord(store.id, store.name, store.owner, store.cell, "Provisioning", observation.desired[store.id].url)
        for store in stores
    ]
    run.ledger.adopt(environment, found, run.actor, leases=request.leases)
    changes = tuple(Change(store.id, store.name, store.owner, store.cell, STATE_IMPORT, part) for store in stores)
    admission = run.ledger.admit(replace(request, changes=changes))
    if admission.denied:
        raise OverLimitError.of([denial.problem for denial in admission.denied])


def _lost(run: Run, observation: Observation) -> tuple[dict[str, Mapping[str, str]], list[Problem]]:
    """Return the generated values of each live store that the state lacks, and what stands in the way.

    A store is lacking until it was applied in full, so that a taking over that broke off can be run again.
    """
    found: dict[str, Mapping[str, str]] = {}
    problems: list[Problem] = []
    for store_id in observation.desired:
        if observation.applied(store_id) is not None:
            continue
        namespace = naming.namespace(store_id)
        if run.cluster.namespace(namespace) is None:
            continue
        secret = run.cluster.secret(namespace, naming.credentials_secret(store_id))
        values = None if secret is None else generated_values(secret)
        if values is None:
            what = f"namespace {namespace} exists, but its credentials Secret is missing or not whole"
            problems.append(Problem(f"store '{store_id}'", what, "restore the Secret from a backup first"))
        else:
            found[store_id] = values
    return found, problems


def _take_over_cell(
    run: Run, observation: Observation, cell: str, values: Mapping[str, Mapping[str, str]]
) -> Mapping[str, str]:
    for store_id in values:
        run.tell(store_id, "reading its live objects into the state", "Provisioning")
    run.engine.plant(cell, values)
    absent = {store_id for store_id in observation.desired if observation.applied(store_id) is None}
    options = RunOptions(
        withheld=frozenset(absent - set(values)),
        taken_over=dict.fromkeys(values, frozenset(desired.LIVE_PARTS)),
        cluster_uid=run.cluster.uid,
    )
    result = run.engine.up(cell, options, observation.store_ids, run.on_step)
    return dict.fromkeys(values, "the run was stopped") if result.cancelled else result.failures


def _put_on_record(run: Run, observation: Observation, store_id: str, failure: str | None) -> StoreResult:
    """Write what was taken over into the ledger, with what the store answers now."""
    wanted = observation.desired[store_id]
    url = wanted.url
    answer = run.entrance.ask(store_id, url, sells=wanted.sells, locale=wanted.locale)
    status: Status = "Ready" if failure is None and answer.ok else "Failed"
    reason = failure or (None if answer.ok else answer.detail)
    outcome: Settled = "success" if failure is None else "failure"
    settled = StoreOutcome(store_id, outcome, status, reason=reason, url=url, content=answer.content)
    run.put_on_record(run.run_id, settled, "its state was read from the live objects")
    run.tell(store_id, "in the state again" if failure is None else failure, status)
    return StoreResult(store_id, Action.UNTOUCHED, status, url, reason, 0.0, answer.content)
