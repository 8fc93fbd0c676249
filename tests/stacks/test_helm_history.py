"""What Helm's own Secrets tell; a real one is read in tests/e2e."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from stacks import helm_history


def encoded(document: dict[str, Any], *, compressed: bool = True) -> str:
    raw = json.dumps(document).encode()
    return base64.b64encode(gzip.compress(raw) if compressed else raw).decode()


def record(**more: Any) -> dict[str, Any]:
    info = {"status": "deployed", "description": "Upgrade complete"}
    return {"version": 3, "info": info, "config": {"image": {"tag": "6.8.3"}}, **more}


@pytest.mark.parametrize("compressed", [True, False])
def test_a_revision_is_read_whether_or_not_it_is_compressed(*, compressed: bool) -> None:
    found = helm_history.content(encoded(record(), compressed=compressed))
    assert (found.number, found.status, found.description, found.image_tag) == (
        3, "deployed", "Upgrade complete", "6.8.3",
    )  # fmt: skip


@pytest.mark.parametrize("config", [None, {}, {"image": None}, {"image": {"digest": "x"}}])
def test_a_revision_without_a_tag_has_none(config: Any) -> None:
    assert helm_history.content(encoded(record(config=config))).image_tag is None


def test_revisions_are_ordered_by_number_and_not_by_name() -> None:
    labels = [{"version": str(number), "status": "superseded"} for number in (10, 9, 2)]
    found = helm_history.revisions([*labels, {"version": "11", "status": "deployed"}, {"owner": "helm"}])
    assert [revision.number for revision in found] == [2, 9, 10, 11]


@pytest.mark.parametrize(
    ("status", "expected"),
    [("deployed", True), ("superseded", True), ("failed", False), ("pending-upgrade", False), ("uninstalled", False)],
)
def test_only_what_once_ran_can_be_gone_back_to(status: str, *, expected: bool) -> None:
    assert helm_history.Revision(1, status).was_live is expected
