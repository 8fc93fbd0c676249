from __future__ import annotations

import json
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stacks import ticket as tickets
from stacks.errors import RefusedError, UsageError
from stacks.platform_key import PlatformKey
from stacks.ticket import Ticket

KEY = PlatformKey({1: b"k" * 32})
END = datetime(2026, 3, 1, 12, tzinfo=UTC)
TICKET = Ticket(
    environment="prod",
    run_id="run-1",
    manifest_digest="digest",
    cluster_uid="uid",
    cells=("01", "02"),
    withheld=("tea-x7k2m",),
    frozen={"books-c4d7f": {"release": {"values": {"a": [1, None, "ü"]}}}},
    expires_at=END,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "ticket.json"
    TICKET.write(found, KEY)
    return found


def test_a_ticket_is_read_as_it_was_written_and_only_its_owner_reads_it(file: Path) -> None:
    assert Ticket.read(file, KEY) == TICKET
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_exists_is_never_written_over(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        replace(TICKET, run_id="run-2").write(file, KEY)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("environment", "local"),
        ("run_id", "run-2"),
        ("manifest_digest", "other"),
        ("cluster_uid", "other"),
        ("cells", ["01", "02", "03"]),
        ("withheld", []),
        ("frozen", {}),
        ("expires_at", "2027-03-01T12:00:00+00:00"),
        ("format", 2),
        ("more", 1),
    ],
)
def test_an_edit_of_any_field_is_noticed(file: Path, field: str, value: Any) -> None:
    document = json.loads(file.read_text())
    document["ticket"][field] = value
    file.write_text(json.dumps(document))
    with pytest.raises(RefusedError, match="signature does not fit"):
        Ticket.read(file, KEY)


def test_a_ticket_of_another_key_is_refused(file: Path) -> None:
    with pytest.raises(RefusedError, match="signature does not fit"):
        Ticket.read(file, PlatformKey({1: b"o" * 32}))


def test_a_webhooks_secret_signs_no_ticket(file: Path) -> None:
    document = json.loads(file.read_text())
    body = TICKET._body()
    document["signature"] = KEY.derive("webhook-secret", body, 1)
    file.write_text(json.dumps(document))
    with pytest.raises(RefusedError, match="signature does not fit"):
        Ticket.read(file, KEY)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"ticket": 1, "signature": ""}'])
def test_what_is_no_ticket_is_told(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match="it is no ticket"):
        Ticket.read(file, KEY)


def check(ticket: Ticket = TICKET, **given: Any) -> None:
    fitting = {"environment": "prod", "cell": "02", "manifest_digest": "digest", "now": END - timedelta(microseconds=1)}
    ticket.check(**{**fitting, **given})


def test_a_ticket_holds_for_its_cells_its_manifest_and_its_time() -> None:
    check()
    check(cell="01")


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        (lambda: check(environment="local"), "not for local"),
        (lambda: check(cell="03"), "not for prod, cell 03"),
        (lambda: check(manifest_digest="other"), "the manifest was changed"),
        (lambda: check(now=END), "it ended at 2026-03-01T12:00:00Z"),
    ],
)
def test_for_anything_else_it_does_not(refused: Callable[[], None], told: str) -> None:
    with pytest.raises(RefusedError, match=told):
        refused()


def test_no_ticket_named_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tickets.VARIABLE, raising=False)
    assert tickets.from_environment(KEY) is None
