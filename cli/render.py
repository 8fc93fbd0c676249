"""The answers of the gate as text: a plan, a run, a list of stores, the use of limits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from cli.output import Output, duration, moment
from cli.session import Session
from components import naming

if TYPE_CHECKING:
    from pathlib import Path

    from audit.plan import Plan, PropertyChange, StorePlan
    from audit.records import Usage
    from audit.results import RunResult, StoreResult
    from audit.status import StoreStatus
    from audit.tickets import Issued

_SIGNS: Final = {
    "create": "+",
    "update": "~",
    "retry": "~",
    "delete": "-",
    "scheduled": "-",
    "leaving": "-",
    "held": "=",
}
_LONGEST_VALUE: Final = 60


def print_plan(output: Output, plan: Plan) -> None:
    """Print what would happen to each store, those with data in danger first, and what it does to the limits."""
    output.line(f"Environment {plan.environment}, cluster {plan.cluster}")
    touched = [store for store in plan.stores if store.action.value in _SIGNS]
    touched.sort(key=lambda store: not store.dangers)
    for store in touched:
        output.line()
        output.line(f"{_SIGNS[store.action.value]} {store.store_id}: {_headline(store)}")
        for change in sorted(store.changes, key=lambda change: not change.danger):
            output.line(f"    {_change(change)}")
        if store.denial is not None:
            output.line(f"    DENIED: {store.denial}")
    if touched:
        output.line()
    output.line(counts(plan))
    if not plan.empty and plan.limits:
        output.line()
        rows = [[use.name, str(use.before), str(use.after), str(use.limit)] for use in plan.limits]
        output.table(["limit", "now", "after", "at most"], rows)


def print_run(session: Session, result: RunResult, *, as_json: bool) -> None:
    """Print what became of each store; then raise what makes the exit code, if not everything was done."""
    output = session.output
    if as_json:
        problems = [str(problem) for problem in result.exit_error.problems] if result.exit_error else []
        output.json(
            {
                "run_id": result.run_id,
                "nothing_to_do": result.nothing_to_do,
                "replayed": result.replayed,
                "stores": result.stores,
                "problems": problems,
            }
        )
    else:
        _print_results(session, result)
    if result.exit_error is not None:
        raise result.exit_error


def print_admission(session: Session, issued: Issued, file: Path, *, as_json: bool) -> None:
    """Print what a ticket was given for, and what to do with it; then raise what makes the exit code."""
    output, ticket = session.output, issued.ticket
    if as_json:
        output.json(
            {
                "ticket": str(file) if ticket is not None else None,
                "run_id": ticket.run_id if ticket is not None else None,
                "expires_at": ticket.expires_at if ticket is not None else None,
                "cells": ticket.cells if ticket is not None else (),
                "admitted": [change.store_id for change in issued.admission.admitted],
                "denied": [str(denial.problem) for denial in issued.admission.denied],
                "replayed": None if issued.admission.replayed is None else issued.admission.replayed.run_id,
            }
        )
    elif issued.admission.replayed is not None:
        output.line(f"already done by {issued.admission.replayed.run_id}; no new ticket was made")
    elif ticket is None:
        output.line("nothing was admitted" if issued.admission.denied else "nothing to do; no ticket was made")
    else:
        for change in issued.admission.admitted:
            output.line(f"{change.store_id}: {change.action.removeprefix('store.').replace('_', ' ')} admitted")
        output.line(f"ticket: {file}, until {moment(ticket.expires_at)}")
        for cell in ticket.cells:
            stack = naming.stack(ticket.environment, cell)
            output.line(f"next: STORES_TICKET_FILE={file} pulumi up --stack {stack}")
        output.line(f"then: {session.hint(f'reconcile --ticket {file}')}")
    if issued.error is not None:
        raise issued.error


def print_statuses(output: Output, statuses: Sequence[StoreStatus]) -> None:
    """Print one line per store, and the reason of each that is not ready."""
    if not statuses:
        output.line("there are no stores")
        return
    rows = [
        [
            store.store_id,
            store.owner,
            f"{store.status} (held)" if store.held else store.status,
            store.content or "-",
            moment(store.since_at),
            moment(store.checked_at),
            store.backup.brief if store.backup is not None else "-",
            store.url or "-",
        ]
        for store in statuses
    ]
    output.table(["store", "owner", "status", "content", "since", "answered", "backup", "url"], rows)
    asked = [store for store in statuses if store.checks]
    if asked:
        output.line()
        output.table(["store", "asked for", "answer", "took", ""], [row for store in asked for row in _checks(store)])
    told = [(store.store_id, text) for store in statuses for text in (store.reason, store.held, _backup(store)) if text]
    if told:
        output.line()
    for store_id, text in told:
        output.line(f"{store_id}: {text}")


def _backup(store: StoreStatus) -> str | None:
    age = store.backup
    return f"backup: {age.told}" if age is not None and age.alarming else None


def _checks(store: StoreStatus) -> list[list[str]]:
    return [
        [
            store.store_id,
            f"{check.name} ({check.path})",
            str(check.code or "-"),
            f"{check.milliseconds} ms",
            "ok" if check.ok else "FAILED",
        ]
        for check in store.checks
    ]


def print_usage(output: Output, usage: Usage, owner: str | None) -> None:
    """Print how much of each limit is used; of one owner only, if one is named."""
    rows = [
        [
            found.owner,
            f"{found.used} of {found.limit}",
            f"{found.starts} of {found.starts_limit}",
            "now" if found.retry_at is not None and found.retry_at <= usage.at else moment(found.retry_at),
        ]
        for found in usage.owners
        if owner in (None, found.owner)
    ]
    minutes = usage.window_s // 60
    output.table(["owner", "stores", f"creations in {minutes} min", "next creation from"], rows)
    if owner is None:
        output.line(f"in all: {usage.total_used} of {usage.total_limit} stores of {usage.environment}")


def counts(plan: Plan) -> str:
    """Return in one line how many stores the plan does what to."""
    if plan.empty:
        rest = len(plan.stores) - len(plan.held)
        held = f", {len(plan.held)} held" if plan.held else ""
        leaving = sum(store.action.value == "leaving" for store in plan.stores)
        held += f", {leaving} leaving" if leaving else ""
        return f"nothing to do: {rest - leaving} stores are as the manifest says{held}"
    found = Counter(store.action.value for store in plan.stores if store.denial is None)
    parts = [f"{found[action]} to {action}" for action in ("create", "update", "retry", "delete") if found[action]]
    parts += [f"{found['scheduled']} scheduled for deletion"] if found["scheduled"] else []
    parts += [f"{found['leaving']} leaving"] if found["leaving"] else []
    parts += [f"{len(plan.denied)} denied"] if plan.denied else []
    parts += [f"{len(plan.held)} held"] if plan.held else []
    parts += [f"REFUSED: {len(plan.refused)} changes endanger data"] if plan.refused else []
    return ", ".join([*parts, f"{found['untouched']} untouched"])


def _print_results(session: Session, result: RunResult) -> None:
    output = session.output
    rows = [
        [
            store.store_id,
            store.status,
            store.content or "-",
            duration(store.elapsed_s),
            store.url or "-",
            session.hint(f"credentials {store.store_id}") if store.status == "Ready" else "-",
        ]
        for store in result.stores
    ]
    output.table(["store", "status", "content", "took", "url", "credentials"], rows)
    if rows:
        output.line()
    if result.replayed:
        output.line(f"already done by run {result.run_id}; this is its result, and nothing was done now")
    elif result.nothing_to_do:
        output.line("nothing to do")
    else:
        output.line(f"run {result.run_id}: {_tally(result.stores)}")


def _tally(stores: Sequence[StoreResult]) -> str:
    counts = Counter(store.status for store in stores)
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "no stores"


def _headline(store: StorePlan) -> str:
    parts = [store.action.value, f"owner {store.owner}", f"cell {store.cell}"]
    operations = ", ".join(f"{count} {name}" for name, count in store.resources.items())
    if operations:
        parts.append(f"resources: {operations}")
    if store.reason:
        parts.append(store.reason)
    return "; ".join(parts)


def _change(change: PropertyChange) -> str:
    text = f"{change.path}: {_value(change.before)} -> {_value(change.after)}"
    return f"{text}  DANGER: this would replace, move or shrink data" if change.danger else text


def _value(value: Any) -> str:
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
