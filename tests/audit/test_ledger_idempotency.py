"""One request under one key has one effect; on SQLite and on MariaDB."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from audit.ledger import Ledger
from audit.limits import Limits
from audit.records import Actor, RunRequest, StoreOutcome
from stacks.errors import LockedError, UsageError
from tests.audit.conftest import FakeClock
from tests.audit.ledger_samples import ENVIRONMENT, change, creations, outcomes, request, used


def keyed(*ids: str, key: str = "deploy-7", **values: Any) -> RunRequest:
    return request([change(store_id) for store_id in ids], idempotency_key=key, **values)


def again(wish: RunRequest) -> RunRequest:
    """Return the same request, sent again: it is a run of its own."""
    return replace(wish, run_id=f"{wish.run_id}-again")


def test_a_run_that_succeeded_is_answered_with_its_result(ledger: Ledger, clock: FakeClock) -> None:
    wish = keyed("tea-1", "tea-2")
    ledger.admit(wish)
    done = [StoreOutcome(n, "success", "Ready", "fine", f"http://{n}", {"content": n}) for n in ("tea-1", "tea-2")]
    clock.move(minutes=5)
    ledger.settle(wish.run_id, done)
    before = ledger.entries(None)
    admission = ledger.admit(again(wish))
    assert (admission.admitted, admission.denied) == ((), ())
    assert admission.replayed is not None
    assert admission.replayed.run_id == wish.run_id
    assert admission.replayed.outcomes == tuple(done)
    assert admission.replayed.finished_at == clock.moment
    assert ledger.entries(None) == before


def test_it_is_answered_with_its_result_also_when_the_limits_would_deny_it_by_now(ledger: Ledger) -> None:
    wish = keyed("tea-1", limits=Limits(stores_per_owner=1))
    ledger.settle(wish.run_id, outcomes(ledger.admit(wish)))
    ledger.mark(ENVIRONMENT, "tea-1", "Deleted", "its namespace is gone")
    ledger.admit(request([change("tea-2")]))
    before = ledger.entries(None)
    admission = ledger.admit(again(wish))
    assert admission.replayed is not None
    assert (admission.replayed.run_id, admission.denied) == (wish.run_id, ())
    assert ledger.entries(None) == before


def test_a_run_in_flight_says_so(ledger: Ledger) -> None:
    wish = keyed("tea-1")
    ledger.admit(wish)
    with pytest.raises(LockedError, match=f"in flight since 2026-03-01T12:00:00Z .run {wish.run_id}"):
        ledger.admit(again(wish))


def test_a_run_that_failed_may_be_resumed_and_then_answers_with_the_new_result(ledger: Ledger) -> None:
    wish = keyed("tea-1")
    ledger.settle(wish.run_id, outcomes(ledger.admit(wish), "Failed", "failure"))
    second = again(wish)
    admission = ledger.admit(second)
    assert [c.action for c in admission.admitted] == ["store.retry"]
    ledger.settle(second.run_id, outcomes(admission))
    replayed = ledger.admit(again(second)).replayed
    assert replayed is not None
    assert replayed.run_id == second.run_id


def test_a_run_that_was_denied_in_part_may_be_resumed(ledger: Ledger, clock: FakeClock) -> None:
    wish = request(creations(6), idempotency_key="seven", fingerprint="up of digest 1")
    ledger.settle(wish.run_id, outcomes(ledger.admit(wish)))
    clock.move(hours=1)
    rest = replace(again(wish), changes=creations(1, begin=5))
    assert [c.store_id for c in ledger.admit(rest).admitted] == ["alice-005"]


def test_a_request_that_was_denied_as_a_whole_claims_no_key(ledger: Ledger) -> None:
    ledger.admit(request(creations(5)))
    wish = keyed("tea-1")
    assert ledger.admit(wish).denied
    assert ledger.admit(keyed("tea-2")).denied


@pytest.mark.parametrize(
    "other",
    [
        {"changes": [change("tea-2")]},
        {"changes": [change("tea-1"), change("tea-2")]},
        {"changes": [change("tea-1", "bob")]},
        {"changes": [change("tea-1", action="store.delete")]},
        {"changes": [change("tea-1", metadata={"memory": "9Gi"})]},
        {"environment": "local"},
        {"fingerprint": "up"},
    ],
)
def test_another_request_under_the_same_key_is_refused(ledger: Ledger, other: dict[str, object]) -> None:
    wish = keyed("tea-1")
    ledger.settle(wish.run_id, outcomes(ledger.admit(wish)))
    with pytest.raises(UsageError, match=f"used for another request .run {wish.run_id}"):
        ledger.admit(replace(again(wish), **other))  # type: ignore[arg-type]
    assert used(ledger) == 1


def test_a_given_fingerprint_stands_for_the_request_whatever_is_left_to_do(ledger: Ledger) -> None:
    wish = keyed("tea-1", fingerprint="up of digest 1")
    ledger.settle(wish.run_id, outcomes(ledger.admit(wish)))
    assert ledger.admit(replace(again(wish), changes=[])).replayed is not None


@pytest.mark.parametrize("actor", [Actor("bob", "user"), Actor("alice", "ci"), Actor("Alice", "user")])
def test_a_key_belongs_to_the_actor_who_used_it(ledger: Ledger, actor: Actor) -> None:
    wish = keyed("tea-1")
    ledger.admit(wish)
    assert ledger.admit(keyed("tea-2", actor=actor)).admitted


@pytest.mark.parametrize(("passed_s", "kept"), [(7 * 86_400 - 0.000001, True), (7 * 86_400, False)])
def test_a_key_is_kept_for_seven_days(ledger: Ledger, clock: FakeClock, passed_s: float, *, kept: bool) -> None:
    wish = keyed("tea-1")
    ledger.settle(wish.run_id, outcomes(ledger.admit(wish)))
    clock.move(seconds=passed_s)
    if kept:
        assert ledger.admit(again(wish)).replayed is not None
    else:
        assert ledger.admit(keyed("tea-9")).admitted


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "schlüssel", "nul\0"])
def test_a_key_that_cannot_be_kept_as_it_is_is_refused(ledger: Ledger, key: str) -> None:
    with pytest.raises(UsageError, match="1 to 255 printable ASCII characters"):
        ledger.admit(keyed("tea-1", key=key))
    assert ledger.stores(ENVIRONMENT) == []


@pytest.mark.parametrize("key", ["x", "x" * 255, "merge 7/7 ~"])
def test_a_key_of_up_to_255_printable_characters_is_kept(ledger: Ledger, key: str) -> None:
    wish = keyed("tea-1", key=key)
    ledger.settle(wish.run_id, outcomes(ledger.admit(wish)))
    assert ledger.admit(again(wish)).replayed is not None


def test_a_refused_key_is_shown_by_its_beginning_only(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match=f"'{'x' * 50}' cannot be kept"):
        ledger.admit(keyed("tea-1", key="x" * 256))


def test_who_drops_expired_keys_keeps_those_of_others_that_have_not(ledger: Ledger, clock: FakeClock) -> None:
    ledger.settle((old := keyed("tea-1", key="old")).run_id, outcomes(ledger.admit(old)))
    clock.move(days=6)
    ledger.settle((new := keyed("tea-2", key="new")).run_id, outcomes(ledger.admit(new)))
    clock.move(days=1)
    ledger.settle((third := keyed("tea-3", key="third")).run_id, outcomes(ledger.admit(third)))
    assert ledger.admit(again(new)).replayed is not None
    assert ledger.admit(keyed("tea-4", key="old")).admitted


def test_who_is_refused_is_told_which_key_it_was(ledger: Ledger) -> None:
    wish = keyed("tea-1")
    ledger.admit(wish)
    with pytest.raises(LockedError, match="idempotency key 'deploy-7'"):
        ledger.admit(again(wish))


def test_nothing_to_do_claims_no_key(ledger: Ledger) -> None:
    ledger.admit(keyed())
    assert ledger.admit(keyed("tea-1")).admitted
