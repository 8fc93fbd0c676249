"""The wait after the engine's work: until a store sells, or nothing of it is left; and why, where that never comes.

Asks only. What the cluster tells of a broken store is put in front of what its pages said, since it explains them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from audit import schema as schemas
from audit.entrance import Entrance
from audit.probe import Answer
from audit.records import Status, StoreOutcome
from components import naming
from components.desired import DesiredStore
from stacks.cluster import Cluster
from stacks.explanation import Cause, explain, full_volumes, stops_orders

ASK_EVERY_S: Final = 1.0
RIVAL_S: Final = 30.0
"""How long an ingress may take to see that a host is free again, after another Ingress for it has gone."""
DATABASE_S: Final = 1800
ASK_DATABASE_EVERY_S: Final = 3.0
_LONGEST_ENGINE_TEXT: Final = 500

Tell = Callable[[str, str, Status | None], None]


@dataclass(frozen=True)
class Waiting:
    """Waits for stores of one run; a set `cancelled` ends every wait."""

    cluster: Cluster
    entrance: Entrance
    cancelled: threading.Event
    tell: Tell

    def until_sells(self, store: DesiredStore, timeout_s: float) -> StoreOutcome:
        """Return Ready once the store sells, or Failed with why it does not."""
        self.tell(store.store_id, f"waiting until {store.url} answers", None)
        answer = self.poll(store, timeout_s)
        if answer is None:
            return stopped(store.store_id)
        if answer.ok:
            self.tell(store.store_id, f"{store.url} answers", "Ready")
            return StoreOutcome(store.store_id, "success", "Ready", url=store.url, content=answer.content)
        reason = self.why_not(store, answer)
        self.tell(store.store_id, reason, "Failed")
        return StoreOutcome(
            store.store_id, "failure", "Failed", reason=reason, url=store.url, metadata={"checks": told_checks(answer)}
        )

    def until_database_fits(self, outcome: StoreOutcome) -> StoreOutcome:
        """Return the outcome once the shop has brought its database to its new code, or why it has not."""
        store_id, told = outcome.store_id, ""
        deadline = time.monotonic() + DATABASE_S
        while True:
            schema = schemas.ask(self.cluster, store_id)
            if schema is None:
                self.tell(store_id, "whether its database is up to date cannot be asked", None)
                return outcome
            known = replace(outcome, metadata={**outcome.metadata, "schema": schema.told})
            if not schema.pending:
                self.tell(store_id, f"its database is up to date (WordPress {schema.wordpress})", "Ready")
                return known
            if schema.failure is not None or time.monotonic() > deadline:
                reason = f"it serves with image {schema.image}, but {schema.failure or schema.progress}"
                self.tell(store_id, reason, "Failed")
                return replace(known, outcome="failure", status="Failed", reason=reason)
            if schema.stage != told:
                told = schema.stage
                self.tell(store_id, schema.progress, None)
            if self.cancelled.wait(ASK_DATABASE_EVERY_S):
                return stopped(store_id)

    def ask(self, store: DesiredStore) -> Answer:
        """Return what the store answers now. One that shows its pages and cannot write an order does not sell."""
        answer = self.entrance.ask(store.store_id, store.url, sells=store.sells, locale=store.locale)
        full = self.full_volumes(store.store_id) if answer.ok else ()
        if full and stops_orders(full[0]):
            return replace(answer, ok=False, detail=f"its pages are shown, but no order can be taken: {full[0].what}")
        return answer

    def full_volumes(self, store_id: str) -> tuple[Cause, ...]:
        """Return which of the store's volumes are full."""
        return full_volumes(self.cluster.disk_lines(naming.namespace(store_id)))

    def poll(self, store: DesiredStore, timeout_s: float) -> Answer | None:
        """Return the store's first good answer, or its last one when the time is over; None if cancelled.

        Somebody else's Ingress for its host does not go by waiting, so then the time is over early.
        """
        began, looked = time.monotonic(), False
        while True:
            answer, waited_s = self.ask(store), time.monotonic() - began
            if answer.ok or waited_s > timeout_s:
                return answer
            if waited_s > RIVAL_S and not looked:
                looked = True
                if self.cluster.evidence(naming.namespace(store.store_id), store.host).rivals:
                    return answer
            if self.cancelled.wait(ASK_EVERY_S):
                return None

    def why_not(self, store: DesiredStore, answer: Answer) -> str:
        """Return why the store does not sell: the cluster's reasons first, then what its pages said."""
        explained = self._explained(store.store_id, store.host)
        pages = f"{store.url}: {answer.detail}"
        return f"{explained}. {pages}" if explained else pages

    def why_failed(self, store_id: str, host: str | None, engine: str) -> str:
        """Return why the engine could not bring a store up: the cluster's reasons first, then the engine's words."""
        explained = self._explained(store_id, host)
        if not explained:
            return engine
        short = engine if len(engine) <= _LONGEST_ENGINE_TEXT else f"{engine[: _LONGEST_ENGINE_TEXT - 3]}..."
        return f"{explained}. The engine: {short}"

    def until_gone(self, store_id: str, timeout_s: float) -> StoreOutcome:
        """Return Deleted once namespace and volumes are gone; until then the store keeps its slot."""
        deadline = time.monotonic() + timeout_s
        while not self._is_gone(store_id):
            if time.monotonic() > deadline or self.cancelled.wait(ASK_EVERY_S):
                left = self.what_is_left(store_id) or "it went just when the time was over"
                self.tell(store_id, left, "Deleting")
                return StoreOutcome(store_id, "failure", "Deleting", reason=left)
        self.tell(store_id, "its namespace is gone", "Deleted")
        return StoreOutcome(store_id, "success", "Deleted")

    def what_is_left(self, store_id: str) -> str | None:
        """Return what is still there of a deleted store and what holds it, or None when all of it is gone."""
        name = naming.namespace(store_id)
        if self.cluster.namespace(name) is not None:
            held = "; ".join(self.cluster.holders(name)) or "the cluster does not say what holds it"
            return f"namespace {name} is still there: {held}"
        volumes = self.cluster.volumes_of(name)
        return f"its volumes are still there: {', '.join(volumes)}" if volumes else None

    def _is_gone(self, store_id: str) -> bool:
        name = naming.namespace(store_id)
        return self.cluster.namespace(name) is None and not self.cluster.volumes_of(name)

    def _explained(self, store_id: str, host: str | None) -> str:
        return explain(self.cluster.evidence(naming.namespace(store_id), host))


def stopped(
    store_id: str, told: str | None = None, *, deleting: bool = False, reached_engine: bool = True
) -> StoreOutcome:
    """Return the outcome of a change that a stopped run did not finish; `told` is what the engine said."""
    reason = "the run was stopped" if told is None else f"the run was stopped; the engine said: {told}"
    status: Status = "Deleting" if deleting else "Failed"
    return StoreOutcome(store_id, "cancelled", status, reason=reason, reached_engine=reached_engine)


def told_checks(answer: Answer) -> list[dict[str, object]]:
    """Return the checks as plain data for the audit log."""
    return [{"name": check.name, "code": check.code, "milliseconds": check.milliseconds} for check in answer.checks]
