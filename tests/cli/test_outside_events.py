"""What came from outside is read as everything else: listed, shown, exported and proven, over a real ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.ledger import Ledger
from tests.audit.test_events import TEA, changed, signed_in


@pytest.fixture
def ledger(gate, tmp_path: Path) -> Iterator[Ledger]:
    """Return the ledger behind the command's gate, with one event of a shop and one sign-in, each told twice."""
    gate.environment = "prod"
    with Ledger.open(f"sqlite:///{tmp_path / 'real' / 'ledger.sqlite'}") as opened:
        gate.ledger = opened
        for event in (changed(), signed_in("denied", reason="the password is wrong")) * 2:
            opened.record(event.entry, event.entry_id)
        yield opened


def test_both_are_listed_once_with_who_and_when_it_happened(ledger: Ledger, stores) -> None:
    done = stores("audit", "list", "--env", "prod")
    assert [line.split()[0] for line in done.out.splitlines()] == ["entry", "2", "1"]
    assert "mara" in done.out
    assert "session.sign_in" in done.out
    found = json.loads(stores("audit", "list", "--env", "prod", "--action", "product.updated", "--json").out)
    assert [(e["actor"], e["actor_kind"], e["store_id"]) for e in found] == [(f"{TEA}/admin", "shop", TEA)]
    assert (found[0]["occurred_at"], found[0]["source_ip"]) == ("2026-02-28T23:59:59.999999Z", "203.0.113.7")
    assert json.loads(stores("audit", "list", "--env", "prod", "--actor", "admin", "--json").out) == []


def test_one_is_shown_by_its_id_with_address_and_reason(ledger: Ledger, stores) -> None:
    out = stores("audit", "show", "--env", "prod", signed_in().entry_id).out
    assert "source_ip:   198.51.100.9\n" in out
    assert "outcome:     denied\n" in out
    assert "reason:      the password is wrong\n" in out


def test_both_are_exported_with_their_classes_and_the_log_is_whole(ledger: Ledger, stores) -> None:
    done = stores("audit", "export", "--env", "prod", "--format", "ocsf")
    product, session = map(json.loads, done.out.splitlines())
    assert (product["type_uid"], product["src_endpoint"]) == (600303, {"ip": "203.0.113.7"})
    assert (session["type_uid"], session["status"]) == (300201, "Failure")
    assert [json.loads(line)["entry_id"] for line in stores("audit", "export", "--env", "prod").out.splitlines()] == [
        changed().entry_id,
        signed_in().entry_id,
    ]
    assert stores("audit", "verify", "--env", "prod").out == "2 entries, chain unbroken\n"
